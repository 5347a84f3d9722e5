"""Which outbound exchanges are inbound ones, passed on? Pairs, and the chance that they are none.

An agent that is asked by a client asks its upstream within milliseconds, gets as much as it then
passes on, and cannot answer before it was answered. Such pairs occur by chance too, the more the
busier the host is. So they are counted again with the outbound times shifted round the capture:
what stays is chance. The window is the one that shows most, and the shifted counts choose theirs
in the same way.
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

WINDOWS_US = np.array([2, 5, 10, 20, 50, 100, 200, 500, 1_000, 3_000], np.int64) * 1_000
"""Longest time from the client's request to the agent's own."""
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
    chosen = _evenly(outbound, _bound(inbound, outbound, MAX_COUNTED, int(WINDOWS_US[-1])))
    zero = np.zeros(len(chosen), np.int64)
    seen = _counts(_least_delays(inbound, chosen, zero))
    generator = np.random.default_rng(seed)
    length = max(span[1] - span[0], 1)
    shifted = np.zeros((N_SHIFTS, len(WINDOWS_US)))
    for number in range(N_SHIFTS):
        by = int(length * generator.uniform(0.02, 0.98))
        moved = (chosen.start - span[0] + by) % length + span[0] - chosen.start
        shifted[number] = _counts(_least_delays(inbound, chosen, moved))
    mean = shifted.mean(axis=0)
    spread = np.sqrt(shifted.var(axis=0) + 1)
    strength = (seen - mean) / spread
    best = int(np.argmax(strength))
    n = len(chosen)
    log_p = _log_p(seen, mean, n)[best] + math.log(len(WINDOWS_US))
    if (((shifted - mean) / spread).max(axis=1) >= strength[best]).any():
        log_p = max(log_p, math.log(1 / (N_SHIFTS + 1)))
    listed = _bound(inbound, outbound, len(outbound), int(WINDOWS_US[best]))
    pairs = _pairs(inbound, outbound, _places(len(outbound), listed), int(WINDOWS_US[best]))
    return Match(
        n, int(seen[best]), float(mean[best]), int(WINDOWS_US[best]), min(log_p, 0.0), pairs
    )


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


def _log_p(seen: F64, mean: F64, n: int) -> F64:
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


def _counts(delays: I64) -> F64:
    """Exchanges matched within each window."""
    return np.searchsorted(np.sort(delays), WINDOWS_US, side="right").astype(float)


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
    near &= (inbound.role[place] == DNS) == (outbound.role[out] == DNS)
    return out[near], place[near]


def _least_delays(inbound: Exchanges, outbound: Exchanges, moved: I64) -> I64:
    """For each outbound exchange, the shortest time since a request that it may answer."""
    out, place = _candidates(inbound, outbound, moved, int(WINDOWS_US[-1]))
    delay = (outbound.start + moved)[out] - inbound.start[place]
    least = np.full(len(outbound), np.iinfo(np.int64).max)
    np.minimum.at(least, out, np.maximum(delay, 0))
    return least


def _pairs(
    inbound: Exchanges, whole: Exchanges, places: I64, window_us: int
) -> list[tuple[int, int]]:
    """Pairs one to one, of the outbound exchanges at `places`: nearest in volume, then in time."""
    outbound = whole.take(places)
    out, place = _candidates(inbound, outbound, np.zeros(len(outbound), np.int64), window_us)
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
