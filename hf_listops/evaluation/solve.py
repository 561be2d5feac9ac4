"""One expression solved aloud: the model's lines beside the right ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import Checkpoint
from hf_listops.evaluation.decoding import complete
from hf_listops.language import parse, trace
from hf_listops.language.task import EOS, EQUALS


@dataclass(frozen=True)
class SolvedLine:
    """One line of a completion; `expected` is None where the right trace has no further line."""

    text: str
    expected: str | None
    ended: bool  # by `=` or `<eos>`, not by the last position

    @property
    def is_right(self) -> bool:
        return self.ended and self.text == self.expected


def solve(checkpoint: Checkpoint, text: str) -> Iterator[SolvedLine]:
    """Yields the model's lines as they are generated, greedily.

    Raises:
        ListOpsError: the expression is malformed, holds what the model has no symbol for, or is too long for it.
    """
    expression = parse(text, checkpoint.task.modulus)
    expected = [str(line) for line in trace(expression, checkpoint.task)][1:]
    ids = [checkpoint.task.vocabulary.index(symbol) for symbol in (*expression.tokens, EQUALS)]
    n_positions = checkpoint.model.config.n_positions
    if len(ids) >= n_positions:
        raise ListOpsError(f"expression: it has {len(ids)} tokens, but the model has {n_positions} positions")
    eos, equals = checkpoint.task.vocabulary.index(EOS), checkpoint.task.vocabulary.index(EQUALS)
    lean, done = checkpoint.lean, 0
    line: list[str] = []
    while len(ids) < n_positions:
        prefix = torch.tensor([ids])
        out, _ = complete(lean, prefix, torch.tensor([len(ids)]), eos, most=len(ids) + 1)
        token = int(out[0, len(ids)])
        ids.append(token)
        if token in (eos, equals):
            yield SolvedLine(" ".join(line), expected[done] if done < len(expected) else None, True)
            line, done = [], done + 1
            if token == eos:
                return
        else:
            line.append(checkpoint.task.vocabulary[token] if token < len(checkpoint.task.vocabulary) else "?")
    yield SolvedLine(" ".join(line), expected[done] if done < len(expected) else None, False)
