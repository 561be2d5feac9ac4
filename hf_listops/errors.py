"""The one exception that users see, a sentence that names the field, the value and a right example; and how they see it."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class ListOpsError(ValueError):
    """Wrong input. The command line prints the message alone and exits with code 2."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turns wrong input and a full disk into one sentence on standard error and exit code 2."""
    try:
        yield
    except ListOpsError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        sys.stderr.write(
            f"error: {error.filename or 'the output folder'}: {os.strerror(error.errno)}; nothing was lost\n"
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
