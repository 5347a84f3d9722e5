"""Passive DNS Common Output Format (draft-dulaunoy-dnsop-passive-dns-cof): JSON lines.

Facts, not claims: the records of the listed names, of what their aliases lead to, of their zones'
name servers and those servers' addresses. `unflux scan` reads them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any, ClassVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.detect import Finding
from unflux.pipeline import Judged, absolute, bare
from unflux.share.case import Case
from unflux.sightings import History, plain

NAMED_RDATA = ("NS", "CNAME", "DNAME", "PTR")
"""Types whose rdata is one name: written as `rrname` is, without the final dot."""
MAX_HOPS = 8
"""Aliases and name servers are followed so far."""

QUERY = """
WITH by_side AS (
    SELECT owner, rdtype, rdata, min(time_first) AS first, max(time_last) AS last,
        sum(count_raw) AS n
    FROM rows GROUP BY owner, rdtype, rdata, vantage
)
SELECT owner, rdtype, rdata, epoch_us(min(first)) // 1000000 AS time_first,
    -(-epoch_us(max(last)) // 1000000) AS time_last,
    greatest(1, least(max(n), 9223372036854775807))::BIGINT AS count
FROM by_side GROUP BY owner, rdtype, rdata ORDER BY owner, rdtype, rdata
"""


class Cof:
    """All records about the listed names."""

    name: ClassVar[str] = "cof"
    title: ClassVar[str] = "passive DNS, Common Output Format (JSON lines)"

    def write(self, case: Case, out: IO[bytes]) -> None:
        encode = msgspec.json.Encoder().encode
        for row in records(case.scan.judged, case.findings):
            out.write(encode(row) + b"\n")


def records(judged: Judged, findings: Iterable[Finding]) -> Iterator[dict[str, Any]]:
    """Rows of the format, ordered by name, type and rdata; times in seconds, rounded outwards."""
    names = pa.array([absolute(one.name) for one in findings], pa.string())
    rows = judged.table.filter(pc.is_in(judged.table.column("name"), names))
    zones = rows.column("zone").drop_null().unique()
    known = judged.history.names
    start = pc.index_in(pa.concat_arrays([names, zones.cast(pa.string())]), value_set=known)
    found = _sightings_about(judged.history, start.drop_null())
    yield from rows_of(found)


def rows_of(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Sightings as rows of the format."""
    for row in engine.query(QUERY, rows=rows).to_pylist():
        rdata = row["rdata"]
        if row["rdtype"] in NAMED_RDATA:
            rdata = bare(rdata)
        yield {
            "rrname": bare(row["owner"]),
            "rrtype": row["rdtype"],
            "rdata": rdata,
            "time_first": row["time_first"],
            "time_last": row["time_last"],
            "count": row["count"],
        }


def _sightings_about(history: History, owners: pa.Array) -> pa.Table:
    """Sightings of these names, and of names that their CNAME and NS records lead to."""
    known, new = owners, owners
    for _ in range(MAX_HOPS):
        targets = pa.chunked_array(
            [_targets(history, batch, new) for batch in history.sightings]
        ).combine_chunks()
        fresh = pc.unique(targets.filter(pc.invert(pc.is_in(targets, known))))
        if not len(fresh):
            break
        known, new = pa.concat_arrays([known, fresh]), fresh
    parts = [
        batch.filter(pc.is_in(batch.column("owner").indices, known)) for batch in history.sightings
    ]
    return plain(pa.Table.from_batches(parts))


def _targets(history: History, batch: pa.RecordBatch, owners: pa.Array) -> pa.Array:
    leads = pc.is_in(batch.column("rdtype"), pa.array(["CNAME", "NS"]))
    part = batch.filter(pc.and_(pc.is_in(batch.column("owner").indices, owners), leads))
    targets = part.column("rdata").cast(pa.string())
    return pc.index_in(targets, value_set=history.names).drop_null()
