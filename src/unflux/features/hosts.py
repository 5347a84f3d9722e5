"""Sightings of addresses, as rows: for what looks at single names."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from unflux.sightings import History
from unflux.sightings.history import fresh


def address_rows(history: History, name_ids: pa.ChunkedArray) -> pa.Table:
    """Sightings of addresses: name, number of the rdata, times, responses, TTLs, fresh ones.

    `minutes` is `fresh_minutes` of the sightings: rows with a bit in common were one answer.
    """
    wanted = name_ids.combine_chunks()
    parts = []
    for batch in history.sightings:
        types = pc.is_in(batch.column("rdtype"), pa.array(["A", "AAAA"]))
        part = batch.filter(pc.and_(pc.is_in(batch.column("owner").indices, wanted), types))
        parts.append(
            pa.table(
                {
                    "name_id": part.column("owner").indices,
                    "code": part.column("rdata").indices,
                    "first_us": part.column("time_first").cast(pa.int64()),
                    "last_us": part.column("time_last").cast(pa.int64()),
                    "n": part.column("count_raw"),
                    "vantage": part.column("vantage").cast(pa.string()),
                    "ttl_min": part.column("ttl_min"),
                    "ttl_max": part.column("ttl_max"),
                    "fresh": fresh(pa.table(part), part.column("count_raw")),
                    "minutes": part.column("fresh_minutes"),
                }
            )
        )
    return pa.concat_tables(parts)
