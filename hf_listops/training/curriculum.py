"""The curriculum and its batch sampler: which rows make up the global batch of every step.

Batch t is a pure function of (seed, curriculum, t), so the sampler's only state is the step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from hf_listops.errors import ListOpsError
from hf_listops.language import Task
from hf_listops.language.hashing import GOLDEN, hash_key, mix

Ints = NDArray[np.int64]
WINDOW = 8
"""Batches among which rows are exchanged so that each batch holds rows of like lengths.

Fewer pad more; more make neighbouring batches so unlike each other that SUM is learned later (measured: LOG.md)."""

_EXAMPLE = "{step: 0, mix: {max-med-mod10-depth2: 1}}"


@dataclass(frozen=True)
class Curriculum:
    """Knots `(step, weights)`, where `weights[i]` is that of `tasks[i]` and they sum to 1.

    Weights are linear between knots and constant after the last. Two knots at one step are a hard switch.
    """

    tasks: list[Task]
    steps: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]

    @staticmethod
    def from_config(task: str | None, knots: list[dict[str, Any]] | None) -> Curriculum:
        """Of one task, or of a recipe's knots. Raises `ListOpsError` for knots out of order or bad weights."""
        if knots is None:
            return Curriculum([Task.from_name(task or "")], (0,), ((1.0,),))
        if not isinstance(knots, list) or not knots:
            raise ListOpsError(f"curriculum: {knots!r} is not a list of knots; a right knot is {_EXAMPLE}")
        names: list[str] = []
        for knot in knots:
            _check_knot(knot)
            names += [name for name in knot["mix"] if name not in names]
        tasks = [Task.from_name(name) for name in names]
        if len({task.modulus for task in tasks}) > 1 or len({task.name for task in tasks}) < len(tasks):
            raise ListOpsError(f"curriculum: its tasks {', '.join(names)} must differ and share one modulus")
        steps = tuple(knot["step"] for knot in knots)
        if steps[0] != 0 or any(b < a for a, b in pairwise(steps)):
            raise ListOpsError(
                f"curriculum: the knots' steps {list(steps)} do not start at 0 and rise; right are [0, 2400, 5600]"
            )
        weights = tuple(
            tuple(knot["mix"].get(name, 0) / sum(knot["mix"].values()) for name in names) for knot in knots
        )
        return Curriculum(tasks, steps, weights)

    def weights_at(self, steps: Ints) -> NDArray[np.float64]:
        """The weights of each step, shape `(steps, tasks)`."""
        knots = np.array(self.weights)
        times = np.array(self.steps, dtype=np.float64)
        last = np.searchsorted(times, steps, side="right") - 1  # of two knots at one step, the second holds
        following = np.minimum(last + 1, len(times) - 1)
        span = times[following] - times[last]
        share = np.where(span > 0, (steps - times[last]) / np.maximum(span, 1), 0.0)[:, None]
        return knots[last] * (1 - share) + knots[following] * share

    def window(self, step: int) -> tuple[int, int]:
        """First step and end of the window of batches that holds a step; windows never cross a knot."""
        start = max(knot for knot in self.steps if knot <= step)
        end = min((knot for knot in self.steps if knot > step), default=None)
        first = start + (step - start) // WINDOW * WINDOW
        return first, first + WINDOW if end is None else min(first + WINDOW, end)


def _check_knot(knot: Any) -> None:
    if not isinstance(knot, dict) or set(knot) != {"step", "mix"} or not isinstance(knot["mix"], dict):
        raise ListOpsError(f"curriculum: {knot!r} is not a knot; a right one is {_EXAMPLE}")
    if not isinstance(knot["step"], int) or knot["step"] < 0:
        raise ListOpsError(f"curriculum: step {knot['step']!r} is not a step; a right knot is {_EXAMPLE}")
    if not all(isinstance(name, str) for name in knot["mix"]):
        raise ListOpsError(
            f"curriculum: {knot['mix']!r} at step {knot['step']} names no tasks; a right knot is {_EXAMPLE}"
        )
    weights = list(knot["mix"].values())
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not (0 <= weight < math.inf):
            raise ListOpsError(f"curriculum: weight {weight!r} at step {knot['step']} is not a number of 0 or more")
    if not sum(weights):
        raise ListOpsError(f"curriculum: all weights at step {knot['step']} are 0; a right knot is {_EXAMPLE}")


class Lengths(Protocol):
    """The lengths of a source's rows: a NumPy array is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Ints, /) -> Ints: ...


class CurriculumBatchSampler(Sampler[list[int]]):
    """Yields for each step the indices of its global batch, forever.

    An index counts through the sources one after another, as `datasets.concatenate_datasets` lays them. Rows are drawn
    with replacement; each row's source is drawn with the weights of its own step, then rows are exchanged inside a window
    of `WINDOW` batches so that a batch holds rows of like lengths.

    Args:
        sources (`Mapping[str, Lengths]`): for each task's name the lengths of its rows, such as `dataset["num_tokens"]`.
        curriculum (`Curriculum`): the weights at every step.
        batch_size (`int`): rows of a global batch.
        seed (`int`): of the draws.
        start_step (`int`): the first step to yield.
    """

    def __init__(
        self,
        sources: Mapping[str, Lengths | list[int]],
        curriculum: Curriculum,
        batch_size: int,
        seed: int = 0,
        start_step: int = 0,
    ) -> None:
        missing = [task.name for task in curriculum.tasks if task.name not in sources]
        if missing:
            raise ListOpsError(
                f"sources: {missing[0]!r} is in the curriculum but has no rows; given are {list(sources)}"
            )
        self.curriculum, self.batch_size, self.seed, self.step = curriculum, batch_size, seed, start_step
        given = [sources[task.name] for task in curriculum.tasks]
        self._lengths = [np.asarray(lengths) if isinstance(lengths, list) else lengths for lengths in given]
        self._starts = np.cumsum([0, *(len(lengths) for lengths in self._lengths)])
        self._key = hash_key(f"listops-batches|{seed}")
        self._window = lru_cache(maxsize=2)(self._make_window)

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            batch = self.batch(self.step)
            self.step += 1
            yield batch.tolist()

    def locate(self, indices: Ints) -> tuple[Ints, Ints]:
        """Which source each index is in, and which of its rows."""
        source = np.searchsorted(self._starts, indices, side="right") - 1
        return source, indices - self._starts[source]

    def batch(self, step: int) -> Ints:
        """The indices of a step's global batch, shape `(batch_size,)`, without moving the sampler."""
        first, end = self.curriculum.window(step)
        batches: NDArray[np.int64] = self._window(first, end)
        return batches[step - first]

    def drawn(self, first: int, end: int) -> Ints:
        """The indices as drawn, shape `(end - first, batch_size)`, before rows are exchanged by length."""
        steps = np.arange(first, end)
        slots = np.arange(first * self.batch_size, end * self.batch_size, dtype=np.uint64)
        bits = mix(mix(slots * GOLDEN + self._key) ^ hash_key(f"listops-batches|{self.seed}|again"))
        thresholds = np.cumsum(self.curriculum.weights_at(steps), axis=1)
        thresholds[:, -1] = 1.0
        share = _fraction(mix(bits ^ hash_key("source"))).reshape(len(steps), self.batch_size, 1)
        source = (share >= thresholds[:, None, :]).sum(axis=2)
        sizes = np.diff(self._starts)[source]
        row = (_fraction(mix(bits ^ hash_key("row"))).reshape(source.shape) * sizes).astype(np.int64)
        return self._starts[source] + row

    def _make_window(self, first: int, end: int) -> Ints:
        drawn = self.drawn(first, end).ravel()
        source, row = self.locate(drawn)
        lengths = np.empty(len(drawn), dtype=np.int64)
        for place in np.unique(source):
            members = np.flatnonzero(source == place)
            lengths[members] = self._lengths[place][row[members]]
        by_length = drawn[np.argsort(lengths, kind="stable")].reshape(end - first, self.batch_size)
        order = mix(np.arange(first, end, dtype=np.uint64) * GOLDEN + mix(np.array([self._key]))[0])
        return by_length[np.argsort(order, kind="stable")]


def rank_slice(batch: Ints, rank: int, world_size: int, part: int = 0, parts: int = 1) -> Ints:
    """What process `rank` of `world_size` takes of a global batch, in its micro-batch `part` of `parts`.

    Over all ranks and parts this is the batch itself, in order.
    """
    return np.array_split(np.array_split(batch, world_size)[rank], parts)[part]


def _fraction(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
