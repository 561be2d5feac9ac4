"""Random expressions as trees, the nodes of all rows level by level: drawing them, and their values.

Every node has a hash made from its parent's, from which its own choices are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hf_listops.language import splits
from hf_listops.language.hashing import GOLDEN, Hashes, below, below_low, hash_key, mix
from hf_listops.language.operations import OPERATIONS
from hf_listops.language.task import CLOSE, Task

Ints = NDArray[np.int64]

_NESTED = round(0.35 * 2**32)  # probability that an argument besides the deep one is a call, of 2**32
_TABULATED = 1_000_000  # up to so many calls, their values are looked up


@dataclass
class Level:
    """The nodes of one depth below the roots, the children of a call side by side: each array of shape `(nodes,)`."""

    depth: Ints  # 0 for a number
    value: Ints
    tree: Ints  # which tree a node belongs to
    # Of the calls among them, in the same order: each of shape `(calls,)`.
    calls: Ints  # where they stand
    operation: Ints
    count: Ints  # of arguments
    first: Ints  # where the first argument stands on the next level


def draw_trees(task: Task, keys: Hashes, lowest: int) -> list[Level]:
    """One expression a key, by levels. The depth is uniform in `lowest` … `max(lowest, max_depth)`."""
    members = np.array([list(OPERATIONS).index(name) for name in task.operations])
    levels: list[Level] = []
    depth = lowest + below(mix(keys ^ hash_key("depth")), max(1, task.max_depth - lowest + 1))
    tree = np.arange(len(keys))
    while len(keys):
        calls = np.flatnonzero(depth)
        value = below_low(keys, task.modulus)
        bits = mix(keys[calls] ^ hash_key("call"))
        count = 2 + below(bits, task.max_args - 1)
        operation = members[below_low(bits, len(members))]
        first = np.cumsum(count) - count
        levels.append(Level(depth, value, tree, calls, operation, count, first))
        bits = mix(keys[calls] ^ hash_key("arguments"))
        deep = first + below(bits, count)
        parent = np.repeat(np.arange(len(calls)), count)
        tree = tree[calls][parent]
        below_depth = depth[calls][parent] - 1
        place = np.arange(len(parent)) - first[parent]
        keys = mix(bits[parent] + (place + 1).astype(np.uint64) * GOLDEN)
        bits = mix(keys ^ hash_key("nested"))
        depth = np.where((bits >> np.uint64(32)).astype(np.int64) < _NESTED, 1 + below_low(bits, below_depth), 0)
        depth[below_depth == 0] = 0
        depth[deep] = below_depth[deep]
    return levels


def evaluate_trees(task: Task, levels: list[Level]) -> NDArray[np.bool_]:
    """Fills in the value of every call, bottom up. Returns for each tree whether it reduces a held-out call."""
    hit = np.zeros(len(levels[0].depth), dtype=bool)
    base = task.modulus + 1
    powers = base ** np.arange(task.max_args)
    known = _all_calls(task) if len(OPERATIONS) * base**task.max_args <= _TABULATED else None
    for level, below_it in zip(levels[-2::-1], levels[:0:-1], strict=True):
        places = np.arange(task.max_args)
        inside = places < level.count[:, None]
        args = below_it.value[np.minimum(level.first[:, None] + places, len(below_it.value) - 1)]
        if known is None:
            values, held_out = _reduce(task, level.operation, level.count, args)
        else:
            code = ((args + 1) * inside) @ powers + level.operation * base**task.max_args
            values, held_out = known[0][code], known[1][code]
        level.value[level.calls] = values
        hit[level.tree[level.calls[held_out]]] = True
    return hit


@lru_cache(maxsize=8)
def _all_calls(task: Task) -> tuple[Ints, NDArray[np.bool_]]:
    """The value of every flat call, and whether it is held out, by its code.

    The code is the operation's place in the table, then the arguments in base n + 1: 0 for none, number + 1.
    """
    base = task.modulus + 1
    operation, rest = np.divmod(np.arange(len(OPERATIONS) * base**task.max_args), base**task.max_args)
    digits = rest[:, None] // base ** np.arange(task.max_args) % base
    # Codes with a gap or one argument stand for no call; whatever is computed for them is never looked up.
    return _reduce(task, operation, np.maximum((digits > 0).sum(axis=1), 2), np.maximum(digits - 1, 0))


def _reduce(task: Task, operation: Ints, count: Ints, args: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The values of flat calls, and whether each is held out; `args` has shape `(calls, max_args)`, the others `(calls,)`."""
    table = splits.position_table(splits.HELD_OUT, task.vocabulary, task.max_args + 2)
    first_operation = len(task.vocabulary) - len(OPERATIONS)
    close, zero = task.vocabulary.index(CLOSE), task.vocabulary.index("0")
    values = np.zeros(len(operation), dtype=np.int64)
    for place, name in enumerate(OPERATIONS):
        if name in task.operations:
            rows = np.flatnonzero(operation == place)
            values[rows] = OPERATIONS[name].reduce(args[rows], count[rows], task.modulus, task.table_seed)
    places = np.arange(task.max_args)
    summed = table[0, first_operation + operation] + table[count + 1, close]
    summed += np.where(places < count[:, None], table[1 + places, zero + args], np.uint64(0)).sum(axis=1)
    return values, splits.held_out(splits.fraction(summed))
