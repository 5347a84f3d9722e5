"""The virtual resolver's cache: RFC 1034 §4.3.2, RFC 2181 §5.2 and §8, RFC 2308.

A cached answer is served until its TTL is over, with the TTL counted down by the whole seconds it
has been there; an answer of TTL 0 serves the one query that fetched it; a failure (SERVFAIL) is not
kept.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

Fetch = Callable[[I64, F64], tuple[I64, I64]]
"""(units, times) → (versions, seconds to keep each): asks the authoritative side."""


class Caches:
    """What every resolver holds of every unit, as two dense tables (resolvers × units)."""

    def __init__(self, n_resolvers: int, n_units: int) -> None:
        self.n_units = n_units
        self.version = np.full(n_resolvers * n_units, -1, np.int64)
        self.fetched_s = np.zeros(n_resolvers * n_units)
        self.until_s = np.full(n_resolvers * n_units, -1.0)

    def answer(
        self, resolvers: I64, units: I64, times: F64, fetch: Fetch
    ) -> tuple[I64, F64, npt.NDArray[np.bool_]]:
        """Answer queries (in any order): version, time at which it was fetched, fetched just now?

        Time in one cell (resolver, unit) never runs backwards between calls.
        """
        cells = resolvers * self.n_units + units
        order = np.lexsort((times, cells))
        cells, times_in_order = cells[order], times[order]
        versions = np.full(len(order), -1, np.int64)
        fetched = np.zeros(len(order))
        missed = np.zeros(len(order), bool)
        starts = np.flatnonzero(np.r_[True, cells[1:] != cells[:-1]]) if len(order) else order
        ends = np.r_[starts[1:], len(order)]
        at = starts.copy()
        active = np.arange(len(starts))
        while len(active):
            cell = cells[starts[active]]
            # Serve what is cached up to its end …
            stop = _first_at_or_after(times_in_order, at[active], ends[active], self.until_s[cell])
            spans = stop - at[active]
            rows = _spans(at[active], spans)
            versions[rows] = np.repeat(self.version[cell], spans)
            fetched[rows] = np.repeat(self.fetched_s[cell], spans)
            # … and fetch for the first query behind it.
            waiting = stop < ends[active]
            active, stop, cell = active[waiting], stop[waiting], cell[waiting]
            if not len(active):
                break
            now = times_in_order[stop]
            found, keep_s = fetch(cell % self.n_units, now)
            versions[stop], fetched[stop], missed[stop] = found, now, True
            self.version[cell], self.fetched_s[cell] = found, now
            self.until_s[cell] = np.where(keep_s > 0, now + keep_s, -1.0)
            at[active] = stop + 1
            active = active[at[active] < ends[active]]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return versions[back], fetched[back], missed[back]

    def held(self, now_s: float) -> npt.NDArray[np.int64]:
        """Cells whose answer may still be served at `now_s`."""
        return np.flatnonzero(self.until_s > now_s)


def _spans(first: I64, length: I64) -> I64:
    """Indices of several spans, one after the other."""
    if not len(first):
        return np.zeros(0, np.int64)
    ends = np.cumsum(length)
    return np.repeat(first - (ends - length), length) + np.arange(ends[-1])


def _first_at_or_after(times: F64, low: I64, high: I64, limit: F64) -> I64:
    """For each span [low, high) of ascending times, the first place with time >= limit."""
    low, high = low.copy(), high.copy()
    while True:
        searching = low < high
        if not searching.any():
            return low
        middle = (low + high) // 2
        earlier = searching & (times[np.minimum(middle, len(times) - 1)] < limit)
        low = np.where(earlier, middle + 1, low)
        high = np.where(searching & ~earlier, middle, high)
