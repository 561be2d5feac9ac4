"""Where training rows come from: a dataset's token matrix, or the generator without end."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np

from hf_listops.data.load import GENERATED, load_split
from hf_listops.data.token_matrix import Ints, TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.language import Task, generate_at
from hf_listops.language.splits import TRAIN
from hf_listops.training.curriculum import Lengths


class RowSource(Protocol):
    """Rows of one task by number."""

    @property
    def lengths(self) -> Lengths: ...

    def take(self, rows: Ints) -> TokenMatrix: ...


class GeneratedRows:
    """The train split of a task straight from the generator: 2**40 rows, none of them stored.

    The rows whose lengths were asked for last are kept, since a window of batches asks for lengths first and for the
    rows themselves later.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.seed = task, seed
        self._numbers = np.empty(0, dtype=np.int64)
        self._matrix: TokenMatrix | None = None

    def __len__(self) -> int:
        return 2**40

    @property
    def lengths(self) -> Lengths:
        return self

    def __getitem__(self, rows: Ints) -> Ints:
        self._numbers = np.unique(rows)
        self._matrix = TokenMatrix.from_rows(generate_at(self.task, TRAIN, self.seed, self._numbers))
        return self._matrix.lengths[np.searchsorted(self._numbers, rows)]

    def take(self, rows: Ints) -> TokenMatrix:
        places = np.searchsorted(self._numbers, rows)
        known = places < len(self._numbers)
        if self._matrix is None or not (known.all() and (self._numbers[places] == rows).all()):
            self[rows]
            places = np.searchsorted(self._numbers, rows)
        assert self._matrix is not None
        return self._matrix.take(places)


def training_sources(dataset: str, tasks: list[Task], seed: int, n_positions: int) -> dict[str, RowSource]:
    """The train split of every task. Raises `ListOpsError` if a row would not fit into `n_positions`."""
    sources: dict[str, RowSource] = {}
    for task in tasks:
        if dataset == GENERATED:
            if n_positions < task.longest_row():
                raise ListOpsError(
                    f"n_positions: {n_positions} is too short for the generated rows of {task.name!r}, which have up to "
                    f"{task.longest_row()} tokens"
                )
            sources[task.name] = GeneratedRows(task, seed)
        else:
            matrix = load_split(dataset, task, TRAIN)
            check_lengths(matrix, n_positions, TRAIN)
            sources[task.name] = matrix
    return sources


def rows_sha256(sources: dict[str, RowSource]) -> str | None:
    """The hash of all rows of the sources, None if one of them is endless."""
    digest = hashlib.sha256()
    for name, source in sources.items():
        if not isinstance(source, TokenMatrix):
            return None
        digest.update(f"{name} {source.ids.shape}".encode())
        digest.update(np.ascontiguousarray(source.ids).data)
    return digest.hexdigest()


def check_lengths(rows: TokenMatrix, n_positions: int, split: str) -> None:
    """Raises `ListOpsError` if rows are longer than `n_positions`: nothing is ever cut."""
    too_long = int((rows.lengths > n_positions).sum())
    if too_long:
        raise ListOpsError(
            f"n_positions: {n_positions} is too short for {too_long} of the {len(rows)} rows of {rows.task.name!r}, split "
            f"{split!r}; set it to {int(rows.lengths.max())} or more"
        )
