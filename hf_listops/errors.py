"""The one exception that users see: a sentence that names the field, the value and a right example."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ListOpsError(ValueError):
    """Wrong input. The command line prints the message alone and exits with code 2."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
