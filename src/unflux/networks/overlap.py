"""Do two sets of addresses come from one pool? Tests that know how little was seen.

Two answers of 10 out of one list of 40 share 2.5 addresses: a Jaccard index of 0.14, which every
fixed cut calls "unrelated". So overlaps are compared with what one common pool would give, and
with what chance would.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Numbers = npt.ArrayLike
"""Whole numbers: of any type, as they are only compared and counted."""

_SMALL = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, 257.0)))])


def log_factorial(n: F64) -> F64:
    """ln n! of whole numbers: a table below 256, Stirling's series above (error < 1e-13)."""
    n = np.asarray(n, np.float64)
    small = np.minimum(n, 255).astype(np.int64)
    big = np.maximum(n, 255.0)
    stirling = big * np.log(big) - big + 0.5 * np.log(2 * np.pi * big) + 1 / (12 * big)
    stirling -= 1 / (360 * big**3)
    return np.where(n < 256, _SMALL[small], stirling)


def _log_choose(n: F64, k: F64) -> F64:
    return log_factorial(n) - log_factorial(k) - log_factorial(n - k)


def _log_pmf(x: F64, pool: F64, n_a: F64, n_b: F64) -> F64:
    """ln P(X = x) where X is the overlap of two draws of `n_a` and `n_b` from `pool`."""
    possible = (x >= np.maximum(0, n_a + n_b - pool)) & (x <= np.minimum(n_a, n_b))
    x = np.clip(x, np.maximum(0, n_a + n_b - pool), np.minimum(n_a, n_b))
    inside = _log_choose(n_b, x) + _log_choose(pool - n_b, n_a - x) - _log_choose(pool, n_a)
    return np.where(possible, inside, -np.inf)


def _as_floats(x: Numbers, pool: Numbers, n_a: Numbers, n_b: Numbers) -> tuple[F64, F64, F64, F64]:
    """The four as floats; a pool is at least as large as what was drawn from it."""
    a, b = np.asarray(n_a, np.float64), np.asarray(n_b, np.float64)
    least = np.maximum(a, b)
    return np.asarray(x, np.float64), np.maximum(np.asarray(pool, np.float64), least), a, b


def log_tail_above(x: Numbers, pool: Numbers, n_a: Numbers, n_b: Numbers) -> F64:
    """ln P(X ≥ x) of the hypergeometric distribution, from above.

    The sum beyond the mean is bounded by a geometric series; at or below the mean it is 0 (P ≤ 1).
    """
    common, whole, a, b = _as_floats(x, pool, n_a, n_b)
    rest = np.maximum(whole - a - b + common + 1, 1)
    ratio = (a - common) * (b - common) / ((common + 1) * rest)
    tail = _log_pmf(common, whole, a, b) - np.log1p(-np.minimum(ratio, 1 - 1e-9))
    return np.where(common <= a * b / whole, 0.0, np.minimum(tail, 0.0))


def log_tail_below(x: Numbers, pool: Numbers, n_a: Numbers, n_b: Numbers) -> F64:
    """ln P(X ≤ x), from above in the same way; 0 at or above the mean."""
    common, whole, a, b = _as_floats(x, pool, n_a, n_b)
    rest = np.maximum(whole - a - b + common, 0)
    ratio = common * rest / ((a - common + 1) * (b - common + 1))
    tail = _log_pmf(common, whole, a, b) - np.log1p(-np.minimum(ratio, 1 - 1e-9))
    return np.where(common >= a * b / whole, 0.0, np.minimum(tail, 0.0))


def corrected_share(n_common: Numbers, n_mine: Numbers, coverage_of_other: F64) -> F64:
    """Share of my pool that is the other's, in [0, 1]: what was found in the part seen of it.

    If all of mine is the other's, a share as large as the other's coverage is found there.
    """
    found = np.asarray(n_common, np.float64) / np.maximum(np.asarray(n_mine, np.float64), 1)
    return np.asarray(np.minimum(1.0, found / np.maximum(coverage_of_other, 0.05)))
