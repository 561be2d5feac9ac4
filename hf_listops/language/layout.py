"""From trees to rows: the tokens of every line of a trace, without rewriting.

Give each call the line t on which it has become a number: a token of line 0 stays until its parent call is reduced, and an
opening bracket becomes the call's value at its own t. So line k is line 0 with what has died by k left out. `parallel` has
t = depth, `leftmost` the rank of the closing bracket, `direct` t = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_listops.errors import ListOpsError
from hf_listops.language import splits
from hf_listops.language.operations import OPERATIONS
from hf_listops.language.rows import Rows
from hf_listops.language.task import CLOSE, EOS, EQUALS, Task
from hf_listops.language.trees import Ints, Level, evaluate_trees


@dataclass(frozen=True)
class Layout:
    """The rows of those trees that belong to a split, and which trees they are."""

    rows: Rows
    candidates: Ints


def lay_out(task: Task, levels: list[Level], split: str | None = None) -> Layout:
    """The rows of all trees (`split` None), or of those that belong to a split, in order."""
    reduces_held_out = evaluate_trees(task, levels)
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
    if not lines:
        return Rows.empty(task)
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
