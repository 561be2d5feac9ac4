"""Which split an expression belongs to, and which flat calls are held out: properties of the text alone.

The hash of a text of tokens t_0 … t_k is `mix(sum over i of mix(key(t_i) + (i + 1) * GOLDEN))`, where `key` is BLAKE2b
of a purpose, `|` and the token. The upper 53 bits as a fraction in [0, 1) decide: below 0.9 train, below 0.95
validation, else test; under a second, independent purpose, a flat call below 0.05 is held out. Mix, modulus and seed
do not enter, so an expression is in the same split wherever it occurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hf_listops.language.hashing import GOLDEN, Hashes, hash_key, mix

TRAIN, VALIDATION, TEST, TEST_UNSEEN_CALLS, TEST_DEEPER = (
    "train",
    "validation",
    "test",
    "test_unseen_calls",
    "test_deeper",
)
SPLITS = (TRAIN, VALIDATION, TEST, TEST_UNSEEN_CALLS, TEST_DEEPER)

SPLIT, HELD_OUT = "split", "held-out"
_SHARE_TRAIN, _SHARE_VALIDATION, _SHARE_HELD_OUT = 0.90, 0.05, 0.05


@lru_cache(maxsize=16)
def position_table(purpose: str, vocabulary: tuple[str, ...], length: int) -> Hashes:
    """The summands of the hash, shape `(length, len(vocabulary))`: `table[i, id]` for token `id` at place i."""
    keys = np.array([hash_key(f"listops-{purpose}|{token}") for token in vocabulary], dtype=np.uint64)
    places = np.arange(1, length + 1, dtype=np.uint64) * GOLDEN
    return mix(keys[None, :] + places[:, None])


def fraction(summed: Hashes) -> NDArray[np.float64]:
    """The summed summands of each text as a number in [0, 1)."""
    return (mix(summed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def in_train(fractions: NDArray[np.float64]) -> NDArray[np.bool_]:
    return fractions < _SHARE_TRAIN


def in_validation(fractions: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (fractions >= _SHARE_TRAIN) & (fractions < _SHARE_TRAIN + _SHARE_VALIDATION)


def in_test(fractions: NDArray[np.float64]) -> NDArray[np.bool_]:
    return fractions >= _SHARE_TRAIN + _SHARE_VALIDATION


def held_out(fractions: NDArray[np.float64]) -> NDArray[np.bool_]:
    return fractions < _SHARE_HELD_OUT


def fractions_of(purpose: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """The fraction of each canonical text (of an expression, or of a flat call under `HELD_OUT`)."""
    lines = [text.split() for text in texts]
    vocabulary = tuple(sorted({token for line in lines for token in line}))
    ids = {token: place for place, token in enumerate(vocabulary)}
    if not lines:
        return np.empty(0)
    table = position_table(purpose, vocabulary, max(map(len, lines)))
    return fraction(np.array([sum_of(table, [ids[token] for token in line]) for line in lines], dtype=np.uint64))


def sum_of(table: Hashes, ids: Sequence[int]) -> np.uint64:
    """The summed summands of one text given by its token ids."""
    return np.uint64(table[np.arange(len(ids)), ids].sum())


def split_of(text: str) -> str:
    """`train`, `validation` or `test`: where the expression with this canonical text belongs."""
    fractions = fractions_of(SPLIT, [text])
    return TRAIN if in_train(fractions)[0] else VALIDATION if in_validation(fractions)[0] else TEST


@lru_cache(maxsize=200_000)
def is_held_out(call: str) -> bool:
    """Whether a flat call (an operation with numbers only), given by its canonical text, is held out of training."""
    return bool(held_out(fractions_of(HELD_OUT, [call]))[0])
