"""The operation table: what each operation of the language computes, once for one call and once for many.

`evaluate` takes the numbers of one call; `reduce` takes `values` of shape `(calls, max_args)` and `counts` of shape
`(calls,)` (how many of a row's values are arguments; the rest are to be ignored) and returns shape `(calls,)`.
MED of an even count is the mean of the two middle values rounded down, as in the original ListOps data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hf_listops.language.hashing import hash_key, mix

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Operation:
    """One entry of the table. `modulus` and `table_seed` (SHUF and SYMSHUF only) belong to the task."""

    name: str
    meaning: str
    evaluate: Callable[[Sequence[int], int, int], int]
    reduce: Callable[[Ints, Ints, int, int], Ints]


@lru_cache(maxsize=64)
def shuffled_addition(modulus: int, table_seed: int, symmetric: bool) -> Ints:
    """The `(modulus, modulus)` table of SHUF or SYMSHUF: the addition table with its entries permuted at random.

    Every answer stays exactly as frequent as in SUM. With `symmetric`, T[a, b] = T[b, a] is kept, so the diagonal and
    the pairs off it are permuted among themselves.
    """
    a, b = np.divmod(np.arange(modulus * modulus), modulus)
    order = mix(hash_key(f"listops-table|{modulus}|{table_seed}|{symmetric}") + np.arange(modulus**2, dtype=np.uint64))
    table = (a + b) % modulus
    if not symmetric:
        return table[np.argsort(order, kind="stable")].reshape(modulus, modulus)
    square = np.empty((modulus, modulus), dtype=np.int64)
    for members in (a == b, a < b):
        places = np.flatnonzero(members)
        square[a[places], b[places]] = table[places[np.argsort(order[places], kind="stable")]]
    square[b[a < b], a[a < b]] = square[a[a < b], b[a < b]]
    return square


def _median(args: Sequence[int], modulus: int, table_seed: int) -> int:
    ordered = sorted(args)
    return (ordered[(len(args) - 1) // 2] + ordered[len(args) // 2]) // 2


def _product(args: Sequence[int], modulus: int, table_seed: int) -> int:
    product = 1
    for arg in args:
        product = product * arg % modulus
    return product


def _fold(symmetric: bool) -> Callable[[Sequence[int], int, int], int]:
    def evaluate(args: Sequence[int], modulus: int, table_seed: int) -> int:
        table = shuffled_addition(modulus, table_seed, symmetric)
        value = args[0]
        for arg in args[1:]:
            value = int(table[value, arg])
        return value

    return evaluate


def _within(values: Ints, counts: Ints, filler: int) -> Ints:
    """`values` with the places beyond each row's count replaced by `filler`."""
    return np.where(np.arange(values.shape[1]) < counts[:, None], values, filler)


def _reduce_median(values: Ints, counts: Ints, modulus: int, table_seed: int) -> Ints:
    ordered = np.sort(_within(values, counts, modulus), axis=1)
    rows = np.arange(len(counts))
    return (ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) // 2


def _reduce_product(values: Ints, counts: Ints, modulus: int, table_seed: int) -> Ints:
    args = _within(values, counts, 1)
    product = args[:, 0]
    for place in range(1, args.shape[1]):
        product = product * args[:, place] % modulus
    return product


def _reduce_alternating(values: Ints, counts: Ints, modulus: int, table_seed: int) -> Ints:
    signs = 1 - 2 * (np.arange(values.shape[1]) % 2)
    return (_within(values, counts, 0) * signs).sum(axis=1) % modulus


def _reduce_fold(symmetric: bool) -> Callable[[Ints, Ints, int, int], Ints]:
    def reduce(values: Ints, counts: Ints, modulus: int, table_seed: int) -> Ints:
        table = shuffled_addition(modulus, table_seed, symmetric)
        args = _within(values, counts, 0)
        value = args[:, 0]
        for place in range(1, args.shape[1]):
            value = np.where(place < counts, table[value, args[:, place]], value)
        return value

    return reduce


# The order is part of the contract: names and token ids follow it, so new operations go to the end.
OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            "MAX",
            "the largest argument",
            lambda args, n, s: max(args),
            lambda v, c, n, s: _within(v, c, -1).max(axis=1),
        ),
        Operation(
            "MIN",
            "the smallest argument",
            lambda args, n, s: min(args),
            lambda v, c, n, s: _within(v, c, n).min(axis=1),
        ),
        Operation("MED", "the median, of an even count the mean of the two in the middle", _median, _reduce_median),
        Operation(
            "SUM",
            "the sum modulo n",
            lambda args, n, s: sum(args) % n,
            lambda v, c, n, s: _within(v, c, 0).sum(axis=1) % n,
        ),
        Operation("FIRST", "the first argument", lambda args, n, s: args[0], lambda v, c, n, s: v[:, 0]),
        Operation(
            "LAST",
            "the last argument",
            lambda args, n, s: args[-1],
            lambda v, c, n, s: v[np.arange(len(c)), c - 1],
        ),
        Operation("PROD", "the product modulo n", _product, _reduce_product),
        Operation(
            "NADD",
            "the sum with alternating signs, a - b + c - ..., modulo n",
            lambda args, n, s: (sum(args[0::2]) - sum(args[1::2])) % n,
            _reduce_alternating,
        ),
        Operation("SHUF", "the addition table with its entries shuffled, folded", _fold(False), _reduce_fold(False)),
        Operation("SYMSHUF", "the same, the table kept symmetric", _fold(True), _reduce_fold(True)),
    )
}
