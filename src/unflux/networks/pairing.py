"""Which outbound exchanges are inbound ones, passed on? Pairs, and the chance that they are none.

An agent that is asked by a client asks its upstream within milliseconds, gets as much as it then
passes on, and cannot answer before it was answered. Such pairs occur by chance too, the more the
busier the host is. So they are counted again with the outbound times shifted round the capture:
what stays is chance. The window, and how alike the two have to be, are those that show most, and
the shifted counts choose theirs in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unflux.networks.exchanges import ROLES, Exchanges
from unflux.networks.overlap import log_factorial

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

WINDOWS_US = np.array([2, 5, 10, 20, 50, 100, 200, 500, 1_000, 3_000], np.int64) * 1_000
"""Longest time from the client's request to the agent's own."""
WINDOW_SHARE = 1 / 8
"""Of the capture: longer windows are not tried. Times are shifted by twice the longest window at
least: less would leave the real pairs where they are, and count them as chance."""
SLACK_US = 1_000
"""Captures put packets of the same moment in either order."""
N_SHIFTS = 99
MAX_COUNTED = 3_000
"""Outbound exchanges of one upstream that are counted: evenly chosen out of more."""
MAX_AT_A_TIME = 4_000_000
"""Possible pairs held at a time: a flood of requests makes fewer exchanges be looked at."""
HEAD_BYTES, VOLUME_SHARE = 400, 0.05
"""Replies differ by so much at most: headers that a proxy adds, records of TLS made anew."""
MIN_PAIRS = 4
DNS = ROLES.index("dns")


@dataclass(frozen=True, slots=True)
class Match:
    """What speaks for one upstream."""

    n_out: int
    n_matched: int
    by_chance: float
    """Mean number matched with shifted times."""
    window_us: int
    exact: bool
    """Request and reply have the very same volumes, as what is passed on unread has."""
    log_p: float
    """ln of the probability that chance matches as many; for the best of all windows."""
    pairs: list[tuple[int, int]]
    """(place in inbound, place in outbound), each exchange at most once."""

    @property
    def score(self) -> float:
        """Share of the exchanges with this upstream that inbound ones explain beyond chance."""
        return max(0.0, (self.n_matched - self.by_chance) / max(self.n_out - self.by_chance, 1e-9))


def match(inbound: Exchanges, outbound: Exchanges, span: tuple[int, int], seed: int) -> Match:
    """Compare the exchanges with one upstream to all inbound ones of the capture `span`."""
    length = max(span[1] - span[0], 1)
    windows = WINDOWS_US[: max(1, int(np.searchsorted(WINDOWS_US, length * WINDOW_SHARE)))]
    chosen = _evenly(outbound, _bound(inbound, outbound, MAX_COUNTED, int(windows[-1])))
    seen, shifted = _counted(inbound, chosen, windows, span[0], length, seed)
    n, mean = len(chosen), shifted.mean(axis=0)
    # Matches that come in bursts spread more than a binomial: they count for fewer.
    bursts = np.maximum(1.0, shifted.var(axis=0) / np.maximum(mean * (1 - mean / n), 1e-9))
    log_ps = log_tail(seen, mean, n) / bursts
    best = int(np.argmin(log_ps))
    log_p = float(log_ps[best]) + math.log(len(seen))
    if (log_tail(shifted, mean, n) / bursts).min() <= log_ps[best]:
        log_p = max(log_p, math.log(1 / (N_SHIFTS + 1)))
    window_us, exact = int(windows[best % len(windows)]), best >= len(windows)
    places = _places(len(outbound), _bound(inbound, outbound, len(outbound), window_us))
    pairs = _pairs(inbound, outbound, places, window_us, exact=exact)
    return Match(n, int(seen[best]), float(mean[best]), window_us, exact, min(log_p, 0.0), pairs)


def _counted(
    inbound: Exchanges, chosen: Exchanges, windows: I64, begin: int, length: int, seed: int
) -> tuple[F64, F64]:
    """Exchanges matched within each window, alike and then of the very same volumes: as they are,
    and with each of `N_SHIFTS` shifts."""
    seen = _counts(inbound, chosen, np.zeros(len(chosen), np.int64), windows)
    generator = np.random.default_rng(seed)
    least = min(2 * int(windows[-1]), length // 4)
    shifted = np.zeros((N_SHIFTS, len(seen)))
    for number in range(N_SHIFTS):
        by = int(generator.uniform(least, length - least))
        moved = (chosen.start - begin + by) % length + begin - chosen.start
        shifted[number] = _counts(inbound, chosen, moved, windows)
    return seen, shifted


def _bound(inbound: Exchanges, outbound: Exchanges, at_most: int, window_us: int) -> int:
    """How many outbound exchanges to look at, so that not too many pairs are held at a time."""
    low = np.searchsorted(inbound.start, outbound.start - window_us)
    high = np.searchsorted(inbound.start, outbound.start + SLACK_US)
    each = float((high - low).mean()) if len(outbound) else 0.0
    return max(MIN_PAIRS, min(at_most, int(MAX_AT_A_TIME / max(each, 1.0))))


def _places(n: int, n_chosen: int) -> I64:
    """Places of some of n, evenly spread; all of them where they are few enough."""
    return np.linspace(0, n - 1, min(n, n_chosen)).astype(np.int64)


def _evenly(outbound: Exchanges, n_chosen: int) -> Exchanges:
    return outbound.take(_places(len(outbound), n_chosen))


def log_tail(seen: F64, mean: F64, n: int) -> F64:
    """ln P(X ≥ seen) of n exchanges that are each matched by chance, from above (Chernoff-free:
    the first term of the binomial tail and a geometric series)."""
    # A shift that never matched says: less than once in all of them.
    p = np.clip(np.maximum(mean, 0.5 / N_SHIFTS) / n, 1e-12, 1 - 1e-9)
    whole = np.full_like(seen, n)
    pmf = log_factorial(whole) - log_factorial(seen) - log_factorial(whole - seen)
    pmf = pmf + seen * np.log(p) + (whole - seen) * np.log1p(-p)
    ratio = (whole - seen) / (seen + 1) * p / (1 - p)
    tail = pmf - np.log1p(-np.minimum(ratio, 1 - 1e-9))
    return np.where(seen <= n * p, 0.0, np.minimum(tail, 0.0))


def _counts(inbound: Exchanges, outbound: Exchanges, moved: I64, windows: I64) -> F64:
    """Exchanges matched within each window by one alike, and then by one of the same volumes."""
    out, place = _candidates(inbound, outbound, moved, int(windows[-1]))
    delay = np.maximum((outbound.start + moved)[out] - inbound.start[place], 0)
    exact = _same_volume(inbound, outbound, out, place)
    return np.concatenate([
        np.searchsorted(_least(out[one], delay[one], len(outbound)), windows, side="right")
        for one in (slice(None), exact)
    ]).astype(float)  # fmt: skip


def _least(out: I64, delay: I64, n: int) -> I64:
    """For each of n outbound exchanges the shortest delay, ascending."""
    least = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(least, out, delay)
    return np.sort(least)


def _same_volume(inbound: Exchanges, outbound: Exchanges, out: I64, place: I64) -> Mask:
    same = (inbound.up[place] == outbound.up[out]) & (inbound.down[place] == outbound.down[out])
    return np.asarray(same, bool)


def _candidates(
    inbound: Exchanges, outbound: Exchanges, moved: I64, window_us: int
) -> tuple[I64, I64]:
    """(place in outbound, place in inbound) of pairs that time, volume and content allow."""
    start = outbound.start + moved
    low = np.searchsorted(inbound.start, start - window_us, side="left")
    high = np.searchsorted(inbound.start, start + SLACK_US, side="right")
    count = high - low
    out = np.repeat(np.arange(len(start)), count)
    place = np.arange(len(out)) - np.repeat(np.cumsum(count) - count, count) + low[out]
    fits = inbound.reply_start[place] >= (outbound.reply_start + moved)[out] - SLACK_US
    fits &= inbound.reply_end[place] >= (outbound.reply_end + moved)[out] - SLACK_US
    out, place = out[fits], place[fits]
    larger = np.maximum(inbound.down[place], outbound.down[out])
    near = np.abs(inbound.down[place] - outbound.down[out]) <= HEAD_BYTES + VOLUME_SHARE * larger
    larger = np.maximum(inbound.up[place], outbound.up[out])
    near &= np.abs(inbound.up[place] - outbound.up[out]) <= HEAD_BYTES + VOLUME_SHARE * larger
    one, other = inbound.content_length[place], outbound.content_length[out]
    near &= (one < 0) | (other < 0) | (one == other)
    one, other = inbound.question[place], outbound.question[out]
    near &= (one < 0) | (other < 0) | (one == other)
    # A resolver is asked for recursion and asks others without: that is no passing on.
    one, other = inbound.recursion[place], outbound.recursion[out]
    near &= (one < 0) | (other < 0) | (one == other)
    near &= (inbound.role[place] == DNS) == (outbound.role[out] == DNS)
    return out[near], place[near]


def _pairs(
    inbound: Exchanges, whole: Exchanges, places: I64, window_us: int, *, exact: bool
) -> list[tuple[int, int]]:
    """Pairs one to one, of the outbound exchanges at `places`: nearest in volume, then in time."""
    outbound = whole.take(places)
    out, place = _candidates(inbound, outbound, np.zeros(len(outbound), np.int64), window_us)
    if exact:
        same = _same_volume(inbound, outbound, out, place)
        out, place = out[same], place[same]
    difference = np.abs(inbound.down[place] - outbound.down[out])
    delay = np.abs(outbound.start[out] - inbound.start[place])
    used_in: set[int] = set()
    used_out: set[int] = set()
    found = []
    for row in np.lexsort((place, out, delay, difference)).tolist():
        one, other = int(place[row]), int(out[row])
        if one not in used_in and other not in used_out:
            used_in.add(one)
            used_out.add(other)
            found.append((one, int(places[other])))
    return sorted(found)
