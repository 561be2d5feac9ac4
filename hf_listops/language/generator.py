"""Rows by number: `generate(task, split, seed, start, count)` is random access into an endless, vectorised stream.

Row r is a pure function of (task, split, seed, r). Its expression is drawn as a tree whose every node has a hash made
from its parent's; a row whose expression does not belong to the split draws again with the next counter. Everything
works on flat arrays: the nodes of all rows level by level, then the tokens of all rows one after another.

A trace needs no rewriting. Give each call the line t on which it has become a number: a token of line 0 stays until
its parent call is reduced, and an opening bracket becomes the call's value at its own t. So line k is line 0 with what
has died by k left out. `parallel` has t = depth, `leftmost` the rank of the closing bracket, `direct` t = 1.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from hf_listops.errors import ListOpsError
from hf_listops.language import splits
from hf_listops.language.hashing import GOLDEN, Hashes, hash_key, mix
from hf_listops.language.layout import lay_out
from hf_listops.language.rows import Rows
from hf_listops.language.task import Task
from hf_listops.language.trees import Ints, draw_trees

GENERATOR_VERSION = 1
"""Raised whenever a change alters any row."""

_BATCH = 16_384  # candidates drawn at once: their arrays stay in the processor's cache
_MOST_DRAWS = 200_000  # of one row, after which its split counts as empty
_MOST_IN_VAIN = 2_000_000  # of all rows of a batch without finding one


class EmptySplitError(ListOpsError):
    """A split of a task has no expression, or so few that none is found."""


def generate(task: Task, split: str, seed: int, start: int, count: int) -> Rows:
    """Rows `start` … `start + count - 1` of a split's stream.

    Args:
        task (`Task`): what to draw.
        split (`str`): one of `splits.SPLITS`. Rows may repeat: whoever needs distinct rows drops repeats in order.
        seed (`int`): which stream; different seeds give independent streams.
        start (`int`), count (`int`): which rows; chunks of any size give the same rows.

    Raises:
        ListOpsError: the split is unknown. `EmptySplitError`: it is so small that a row could not be found.
    """
    return generate_at(task, split, seed, np.arange(start, start + count))


def generate_at(task: Task, split: str, seed: int, numbers: Ints) -> Rows:
    """The rows with these numbers, shape `(rows,)`, in this order; otherwise as `generate`."""
    if split not in splits.SPLITS:
        raise ListOpsError(f"split: {split!r} is none of {', '.join(splits.SPLITS)}")
    if split == splits.TEST_UNSEEN_CALLS and not _holds_out_a_call(task):
        raise EmptySplitError(
            f"split: {split!r} of {task.name!r} has no expression, since none of the task's flat calls is held out; a larger "
            "modulus or mix has some"
        )
    keys = _row_keys(task, split, seed, numbers)
    batches = range(0, len(keys), _BATCH)
    pieces = [_generate_batch(task, split, keys[first : first + _BATCH], numbers[first]) for first in batches]
    return Rows.concatenate(pieces) if pieces else Rows.empty(task)


@lru_cache(maxsize=64)
def _holds_out_a_call(task: Task) -> bool:
    """Whether one of the task's flat calls at least is held out: of a small modulus there may be none."""
    numbers = [str(number) for number in range(task.modulus)]
    arguments = (args for count in range(2, task.max_args + 1) for args in product(numbers, repeat=count))
    return any(splits.is_held_out(f"[{name} {' '.join(args)} ]") for args in arguments for name in task.operations)


def draw(task: Task, seed: int, count: int) -> Rows:
    """`count` rows as the distribution gives them, before any split is looked at."""
    return lay_out(task, draw_trees(task, _row_keys(task, "any", seed, np.arange(count)), 1)).rows


def _row_keys(task: Task, split: str, seed: int, numbers: Ints) -> Hashes:
    stream = f"listops-rows|{GENERATOR_VERSION}|{task.name}|{split}|{seed}"
    return mix(mix(numbers.astype(np.uint64) * GOLDEN + hash_key(stream)) ^ hash_key(f"{stream}|again"))


def _generate_batch(task: Task, split: str, keys: Hashes, first: int) -> Rows:
    pending = np.arange(len(keys))
    found: list[Rows] = []
    places: list[Ints] = []
    tried = 0
    lowest = task.max_depth + 1 if split == splits.TEST_DEEPER else 1
    while len(pending):
        if tried >= _MOST_DRAWS or (len(pending) == len(keys) and tried * len(keys) >= _MOST_IN_VAIN):
            raise EmptySplitError(
                f"split: none of {tried:,} expressions drawn of {task.name!r} belongs to its split {split!r}, row "
                f"{first + int(pending[0])}; a larger modulus, depth or mix has more of them"
            )
        # Several draws a row at once change nothing but the speed: the first that belongs is taken.
        attempts = max(1, min(_BATCH // len(pending), 4 if tried == 0 and split == splits.TRAIN else 256))
        counters = np.arange(tried, tried + attempts, dtype=np.uint64)
        candidates = mix((keys[pending][:, None] + counters[None, :] * GOLDEN).ravel())
        layout = lay_out(task, draw_trees(task, candidates, lowest), split)
        firsts = np.flatnonzero(np.diff(layout.candidates // attempts, prepend=-1))
        owners = layout.candidates[firsts] // attempts
        found.append(layout.rows.take(firsts))
        places.append(pending[owners])
        pending = np.delete(pending, owners)
        tried += attempts
    order = np.argsort(np.concatenate(places), kind="stable")
    return Rows.concatenate(found).take(order)
