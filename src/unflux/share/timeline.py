"""What names did over time: which address answered when, TTLs, name servers, growth.

The pictures of the report and the evidence of abuse reports are drawn from this. Sightings are kept
by the hour: a spell is the time from the first to the last sight within one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.detect import Finding
from unflux.features.hosts import address_rows
from unflux.pipeline import Judged, absolute, bare

HOUR_US = 3_600_000_000

SPELLS = """
WITH by_side AS ( -- what both sides of a resolver saw was one event
    SELECT name_id, code, vantage, sum(fresh) AS n FROM rows GROUP BY ALL
), counted AS (
    SELECT name_id, code, max(n)::BIGINT AS n FROM by_side GROUP BY ALL
), spelled AS (
    SELECT name_id, code, list(DISTINCT [first_us, last_us]) AS spells
    FROM rows GROUP BY ALL
)
SELECT name_id, code, n, list_sort(spells) AS spells
FROM spelled JOIN counted USING (name_id, code)
"""
TTLS = """
SELECT name_id, first_us // 3600000000 * 3600000000 AS hour_us, min(ttl_min)::BIGINT AS low_s,
    max(ttl_max)::BIGINT AS high_s
FROM rows WHERE ttl_max IS NOT NULL GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Track:
    """One address, and when it stood in answers."""

    address: str
    owner: str
    """The name it answered for, without the final dot."""
    origin_asn: int | None
    organisation: str | None
    country: str | None
    spells: tuple[tuple[int, int], ...]
    """(first, last) in microseconds since the epoch, in order."""
    n_fresh: int
    """Fresh answers that held it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """One name over time."""

    addresses: list[Track] = field(default_factory=list)
    """In order of their first sight."""
    name_servers: list[Track] = field(default_factory=list)
    """Addresses of its zone's name servers, the same."""
    ttls: list[tuple[int, int, int]] = field(default_factory=list)
    """(hour in microseconds, shortest, longest TTL in seconds), in order."""
    ns_ttl_s: int = 0
    """Longest TTL of those addresses of name servers."""
    n_answers: int = 0
    """Fresh answers for the name."""

    def growth(self) -> list[tuple[int, int]]:
        """(time, distinct addresses seen by then), in order."""
        firsts = sorted(track.spells[0][0] for track in self.addresses)
        return [(at_us, number) for number, at_us in enumerate(firsts, start=1)]

    def periods(self, length_us: int = HOUR_US) -> list[tuple[int, int, int]]:
        """(start, distinct addresses in it, those among them never seen before), in order."""
        seen: defaultdict[int, set[str]] = defaultdict(set)
        new: defaultdict[int, int] = defaultdict(int)
        for track in self.addresses:
            for first_us, _ in track.spells:
                seen[first_us // length_us].add(track.address)
            new[track.spells[0][0] // length_us] += 1
        return [(at * length_us, len(seen[at]), new[at]) for at in sorted(seen)]


def timelines(judged: Judged, findings: Sequence[Finding]) -> dict[str, Timeline]:
    """The timeline of each finding's name (of the name behind it, where it is an alias)."""
    names = pa.array([absolute(finding.name) for finding in findings], pa.string())
    wanted = judged.table.filter(pc.is_in(judged.table.column("name"), names))
    owners = wanted.column("address_name_id").cast(pa.int32())
    zones = pc.index_in(wanted.column("zone"), value_set=judged.history.names)
    hosts_of = _hosts_of_zones(judged, zones)
    host_ids = pa.chunked_array([pa.array(sorted(set().union(*hosts_of.values())), pa.int32())])
    rows = address_rows(judged.history, pa.chunked_array([pc.unique(owners)]))
    tracks = _tracks(judged, rows)
    host_rows = address_rows(judged.history, host_ids)
    of_hosts, host_ttls = _tracks(judged, host_rows), _ttls(host_rows)
    ttls = _ttls(rows)
    found = {}
    n_fresh = wanted.column("n_fresh").to_pylist()
    keys = (wanted.column("name").to_pylist(), owners.to_pylist(), zones.to_pylist(), n_fresh)
    for name, owner, zone, n_answers in zip(*keys, strict=True):
        hosts = hosts_of.get(zone, set())
        servers = (track for host in hosts for track in of_hosts.get(host, ()))
        high_s = (high for host in hosts for _, _, high in host_ttls.get(host, ()))
        found[bare(name) or ""] = Timeline(
            tracks.get(owner, []),
            sorted(servers, key=lambda track: (track.spells[0], track.address, track.owner)),
            ttls.get(owner, []),
            max(high_s, default=0),
            n_answers or 0,
        )
    return found


def _hosts_of_zones(judged: Judged, zones: pa.ChunkedArray) -> dict[int, set[int]]:
    """Number of a zone → numbers of its name servers."""
    history = judged.history
    wanted = pc.unique(zones.drop_null())
    found: defaultdict[int, set[int]] = defaultdict(set)
    for batch in history.sightings:
        of_zone = pc.is_in(batch.column("owner").indices, wanted.cast(pa.int32()))
        part = batch.filter(pc.and_(of_zone, pc.equal(batch.column("rdtype"), "NS")))
        hosts = pc.index_in(part.column("rdata").cast(pa.string()), value_set=history.names)
        pairs = zip(part.column("owner").indices.to_pylist(), hosts.to_pylist(), strict=True)
        for zone, host in pairs:
            if host is not None:
                found[zone].add(host)
    return found


def _tracks(judged: Judged, rows: pa.Table) -> dict[int, list[Track]]:
    """Number of a name → its tracks, in order of first sight."""
    found = engine.query(SPELLS, rows=rows).to_pylist()
    codes = pa.array(sorted({row["code"] for row in found}), pa.int32())
    places = pa.table(judged.places.take(codes)).to_pylist()
    located = dict(zip(codes.to_pylist(), places, strict=True))
    texts = _texts(judged.history.rdata, codes)
    ids = pa.array(sorted({row["name_id"] for row in found}), pa.int32())
    owners = _texts(judged.history.names, ids)
    tracks: defaultdict[int, list[Track]] = defaultdict(list)
    for row in found:
        place = located[row["code"]]
        spells = tuple((first, last) for first, last in row["spells"])
        tracks[row["name_id"]].append(
            Track(
                texts[row["code"]],
                bare(owners[row["name_id"]]) or "",
                place["origin_asn"],
                place["organisation"],
                place["country"],
                spells,
                row["n"],
            )
        )
    for listed in tracks.values():  # numbers of rdata are another run's in another order
        listed.sort(key=lambda track: (track.spells[0], track.address))
    return tracks


def _texts(dictionary: pa.Array[Any], numbers: pa.Array[Any]) -> dict[int, str]:
    return dict(zip(numbers.to_pylist(), pc.take(dictionary, numbers).to_pylist(), strict=True))


def _ttls(rows: pa.Table) -> dict[int, list[tuple[int, int, int]]]:
    found: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for row in engine.query(TTLS, rows=rows).to_pylist():
        found[row["name_id"]].append((row["hour_us"], row["low_s"], row["high_s"]))
    return found
