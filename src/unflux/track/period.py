"""How often the name servers of a zone move, from samples that were taken when they were due.

Between two samples d seconds apart something changed, or not. If the servers move every P seconds
at a phase that is unknown, a change falls between them with chance min(1, d / P). The period is the
P of the greatest likelihood. Samples farther apart than P only say "at most": when all of them
differ, there is a bound and no estimate.

A move is half of the servers or more at other addresses: networks replace single agents that died
in between.

Where it goes wrong: servers that move at odd times have a mean, no period; a set that comes back
between two samples looks as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from unflux.track.facts import Sample

MIN_CHANGES = 2
MOVES = 3


class Period(NamedTuple):
    """How often name servers move."""

    seconds: float | None
    """None when the samples cannot tell."""
    at_most_s: float | None
    """When every sample differed from the one before: the shortest distance of two."""
    n_changes: int
    n_samples: int

    @property
    def moves(self) -> bool:
        """Did name servers move again and again (not once, as when a provider is changed)?"""
        return self.n_changes >= MOVES


def intervals(samples: Iterable[Sample]) -> list[tuple[float, bool]]:
    """(seconds, changed?) between neighbouring samples of one way each, of ways that changed."""
    found: list[tuple[float, bool]] = []
    for way in _by_way(samples):
        pairs = [
            (after.at_s - before.at_s, moved(before, after))
            for before, after in pairwise(way)
            if after.at_s > before.at_s
        ]
        if any(changed for _, changed in pairs):
            found += pairs
    return found


def moved(before: Sample, after: Sample) -> bool:
    """Are half of the name servers, or more, elsewhere? One that was replaced is no move."""
    gone = set(before.members) - set(after.members)
    return len(gone) * 2 >= max(len(before.members), 1)


def _by_way(samples: Iterable[Sample]) -> list[list[Sample]]:
    by_way: dict[str, list[Sample]] = {}
    for one in sorted(samples, key=lambda one: one.at_s):
        by_way.setdefault(one.way, []).append(one)
    return list(by_way.values())


def estimate(samples: Sequence[Sample]) -> Period:
    """The period of one zone."""
    pairs = intervals(samples)
    changed = sorted(seconds for seconds, has_changed in pairs if has_changed)
    still = [seconds for seconds, has_changed in pairs if not has_changed]
    if len(changed) < MIN_CHANGES:
        return Period(None, None, len(changed), len(samples))
    if not still:
        return Period(None, changed[0], len(changed), len(samples))
    low = max(still) * (1 + 1e-9)
    high = sum(seconds for seconds, _ in pairs) + low
    seconds = _most_likely(changed, still, low, high)
    distances = sorted(one for one, _ in pairs)
    if distances[len(distances) * 9 // 10] < seconds:  # nearly every move was seen by itself
        seconds = _between_changes(samples, seconds)
    return Period(seconds, None, len(changed), len(samples))


def _between_changes(samples: Sequence[Sample], about: float) -> float:
    """Mean time between neighbouring changes, where a long one stands for several."""
    total, n_cycles = 0.0, 0
    for way in _by_way(samples):
        times = [
            (before.at_s + after.at_s) / 2
            for before, after in pairwise(way)
            if moved(before, after)
        ]
        for first, second in pairwise(times):
            total += second - first
            n_cycles += max(round((second - first) / about), 1)
    return total / n_cycles if n_cycles else about


def _most_likely(changed: list[float], still: list[float], low: float, high: float) -> float:
    """Maximum on a grid of 1 %, then of 0.1 % around the best."""

    def likelihood(period: float) -> float:
        some = sum(math.log(min(1.0, one / period)) for one in changed)
        return some + sum(math.log1p(-min(one / period, 1 - 1e-12)) for one in still)

    best = low
    for step in (0.01, 0.001):
        first, last = (low, high) if step == 0.01 else (max(low, best / 1.02), best * 1.02)
        n = min(int(math.log(last / first) / math.log1p(step)) + 2, 3000)
        grid = [first * (1 + step) ** number for number in range(n)]
        best = max(grid, key=likelihood)
    return best
