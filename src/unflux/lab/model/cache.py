"""The virtual resolver's cache: RFC 1034 §4.3.2, RFC 2181 §5.2 and §8, RFC 2308.

A cached answer is served until its TTL is over, with the TTL counted down by the whole seconds it
has been there; an answer of TTL 0 serves the one query that fetched it; a failure (SERVFAIL) is not
kept.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from unflux.lab.model.store import rows_of

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

Fetch = Callable[[I64, F64], I64]
"""(units, times) → versions: asks the authoritative side."""
Keep = Callable[[I64, F64], F64]
"""(units, times) → seconds for which what is fetched then may be kept."""


_NOT_YET = -2
"""This minus n: the version that the n-th query fetches."""


class Caches:
    """What every resolver holds of every unit, as two dense tables (resolvers × units)."""

    def __init__(self, n_resolvers: int, n_units: int) -> None:
        self.n_units = n_units
        self.version = np.full(n_resolvers * n_units, -1, np.int64)
        self.fetched_s = np.zeros(n_resolvers * n_units)
        self.until_s = np.full(n_resolvers * n_units, -1.0)

    def answer(
        self, resolvers: I64, units: I64, times: F64, fetch: Fetch, keep_s: Keep
    ) -> tuple[I64, F64, npt.NDArray[np.bool_]]:
        """Answer queries, by time: version, time at which it was fetched, fetched just now?

        What is fetched is settled first, by TTLs alone, and then fetched all at once. Time in one
        cell (resolver, unit) never runs backwards between calls.
        """
        cells = (resolvers * self.n_units + units).astype(np.int32)
        order = np.argsort(cells, kind="stable")
        cells, times = cells[order], times[order]
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
            stop = _first_at_or_after(times, at[active], ends[active], self.until_s[cell])
            spans = stop - at[active]
            rows = rows_of(at[active], spans)
            versions[rows] = np.repeat(self.version[cell], spans)
            fetched[rows] = np.repeat(self.fetched_s[cell], spans)
            # … and fetch for the first query behind it.
            waiting = stop < ends[active]
            active, stop, cell = active[waiting], stop[waiting], cell[waiting]
            if not len(active):
                break
            now = times[stop]
            kept_s = keep_s(cell % self.n_units, now)
            versions[stop], fetched[stop], missed[stop] = _NOT_YET - stop, now, True
            self.version[cell], self.fetched_s[cell] = _NOT_YET - stop, now
            self.until_s[cell] = np.where(kept_s > 0, now + kept_s, -1.0)
            at[active] = stop + 1
            active = active[at[active] < ends[active]]
        self._settle(cells, times, versions, np.flatnonzero(missed), fetch)
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return versions[back], fetched[back], missed[back]

    def _settle(
        self, cells: npt.NDArray[np.int32], times: F64, versions: I64, missed: I64, fetch: Fetch
    ) -> None:
        """Fetch, and put the versions where their places were kept."""
        found = np.zeros(len(versions), np.int64)
        found[missed] = fetch(cells[missed].astype(np.int64) % self.n_units, times[missed])
        open_rows = np.flatnonzero(versions <= _NOT_YET)
        versions[open_rows] = found[_NOT_YET - versions[open_rows]]
        asked = cells[missed]
        held = self.version[asked]
        is_open = held <= _NOT_YET
        self.version[asked[is_open]] = found[_NOT_YET - held[is_open]]

    def held(self, now_s: float) -> npt.NDArray[np.int64]:
        """Cells whose answer may still be served at `now_s`."""
        return np.flatnonzero(self.until_s > now_s)


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
