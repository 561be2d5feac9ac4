"""Rows by number: `generate(task, split, seed, start, count)` is random access into an endless, vectorised stream.

Row r is a pure function of (task, split, seed, r). Its expression is drawn as a tree whose every node has a hash made
from its parent's; a row whose expression does not belong to the split draws again with the next counter. Everything
works on flat arrays: the nodes of all rows level by level, then the tokens of all rows one after another.

A trace needs no rewriting. Give each call the line t on which it has become a number: a token of line 0 stays until
its parent call is reduced, and an opening bracket becomes the call's value at its own t. So line k is line 0 with what
has died by k left out. `parallel` has t = depth, `leftmost` the rank of the closing bracket, `direct` t = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hf_listops.errors import ListOpsError
from hf_listops.language import splits
from hf_listops.language.hashing import GOLDEN, Hashes, below, below_low, hash_key, mix
from hf_listops.language.operations import OPERATIONS
from hf_listops.language.rows import Rows
from hf_listops.language.task import CLOSE, EOS, EQUALS, Task

GENERATOR_VERSION = 1
"""Raised whenever a change alters any row."""

_NESTED = round(0.35 * 2**32)  # probability that an argument besides the deep one is a call, of 2**32
_BATCH = 16_384  # candidates drawn at once: their arrays stay in the processor's cache
_TABULATED = 1_000_000  # up to so many calls, their values are looked up
_MOST_DRAWS = 200_000  # of one row, after which its split counts as empty

Ints = NDArray[np.int64]


def generate(task: Task, split: str, seed: int, start: int, count: int) -> Rows:
    """Rows `start` … `start + count - 1` of a split's stream.

    Args:
        task (`Task`): what to draw.
        split (`str`): one of `splits.SPLITS`. Rows may repeat: whoever needs distinct rows drops repeats in order.
        seed (`int`): which stream; different seeds give independent streams.
        start (`int`), count (`int`): which rows; chunks of any size give the same rows.

    Raises:
        ListOpsError: the split is unknown, or so small that a row could not be found.
    """
    return generate_at(task, split, seed, np.arange(start, start + count))


def generate_at(task: Task, split: str, seed: int, numbers: Ints) -> Rows:
    """The rows with these numbers, shape `(rows,)`, in this order; otherwise as `generate`."""
    if split not in splits.SPLITS:
        raise ListOpsError(f"split: {split!r} is none of {', '.join(splits.SPLITS)}")
    keys = _row_keys(task, split, seed, numbers)
    batches = range(0, len(keys), _BATCH)
    pieces = [_generate_batch(task, split, keys[first : first + _BATCH], numbers[first]) for first in batches]
    return Rows.concatenate(pieces) if pieces else Rows.empty(task)


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
        if tried >= _MOST_DRAWS:
            raise ListOpsError(
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


def _evaluate(task: Task, levels: list[Level]) -> NDArray[np.bool_]:
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


@dataclass(frozen=True)
class Layout:
    """The rows of those trees that belong to a split, and which trees they are."""

    rows: Rows
    candidates: Ints


def lay_out(task: Task, levels: list[Level], split: str | None = None) -> Layout:
    """The rows of all trees (`split` None), or of those that belong to a split, in order."""
    reduces_held_out = _evaluate(task, levels)
    wanted = np.ones(len(reduces_held_out), dtype=bool)
    if split is not None:
        wanted = reduces_held_out if split == splits.TEST_UNSEEN_CALLS else ~reduces_held_out
    tokens = _first_line(task, levels).keep(wanted)
    vocabulary = task.vocabulary
    widest = int(np.diff(tokens.offsets).max(initial=1))
    table = splits.position_table(splits.SPLIT, vocabulary, 1 << (widest - 1).bit_length())
    belongs_to = {splits.TRAIN: splits.in_train, splits.VALIDATION: splits.in_validation}.get(
        split or "", splits.in_test
    )
    lines: list[Line] = []
    alive = np.arange(len(tokens.trees))  # the rows that have a line k
    good = np.ones(len(tokens.trees), dtype=bool)
    line, k = tokens, 0
    while len(alive):
        last = line.reduced_by(k)
        if split is not None and (k == 0 or (split == splits.TRAIN and not last.all())):
            summed = np.add.reduceat(table.ravel()[line.places() * len(vocabulary) + line.shown(k)], line.offsets[:-1])
            good[alive] = belongs = last | belongs_to(splits.fraction(summed))
            alive, line, last = alive[belongs], line.keep(belongs), last[belongs]  # the others go no further
        lines.append(Line(alive, np.diff(line.offsets), line.shown(k)))
        k += 1
        alive, line = alive[~last], line.keep(~last).survivors(k)
    return Layout(_assemble(task, tokens, good, lines), tokens.trees[good])


@dataclass(frozen=True)
class Line:
    """Line k of the rows that have one: which rows, how many tokens each, and the ids of all one after another."""

    rows: Ints
    lengths: Ints
    ids: NDArray[np.uint16]


# What the layout knows of a token. Eight bytes, so that a selection moves one machine word a token.
_TOKEN = np.dtype(
    [
        ("symbol", np.uint16),  # its id on line 0
        ("value", np.uint16),  # the id of the number that replaces it
        ("reduced_at", np.uint16),  # the first line on which `value` stands in its place
        ("dies_at", np.uint16),  # the first line on which it is gone
    ]
)
_NEVER = 2**16 - 1


@dataclass
class Tokens:
    """The tokens of some rows, one row after another."""

    items: NDArray[np.void]  # of type `_TOKEN`: shape `(tokens,)`
    offsets: Ints  # where each row starts, and the end: shape `(rows + 1,)`
    trees: Ints  # which tree each row is: shape `(rows,)`

    def places(self) -> Ints:
        """The place of every token within its row."""
        return np.arange(len(self.items)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def shown(self, k: int) -> NDArray[np.uint16]:
        """The ids as they stand on line k."""
        return np.where(self.items["reduced_at"] <= k, self.items["value"], self.items["symbol"])

    def reduced_by(self, k: int) -> NDArray[np.bool_]:
        """For each row, whether its line k is the last, a number."""
        return self.items["reduced_at"][self.offsets[:-1]] <= k

    def keep(self, rows: NDArray[np.bool_]) -> Tokens:
        """Only the rows of a mask."""
        if rows.all():
            return self
        lengths = np.diff(self.offsets)
        mask = np.repeat(rows, lengths)
        return Tokens(self.items.view(np.uint64)[mask].view(_TOKEN), _offsets(lengths[rows]), self.trees[rows])

    def survivors(self, k: int) -> Tokens:
        """Only the tokens that are still there on line k; every row keeps at least one."""
        mask = self.items["dies_at"] > k
        left = np.cumsum(mask, dtype=np.int64)[self.offsets[1:] - 1]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), left])
        return Tokens(self.items.view(np.uint64)[mask].view(_TOKEN), offsets, self.trees)


def _offsets(lengths: Ints) -> Ints:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _first_line(task: Task, levels: list[Level]) -> Tokens:
    """The prompts' tokens, with the line on which each is replaced and gone."""
    sizes = [np.ones(len(level.depth), dtype=np.int64) for level in levels]
    for level, size, below_it in zip(levels[-2::-1], sizes[-2::-1], sizes[:0:-1], strict=True):
        size[level.calls] = 2 + np.add.reduceat(below_it, level.first)
    offsets = _offsets(sizes[0])
    items = np.empty(int(offsets[-1]), dtype=_TOKEN)
    symbol, value, reduced_at, dies_at = (items[field] for field in ("symbol", "value", "reduced_at", "dies_at"))
    symbol[:] = close = task.vocabulary.index(CLOSE)
    first_operation = len(task.vocabulary) - len(OPERATIONS)
    zero = task.vocabulary.index("0")
    start = offsets[:-1]
    dies_at[start] = _NEVER
    brackets: list[tuple[Ints, Ints]] = []
    starts: list[Ints] = []
    for level, size, below_it in zip(levels, sizes, [*sizes[1:], np.empty(0, dtype=np.int64)], strict=True):
        symbol[start] = value[start] = zero + level.value
        reduced_at[start] = 0
        opens = start[level.calls]
        symbol[opens] = first_operation + level.operation
        brackets.append((opens, opens + size[level.calls] - 1))
        before = np.cumsum(below_it) - below_it
        starts.append(start)
        start = before + np.repeat(opens + 1 - before[level.first], level.count) if len(opens) else before
    rank = _close_ranks(symbol == close, offsets) if task.trace == "leftmost" else None
    for level, (opens, closes), children in zip(levels[:-1], brackets, starts[1:], strict=False):
        at = rank[closes] if rank is not None else level.depth[level.calls] if task.trace == "parallel" else 1
        reduced_at[opens] = dies_at[closes] = at
        reduced_at[closes] = _NEVER
        dies_at[children] = np.repeat(reduced_at[opens], level.count)
    return Tokens(items, offsets, np.arange(len(offsets) - 1))


def _close_ranks(closes: NDArray[np.bool_], offsets: Ints) -> Ints:
    """For each closing bracket how many its row has up to it: `leftmost` reduces calls as their brackets close."""
    rank = np.cumsum(closes)
    before = np.concatenate([[0], rank[offsets[1:-1] - 1]])
    if int(np.diff(np.append(before, rank[-1])).max()) >= _NEVER:
        raise ListOpsError(f"trace: 'leftmost' of a row with {_NEVER:,} calls or more; 'parallel' has no such limit")
    return rank - np.repeat(before, np.diff(offsets))


def _assemble(task: Task, tokens: Tokens, good: NDArray[np.bool_], lines: list[Line]) -> Rows:
    """Joins the lines of each good row with `=`, and ends it with `<eos>`."""
    equals, eos, zero, close = (task.vocabulary.index(symbol) for symbol in (EQUALS, EOS, "0", CLOSE))
    place = np.cumsum(good) - 1
    kept = [(place[line.rows], line) if good[line.rows].all() else _only(line, good, place) for line in lines]
    lengths = np.zeros(int(good.sum()), dtype=np.int64)
    for rows, line in kept:
        lengths[rows] += line.lengths + 1
    offsets = _offsets(lengths)
    ids = np.full(int(offsets[-1]), equals, dtype=np.uint16)
    cursor = offsets[:-1].copy()
    for rows, line in kept:
        shift = cursor[rows] - (np.cumsum(line.lengths) - line.lengths)
        ids[np.arange(len(line.ids)) + np.repeat(shift, line.lengths)] = line.ids
        cursor[rows] += line.lengths + 1
    ids[offsets[1:] - 1] = eos
    rows, first = kept[0]
    starts = np.cumsum(first.lengths) - first.lengths
    operation = first.ids.astype(np.int64) - (len(task.vocabulary) - len(OPERATIONS))
    if len(rows):
        used = np.bitwise_or.reduceat(np.where(operation >= 0, np.int64(1) << np.maximum(operation, 0), 0), starts)
        depths = np.maximum.reduceat(
            np.cumsum((operation >= 0).astype(np.int8) - (first.ids == close), dtype=np.int64), starts
        )
    else:
        used = depths = starts
    answers = tokens.items["value"][tokens.offsets[:-1][good]].astype(np.int64) - zero
    return Rows(task, ids, offsets, first.lengths + 1, answers, depths, used)


def _only(line: Line, good: NDArray[np.bool_], place: Ints) -> tuple[Ints, Line]:
    """A line without the rows that turned out not to belong, and the places of those that do."""
    keep = good[line.rows]
    mask = np.repeat(keep, line.lengths)
    return place[line.rows[keep]], Line(line.rows[keep], line.lengths[keep], line.ids[mask])
