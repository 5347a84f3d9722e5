"""How often the name servers of a zone move, from samples that were taken when they were due.

Between two samples something changed, or not: when it did is only known to lie between them
(interval-censored). Two estimates follow.

- Servers that move by the clock, every P seconds, do so at phase + n·P: a pair of samples with a
  change has such a time between them, one without has none. Each period on a fine grid is held
  against all pairs at its best phase; those that contradict the fewest are the range, and the
  middle of their longest run is the estimate. It gets the better the longer one has watched.
- Where no period explains the pairs (servers that move at odd times), there is a mean: a change
  falls between samples d seconds apart with chance min(1, d / P), and P is the most likely one.

Samples farther apart than P only say "at most": when all of them differ, there is a bound and no
estimate. A period shorter than the TTL can never be seen: within its TTL nothing is asked.

A move is half of the servers or more at other addresses: networks replace single agents that
died in between. Where so many die that no clock explains these moves, those of all servers at
once are tried, of ways that look often enough to see two halves of a move apart.

Where it goes wrong: a set that comes back between two samples looks as if nothing had happened; a
cache between us and the zone shows moves late, by up to the TTL.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unflux.track.facts import Sample

MIN_CHANGES = 2
MOVES = 3
MAX_PAIRS = 400
"""Pairs of one way that are looked at: the latest."""
AROUND = 1.5
"""Periods are searched from the mean divided by this to the mean times this."""
MAX_GRID = 1500
MIN_WHOLE = 6
"""Moves of all servers that make a clock: through two or three of them there is always one."""
MAX_CONTRADICTED = 0.25
"""More pairs in contradiction than this share of the changes: they do not move by the clock."""

HALF, ALL = 0.5, 1.0
"""Shares of the name servers that are elsewhere after a move."""

Pair = tuple[float, float, bool]
"""(time before, time after, changed?)."""


class Period(NamedTuple):
    """How often name servers move."""

    seconds: float | None
    """None when the samples cannot tell."""
    between_s: tuple[float, float] | None
    """Shortest and longest period that explain the samples as well; None for a mean or nothing."""
    at_most_s: float | None
    """When every sample differed from the one before: n pairs in a row hold n moves, so that n - 1
    periods are shorter than all of them together."""
    n_changes: int
    n_samples: int

    @property
    def moves(self) -> bool:
        """Did name servers move again and again (not once, as when a provider is changed)?"""
        return self.n_changes >= MOVES


def pairs_of(samples: Iterable[Sample], share: float = HALF) -> list[list[Pair]]:
    """Neighbouring samples, way by way, of the ways that changed."""
    found = []
    for way in _by_way(samples):
        pairs = [
            (before.at_s, after.at_s, moved(before, after, share))
            for before, after in pairwise(way)
            if after.at_s > before.at_s
        ]
        if any(changed for _, _, changed in pairs):
            found.append(pairs)
    return found


def moved(before: Sample, after: Sample, share: float = HALF) -> bool:
    """Is that share of the name servers, or more, elsewhere? One that was replaced is no move."""
    gone = set(before.members) - set(after.members)
    return len(gone) >= share * max(len(before.members), 1)


def _by_way(samples: Iterable[Sample]) -> list[list[Sample]]:
    by_way: dict[str, list[Sample]] = {}
    for one in sorted(samples, key=lambda one: one.at_s):
        by_way.setdefault(one.way, []).append(one)
    return list(by_way.values())


def estimate(samples: Sequence[Sample]) -> Period:
    """The period of one zone."""
    ways = pairs_of(samples)
    changed, still = _lengths(ways)
    counts = len(changed), len(samples)
    if len(changed) < MIN_CHANGES:
        return Period(None, None, None, *counts)
    if not still:
        at_most = min((way[-1][1] - way[0][0]) / max(len(way) - 1, 1) for way in ways)
        return Period(None, None, at_most, *counts)
    mean = _mean(changed, still)
    rhythms = _rhythms(ways, mean) or _of_whole_moves(samples, mean / 2)
    if not rhythms:
        return Period(mean, None, None, *counts)
    best = min(rhythms, key=lambda one: (one.high - one.low) / one.seconds)
    return Period(best.seconds, (best.low, best.high), None, *counts)


def _lengths(ways: list[list[Pair]]) -> tuple[list[float], list[float]]:
    """Seconds between the samples of pairs with a change, sorted, and of pairs without."""
    pairs = [(until - since, changed) for way in ways for since, until, changed in way]
    changed = sorted(seconds for seconds, has_changed in pairs if has_changed)
    return changed, [seconds for seconds, has_changed in pairs if not has_changed]


def _mean(changed: list[float], still: list[float]) -> float:
    low = max(still) * (1 + 1e-9)
    return _most_likely(changed, still, low, sum(changed) + sum(still) + low)


def _usual_gap(way: list[Pair]) -> float:
    return statistics.median(until - since for since, until, _ in way)


def _rhythms(ways: list[list[Pair]], mean: float) -> list[Rhythm]:
    """The clocks that explain one of the ways each."""
    return [one for way in ways if (one := _rhythm(way[-MAX_PAIRS:], mean)) is not None]


def _of_whole_moves(samples: Sequence[Sample], gap_s: float) -> list[Rhythm]:
    """The same of moves of all servers, of ways that look that often."""
    ways = [way for way in pairs_of(samples, ALL) if _usual_gap(way) <= gap_s]
    changed, still = _lengths(ways)
    if len(changed) < MIN_WHOLE or not still:
        return []
    return _rhythms(ways, _mean(changed, still))


class Rhythm(NamedTuple):
    """A period of moves by the clock, and the range of those that explain as much."""

    seconds: float
    low: float
    high: float


def _rhythm(pairs: list[Pair], mean: float) -> Rhythm | None:
    """The period that contradicts the fewest pairs; None when none explains them."""
    since, until = np.array([one[:2] for one in pairs]).T
    changed = np.array([one[2] for one in pairs])
    span = until[-1] - since[0]
    step = max(float(np.median(until - since) / span) / 4, 2 * math.log(AROUND) / MAX_GRID)
    grid = mean / AROUND * np.exp(np.arange(0, 2 * math.log(AROUND), step))
    wrong = np.array([_contradicted(since - since[0], until - since[0], changed, p) for p in grid])
    if wrong.min() > MAX_CONTRADICTED * changed.sum():
        return None
    best = np.flatnonzero(wrong == wrong.min())
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    low, high = float(grid[best[0]]), float(grid[best[-1]])
    seconds = math.sqrt(grid[longest[0]] * grid[longest[-1]])
    return Rhythm(seconds, low / (1 + step), high * (1 + step))


def _contradicted(
    since: npt.NDArray[np.float64],
    until: npt.NDArray[np.float64],
    changed: npt.NDArray[np.bool_],
    period_s: float,
) -> int:
    """Pairs that moves every `period_s` do not explain, at the phase that explains most.

    Each pair is an arc on the circle of phases. A changed one is explained by phases in it, a
    still one by phases outside; one as long as the circle has a move in it at any phase.
    """
    short = until - since < period_s
    start = since[short] % period_s
    end = start + (until - since)[short]
    weight = np.where(changed[short], 1, -1)
    wraps = end > period_s
    places, of = np.unique(
        np.concatenate([start, np.where(wraps, end - period_s, end)]), return_inverse=True
    )
    turns = np.bincount(of, np.concatenate([weight, -weight]), len(places))
    covered = weight[wraps].sum() + np.cumsum(turns)
    most = max(covered.max(initial=0.0), float(weight[wraps].sum()))
    return int(changed[short].sum() - most) + int((~changed[~short]).sum())


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
