"""Facts about a name as the series that its page draws: strip, TTLs, accumulation, pool, places.

Pure: tables in, plain values out.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from unflux.features.chao import pool_size
from unflux.times import iso, iso_of_s
from unflux.web.history import Facts

MINUTE_S, HOUR_S = 60, 3600
BIN_SIZES_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
               172_800, 604_800)  # fmt: skip
MAX_BINS = 120
"""Columns of a strip."""
MAX_WIDER = 2
"""Times as long as a name's own time the axis is that it shares with its name servers, at most."""
MAX_STRIP_ROWS = 240
"""Addresses in a strip; those seen most often are kept."""
MAX_POINTS = 400
"""Points of a curve."""
Point = TypeVar("Point")


@dataclass(slots=True)
class Seen:
    """One address of a name over time."""

    first_us: int
    last_us: int
    sides: dict[str, list[int]] = field(default_factory=dict)
    """Minutes since the epoch at which it was answered afresh, by side of the cache: what both
    sides saw was one event. A minute is there once for each record and hour that has it."""
    counts: dict[str, int] = field(default_factory=dict)
    """Fresh observations by side."""

    @property
    def n(self) -> int:
        """Fresh observations, at most one a minute."""
        return max(self.counts.values(), default=0)

    def cells(self, bins: Bins) -> list[tuple[int, int]]:
        """(bin, fresh observations in it), as the side saw it that saw more."""
        most: dict[int, int] = {}
        for minutes in self.sides.values():
            for place, n in Counter(map(bins.of, minutes)).items():
                most[place] = max(most.get(place, 0), n)
        return sorted(most.items())


def observations(rows: pa.Table) -> dict[str, Seen]:
    """Addresses and when they were answered."""
    seen: dict[str, Seen] = {}
    if not rows.num_columns:
        return seen
    columns = ("rdata", "ttl_max", "vantage", "fresh_minutes", "count")
    whole = (rows[name].to_pylist() for name in columns)
    times = (_us_of(rows[name]) for name in ("time_first", "time_last"))
    for address, ttl, vantage, bits, count, first_us, last_us in zip(*whole, *times, strict=True):
        one = seen.get(address)
        if one is None:
            one = seen[address] = Seen(first_us, last_us)
        one.first_us, one.last_us = min(one.first_us, first_us), max(one.last_us, last_us)
        one.counts[vantage] = one.counts.get(vantage, 0) + count
        fresh = fresh_minutes(first_us, last_us, ttl or 0, vantage, bits)
        one.sides.setdefault(vantage, []).extend(fresh)
    return seen


def fresh_minutes(first_us: int, last_us: int, ttl_s: int, vantage: str, bits: int) -> list[int]:
    """Minutes in which a record was fetched afresh, from the bits of its hour.

    Above a resolver the bits are those minutes. Below a cache they are expiry minutes, modulo 64:
    one TTL before them it was fetched, within the time it was seen.
    """
    first, last = first_us // 60_000_000, last_us // 60_000_000
    if vantage == "history" or not bits:
        return sorted({first, last})
    if vantage == "upstream" and first == last:
        return [first]
    marked = [first + (bit - first) % 64 for bit in _bits_of(bits)]
    if vantage == "upstream":
        return [minute for minute in marked if minute <= last]
    return [min(max(minute - ttl_s // MINUTE_S, first), last) for minute in marked]


def _bits_of(number: int) -> Iterator[int]:
    """Places of the bits that are set: few of the 64, so each is found by itself."""
    while number:
        yield (number & -number).bit_length() - 1
        number &= number - 1


@dataclass(frozen=True, slots=True)
class Bins:
    """Equal parts of the time that is looked at."""

    start_s: int
    size_s: int
    count: int

    def of(self, minute: int) -> int:
        """The bin of a minute."""
        return min(max((minute * MINUTE_S - self.start_s) // self.size_s, 0), self.count - 1)

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return {"start": iso_of_s(self.start_s), "size_s": self.size_s, "count": self.count}


def bins_for(first_us: int, last_us: int) -> Bins:
    """At most `MAX_BINS` bins of a size that people know."""
    span_s = max((last_us - first_us) // 1_000_000, MINUTE_S)
    size_s = next((size for size in BIN_SIZES_S if span_s / size <= MAX_BINS - 1), 0)
    size_s = size_s or math.ceil(span_s / (MAX_BINS - 1) / 86_400) * 86_400
    start_s = first_us // 1_000_000 // size_s * size_s
    return Bins(start_s, size_s, max(1, (last_us // 1_000_000 - start_s) // size_s + 1))


Place = tuple[int | None, str | None, str | None]
"""Origin AS, organisation, country."""
NOWHERE: Place = (None, None, None)


def bins_of(own: Iterable[Seen], ns: Iterable[Seen]) -> tuple[Bins | None, Bins | None]:
    """Those of a name's strip and of its name servers': the same where one time suits both.

    Name servers that were seen for months would leave a name that was seen for an hour one column.
    """
    mine, below, both = span_of(own), span_of(ns), span_of(own, ns)
    if mine and both and both[1] - both[0] <= MAX_WIDER * max(mine[1] - mine[0], MINUTE_S * 10**6):
        shared = bins_for(*both)
        return shared, shared if below else None
    return bins_for(*mine) if mine else None, bins_for(*below) if below else None


def strip(
    seen: Mapping[str, Seen], places: Mapping[str, Place], bins: Bins | None
) -> dict[str, Any]:
    """Which address answered when: a row an address in order of first sight, cells by bin."""
    kept = sorted(seen, key=lambda one: (-seen[one].n, seen[one].first_us, one))[:MAX_STRIP_ROWS]
    rows = []
    for address in sorted(kept, key=lambda one: (seen[one].first_us, one)):
        one = seen[address]
        asn, organisation, country = places.get(address, NOWHERE)
        rows.append(
            {
                "address": address,
                "origin_asn": asn,
                "organisation": organisation,
                "country": country,
                "first_seen": iso(one.first_us),
                "last_seen": iso(one.last_us),
                "fresh": one.n,
                "cells": one.cells(bins) if bins else [],
            }
        )
    return {"bins": bins.as_json() if bins else None, "rows": rows, "n_addresses": len(seen)}


def ttl_series(rows: pa.Table) -> list[dict[str, Any]]:
    """Shortest and longest TTL by hour."""
    by_hour: dict[Any, tuple[int, int]] = {}
    if not rows.num_columns:
        return []
    whole = (rows[name].to_pylist() for name in ("ttl_min", "ttl_max"))
    for at, low, high in zip(_us_of(rows["bucket"]), *whole, strict=True):
        if high is None:
            continue
        before = by_hour.get(at, (low, high))
        by_hour[at] = (min(before[0], low), max(before[1], high))
    points = [
        {"time": iso(at), "min_s": low, "max_s": high}
        for at, (low, high) in sorted(by_hour.items())
    ]
    return _thinned(points)


def accumulation(seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """Distinct addresses seen up to each time."""
    points = list(enumerate(sorted(one.first_us for one in seen.values()), 1))
    if seen:
        points.append((len(seen), max(one.last_us for one in seen.values())))
    return [{"time": iso(at), "distinct": number} for number, at in _thinned(points)]


def pool_estimate(seen: Mapping[str, Seen]) -> dict[str, Any] | None:
    """How many addresses there are, seen and unseen: Chao's lower bound (`features.chao`).

    A minute with fresh answers is one sample. It supposes that the pool does not change while it
    is looked at: for one that does, it counts what was in it over the time. None where a number
    would say little.
    """
    minutes = {minute for one in seen.values() for side in one.sides.values() for minute in side}
    found = pool_size([one.n for one in seen.values()], len(minutes))
    if found.chao is None:
        return None
    return {
        **{name: round(value) for name, value in found.chao._asdict().items()},
        "observed": found.observed,
        "once": found.once,
        "method": "chao2",
    }


def spread(seen: Mapping[str, Seen], places: Mapping[str, Place]) -> dict[str, Any]:
    """Addresses by origin AS and by country, most first."""
    by_asn: Counter[tuple[int | None, str | None]] = Counter()
    by_country: Counter[str | None] = Counter()
    for address in seen:
        asn, organisation, country = places.get(address, NOWHERE)
        by_asn[asn, organisation] += 1
        by_country[country] += 1
    ases = sorted(by_asn.items(), key=lambda item: (-item[1], item[0][0] or 0))
    countries = sorted(by_country.items(), key=lambda item: (-item[1], item[0] or ""))
    return {
        "ases": [
            {"origin_asn": asn, "organisation": organisation, "n": n}
            for (asn, organisation), n in ases[:200]
        ],
        "n_ases": sum(asn is not None for asn, _ in by_asn),
        "countries": [{"country": country, "n": n} for country, n in countries],
    }


def name_servers(facts: Facts) -> list[dict[str, Any]]:
    """Each name server: when the zone named it, and how many addresses it had."""
    named: dict[str, list[int]] = {}
    if facts.ns.num_columns:
        times = (_us_of(facts.ns[name]) for name in ("time_first", "time_last"))
        for host, first_us, last_us in zip(facts.ns["rdata"].to_pylist(), *times, strict=True):
            span = named.setdefault(host, [first_us, last_us])
            span[:] = [min(span[0], first_us), max(span[1], last_us)]
    addresses: defaultdict[str, set[str]] = defaultdict(set)
    if facts.ns_addresses.num_columns:
        rows = facts.ns_addresses
        for host, address in zip(rows["owner"].to_pylist(), rows["rdata"].to_pylist(), strict=True):
            addresses[host].add(address)
    return [
        {
            "host": host.removesuffix(".") or ".",
            "first_seen": iso(first),
            "last_seen": iso(last),
            "n_addresses": len(addresses[host]),
        }
        for host, (first, last) in sorted(named.items())
    ]


def span_of(*many: Iterable[Seen]) -> tuple[int, int] | None:
    """First and last time of all of these."""
    every = [one for some in many for one in some]
    if not every:
        return None
    return min(one.first_us for one in every), max(one.last_us for one in every)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most about `MAX_POINTS` of them, the last one among them."""
    step = math.ceil(len(points) / MAX_POINTS) or 1
    kept = list(points[::step])
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


def _us_of(moments: pa.ChunkedArray) -> list[int]:
    """Times as microseconds since the epoch; datetimes would take most of the time of a picture."""
    found: list[int] = moments.cast(pa.int64()).to_pylist()
    return found
