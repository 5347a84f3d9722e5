"""Random numbers without state: the same keys give the same number, in any order of asking."""

from __future__ import annotations

from itertools import takewhile
from typing import cast

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
_MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(*keys: npt.ArrayLike) -> U64:
    """64 well-mixed bits of several integer keys (SplitMix64's finaliser, Steele et al. 2014).

    Keys are broadcast against each other, to one dimension at least; negative ones count as their
    two's complement.
    """
    singles = list(takewhile(lambda key: isinstance(key, int), keys))
    # Arrays wrap around silently, single numbers would warn.
    state = np.array([mix_one(*cast(list[int], singles))], np.uint64)
    for key in keys[len(singles) :]:
        state = state ^ np.asarray(key).astype(np.int64).view(np.uint64)
        state += _GOLDEN
        state ^= state >> _30
        state *= _FIRST
        state ^= state >> _27
        state *= _SECOND
        state ^= state >> _31
    return state


def mix_one(*keys: int) -> int:
    """`mix` of single numbers, as a Python integer: the same value, without the array's overhead.

    >>> mix_one(1, 2) == int(mix(1, 2)[0])
    True
    """
    state = 0
    for key in keys:
        state = ((state ^ key & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def below_one(limit: int, *keys: int) -> int:
    """`below` of single numbers."""
    return (mix_one(*keys) >> 32) * limit >> 32


def uniform_one(*keys: int) -> float:
    """`uniform` of single numbers."""
    return (mix_one(*keys) >> 11) * 2.0**-53


def uniform(*keys: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits."""
    return (mix(*keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(limit: npt.ArrayLike, *keys: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Integers in [0, limit); the bias is below 2^-32 for limits of 32 bits."""
    high = mix(*keys) >> np.uint64(32)
    return ((high * np.asarray(limit, np.uint64)) >> np.uint64(32)).astype(np.int64)


def key_of(text: str) -> int:
    """A stable integer for a name (FNV-1a, 63 bits)."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value >> 1
