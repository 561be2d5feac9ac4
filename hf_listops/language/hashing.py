"""64-bit hashing on NumPy arrays: the only source of randomness of the language.

Streams, seeds and splits are mixed by hashing, never by adding, so that no two of them can overlap. All arithmetic is
modulo 2**64 and the same on every machine and NumPy version.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

# 2**64 divided by the golden ratio: consecutive multiples are far apart before they are mixed.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_key(text: str) -> np.uint64:
    """A 64-bit key from a text (BLAKE2b)."""
    return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))


def mix(x: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014) elementwise: a bijection that mixes every bit."""
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def below(x: Hashes, n: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """The upper 32 bits of each hash as a number uniform in 0 … n-1 (n far below 2**32)."""
    return ((x >> np.uint64(32)).astype(np.int64) * n) >> 32


def below_low(x: Hashes, n: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """The lower 32 bits of each hash as a number uniform in 0 … n-1 (n far below 2**32)."""
    return ((x & np.uint64(0xFFFFFFFF)).astype(np.int64) * n) >> 32
