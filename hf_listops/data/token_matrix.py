"""Rows in memory as one matrix of token ids: what training and evaluation read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_listops.errors import ListOpsError
from hf_listops.language import Rows, Task
from hf_listops.language.task import EOS

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TokenMatrix:
    """Some rows of one task.

    `ids` has shape `(rows, longest)`, padded on the right with 0 (`<pad>`); the other arrays have shape `(rows,)`:
    `lengths` counts prompt, completion and `<eos>`, `prompt_lengths` the prompt with its `=`.
    """

    task: Task
    ids: NDArray[np.uint16]
    lengths: Ints
    prompt_lengths: Ints
    answers: Ints
    depths: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Ints) -> TokenMatrix:
        """The rows with these numbers, cut to the longest of them."""
        lengths = self.lengths[rows]
        ids = self.ids[rows, : int(lengths.max(initial=0))]
        return TokenMatrix(self.task, ids, lengths, self.prompt_lengths[rows], self.answers[rows], self.depths[rows])

    def spread(self, count: int) -> TokenMatrix:
        """`count` rows at even distances, or all: where rows are distinct, small expressions stand at the front."""
        return self.take(np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64)))

    @staticmethod
    def stack(parts: Sequence[TokenMatrix]) -> TokenMatrix:
        """The rows of all parts, one after another; the task is the first part's."""
        width = max(part.ids.shape[1] for part in parts)
        ids = np.concatenate([np.pad(part.ids, ((0, 0), (0, width - part.ids.shape[1]))) for part in parts])
        fields = ("lengths", "prompt_lengths", "answers", "depths")
        return TokenMatrix(parts[0].task, ids, *(np.concatenate([getattr(part, f) for part in parts]) for f in fields))

    @staticmethod
    def from_rows(rows: Rows) -> TokenMatrix:
        return _fill(rows.task, rows.ids, rows.lengths, rows.prompt_lengths, rows.answers, rows.depths)

    @staticmethod
    def from_texts(
        task: Task, prompts: Sequence[str], completions: Sequence[str], answers: Ints, depths: Ints
    ) -> TokenMatrix:
        """Encodes texts by the task's vocabulary. Raises `ListOpsError` for a symbol that it lacks, naming the row."""
        ids = {symbol: place for place, symbol in enumerate(task.vocabulary)}
        words = f" {EOS} ".join(prompt + completion for prompt, completion in zip(prompts, completions, strict=True))
        try:
            flat = np.array([ids[word] for word in f"{words} {EOS}".split()], dtype=np.uint16)
        except KeyError as error:
            row = next(i for i in range(len(prompts)) if error.args[0] in (prompts[i] + completions[i]).split())
            raise ListOpsError(
                f"row {row}: the symbol {error.args[0]!r} is not in the vocabulary of {task.name!r}, "
                f"which holds {task.vocabulary[2]!r}, {task.vocabulary[3]!r}, numbers and operations such as '[SUM'"
            ) from None
        ends = np.flatnonzero(flat == ids[EOS])
        lengths = np.diff(ends, prepend=-1)
        prompt_lengths = np.array([prompt.count(" ") + 1 for prompt in prompts], dtype=np.int64)
        return _fill(task, flat, lengths, prompt_lengths, answers, depths)


def _fill(
    task: Task, flat: NDArray[np.uint16], lengths: Ints, prompt_lengths: Ints, answers: Ints, depths: Ints
) -> TokenMatrix:
    inside = np.arange(int(lengths.max(initial=0))) < lengths[:, None]
    ids = np.zeros(inside.shape, dtype=np.uint16)
    ids[inside] = flat
    return TokenMatrix(task, ids, lengths, prompt_lengths, answers, depths)
