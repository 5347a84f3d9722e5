"""How many addresses a pool has, seen and unseen: Chao's estimate, in Python and in SQL.

An answer is a sample of the pool without replacement, so it is answers that are counted: `once` and
`twice` are the addresses that stood in exactly one and in exactly two of them (Chao 1987; bias-
corrected form and variance of Chao 2005). Under unequal chances it is a lower bound, and for a pool
that changes it counts all that was in it over the time. Who calls it says when it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

Z_95 = 1.959964
MIN_TWICE = 10
MIN_COVERAGE = 0.3
CONDITIONS = (
    f"at least {MIN_TWICE} addresses seen in exactly two answers, and a coverage of at least "
    f"{MIN_COVERAGE:.0%}"
)
"""What a number that is shown needs; a pool that was seen over and over needs no second half."""
ALL_SEEN_COVERAGE, ALL_SEEN_TIMES = 0.98, 5


class Chao(NamedTuple):
    """Addresses, with a 95 % interval (log-normal, Chao 1987)."""

    estimate: float
    low: float
    high: float


def chao2(observed: int, once: int, twice: int, n_samples: int | None = None) -> Chao:
    """The pool behind `n_samples` answers; None: so many that their number does not matter.

    >>> [round(one, 1) for one in chao2(40, 10, 10, 50)]
    [44.0, 40.8, 61.1]
    """
    share = 1.0 if n_samples is None else (n_samples - 1) / n_samples if n_samples else 0.0
    unseen = share * once * (once - 1) / (2 * (twice + 1))
    if unseen <= 0:
        # Nothing points at more; what is seen by its first answer now may still follow.
        return Chao(float(observed), float(observed), observed + (3.0 if once else 0.0))
    if twice:
        ratio = once / twice
        variance = twice * (
            0.5 * share * ratio**2 + share**2 * ratio**3 + 0.25 * share**2 * ratio**4
        )
    else:
        variance = (
            share * once * (once - 1) / 2
            + share**2 * once * (2 * once - 1) ** 2 / 4
            - share**2 * once**4 / (4 * (observed + unseen))
        )
    spread = math.exp(Z_95 * math.sqrt(math.log(1 + max(variance, 0.0) / unseen**2)))
    return Chao(observed + unseen, observed + unseen / spread, observed + unseen * spread)


class PoolSize(NamedTuple):
    """What a pool's answers tell of its size."""

    observed: int
    """Addresses seen."""
    once: int
    """Those seen in one answer only."""
    coverage: float
    """Share of the answers' addresses that belongs to ones already seen (Good and Turing), 0…1."""
    chao: Chao | None
    """None where `CONDITIONS` are not met: a number would say little."""


def pool_size(times: Iterable[int], n_answers: int) -> PoolSize:
    """The size of a pool of which each address stood in so many of `n_answers` answers.

    >>> [round(one, 1) for one in pool_size([1] * 5 + [2] * 10 + [3] * 20, 30).chao]
    [35.9, 35.1, 44.3]
    >>> pool_size([1, 1, 2], 4).chao is None
    True
    """
    counts = list(times)
    once, twice, total = counts.count(1), counts.count(2), sum(counts)
    coverage = 1 - once / total if total else 0.0
    # Few stand at two when all were seen again and again: nothing is left to estimate.
    all_seen = bool(counts) and coverage >= ALL_SEEN_COVERAGE and median(counts) >= ALL_SEEN_TIMES
    shown = (twice >= MIN_TWICE or all_seen) and coverage >= MIN_COVERAGE and n_answers >= 2
    found = chao2(len(counts), once, twice, n_answers) if shown else None
    return PoolSize(len(counts), once, coverage, found)


def chao2_sql(observed: str, once: str, twice: str, n_samples: str) -> tuple[str, str, str]:
    """(estimate, low, high) as SQL expressions, for `twice` above 0; null without a sample."""
    share = f"(({n_samples} - 1.0) / nullif({n_samples}, 0))"
    ratio = f"({once} / {twice}::DOUBLE)"
    unseen = f"({share} * {once} * ({once} - 1.0) / (2 * ({twice} + 1)))"
    variance = (
        f"({twice} * (0.5 * {share} * pow({ratio}, 2) + pow({share}, 2) * pow({ratio}, 3) "
        f"+ 0.25 * pow({share}, 2) * pow({ratio}, 4)))"
    )
    spread = f"exp({Z_95} * sqrt(ln(1 + {variance} / pow({unseen}, 2))))"
    bounds = (f"{unseen}", f"{unseen} / {spread}", f"{unseen} * {spread}")
    rest = ("0", "0", f"CASE WHEN {once} > 0 THEN 3 ELSE 0 END")
    estimate, low, high = (
        f"({observed} + CASE WHEN {unseen} > 0 THEN {some} ELSE {none} END)"
        for some, none in zip(bounds, rest, strict=True)
    )
    return estimate, low, high
