"""Exact match and answer accuracy of texts: what `evaluation/accuracy.py` measures on tokens, for completions of any model.

A text is its symbols between white space, up to the first `<eos>`. A reference that ends in `<eos>` asks for it: a
completion that was cut off before is then wrong. Without it in the reference, a text is taken to end where it ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from hf_listops.errors import ListOpsError
from hf_listops.language.task import EOS, EQUALS


def is_exact(prediction: str, reference: str) -> bool:
    """Whether a completion is the reference, symbol by symbol."""
    return _symbols(prediction, reference) == _symbols(reference, reference)


def is_answered(prediction: str, reference: str) -> bool:
    """Whether the last line of a completion is the last of the reference, whatever the lines between."""
    return _last_line(_symbols(prediction, reference)) == _last_line(_symbols(reference, reference))


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The shares in [0, 1] of exact and of answered completions: `exact_match` and `answer_accuracy`.

    Raises:
        ListOpsError: there are none, or not as many predictions as references.
    """
    if len(predictions) != len(references) or not references:
        raise ListOpsError(
            f"predictions: {len(predictions)} for {len(references)} references; right is one completion, "
            "such as ' [SUM 3 9 ] = 2', for each reference"
        )
    pairs = list(zip(predictions, references, strict=True))
    return {
        "exact_match": sum(is_exact(*pair) for pair in pairs) / len(pairs),
        "answer_accuracy": sum(is_answered(*pair) for pair in pairs) / len(pairs),
    }


def _symbols(text: str, reference: str) -> list[str]:
    """The symbols up to the first `<eos>`, which is kept if the reference has one."""
    symbols = text.split()
    end = symbols.index(EOS) if EOS in symbols else len(symbols)
    return symbols[: end + 1] if EOS in reference.split() else symbols[:end]


def _last_line(symbols: list[str]) -> list[str]:
    return symbols[len(symbols) - symbols[::-1].index(EQUALS) :] if EQUALS in symbols else symbols
