"""Rows of a task as flat arrays of token ids, and their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_listops.language.operations import OPERATIONS
from hf_listops.language.task import EOS, EQUALS, Task

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Some rows of one task.

    `ids[offsets[i] : offsets[i + 1]]` is row i: prompt, completion and `<eos>`. The other arrays have shape `(rows,)`:
    `prompt_lengths` in tokens (with the `=`), `answers`, `depths`, and `operations`, bit j set where the j-th operation
    of the table is used.
    """

    task: Task
    ids: NDArray[np.uint16]
    offsets: Ints
    prompt_lengths: Ints
    answers: Ints
    depths: Ints
    operations: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """Tokens of each row: prompt, completion and `<eos>`."""
        return np.diff(self.offsets)

    @staticmethod
    def empty(task: Task) -> Rows:
        none = np.empty(0, dtype=np.int64)
        return Rows(task, none.astype(np.uint16), np.zeros(1, dtype=np.int64), none, none, none, none)

    @staticmethod
    def concatenate(pieces: Sequence[Rows]) -> Rows:
        """The rows of all pieces, one after another."""
        if len(pieces) == 1:
            return pieces[0]
        ends = np.cumsum([0, *(len(piece.ids) for piece in pieces)])
        offsets = [piece.offsets[:-1] + end for piece, end in zip(pieces, ends[:-1], strict=True)]
        return Rows(
            pieces[0].task,
            np.concatenate([piece.ids for piece in pieces]),
            np.concatenate([*offsets, ends[-1:]]),
            *(
                np.concatenate([getattr(piece, field) for piece in pieces])
                for field in ("prompt_lengths", "answers", "depths", "operations")
            ),
        )

    def take(self, places: Ints) -> Rows:
        """The rows at these places, in this order."""
        lengths = self.lengths[places]
        offsets = np.zeros(len(places) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        source = np.arange(offsets[-1]) + np.repeat(self.offsets[places] - offsets[:-1], lengths)
        columns = (self.prompt_lengths, self.answers, self.depths, self.operations)
        return Rows(self.task, self.ids[source], offsets, *(column[places] for column in columns))

    def texts(self) -> tuple[list[str], list[str]]:
        """The prompts and the completions, as in `"[SUM 3 4 ] ="` and `" 7"`."""
        vocabulary = self.task.vocabulary
        symbols = [*(f" {symbol}" for symbol in vocabulary), *vocabulary, f" {EQUALS}\n"]
        symbols[vocabulary.index(EOS)] = "\n"
        ids = self.ids.copy()
        ids[self.offsets[:-1]] += len(vocabulary)  # a row starts without a space
        ids[self.offsets[:-1] + self.prompt_lengths - 1] = len(symbols) - 1  # and a prompt ends with its line
        longest = max(len(f" [{name}") for name in self.task.operations)
        width = -(-max(longest, len(str(self.task.modulus)) + 1) // 8) * 8
        table = np.array([symbol.encode()[:width] for symbol in symbols], dtype=f"S{width}")
        # Symbols of one width, padded with zero bytes that are dropped: no loop over rows or tokens.
        lines = table[ids].tobytes().translate(None, b"\0").decode().split("\n")
        return lines[0:-1:2], lines[1:-1:2]

    def operation_names(self) -> list[list[str]]:
        """The names of the operations that each row uses, in the order of the table."""
        names = list(OPERATIONS)
        sets = {
            bits: [name for j, name in enumerate(names) if bits >> j & 1]
            for bits in np.unique(self.operations).tolist()
        }
        return [sets[bits] for bits in self.operations.tolist()]
