"""unflux's own Parquet files: answers, sightings, activity."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unflux import tables
from unflux._native import Progress, Reducer
from unflux.sources.base import Books, ReadOptions


class UnfluxParquet:
    """What `unflux decode` and `unflux scan --out` wrote; other Parquet files are refused."""

    name: ClassVar[str] = "unflux"
    title: ClassVar[str] = "unflux's own Parquet tables"
    blind_spots: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"PAR1")

    def read(self, path: Path, into: Reducer, options: ReadOptions, progress: Progress) -> Books:
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            return Books(error=f"this Parquet file cannot be read: {error}")
        table = (
            (file.schema_arrow.metadata or {}).get(b"unflux.table", b"").decode(errors="replace")
        )
        schema = tables.TABLES.get(table)
        if schema is None:
            return Books(error=_stranger(set(file.schema_arrow.names)))
        version = (
            (file.schema_arrow.metadata or {}).get(b"unflux.schema", b"").decode(errors="replace")
        )
        if version != tables.SCHEMA_VERSION:
            return Books(error=f"this table has schema {version}, {tables.SCHEMA_VERSION} is read")
        try:
            data = file.read().cast(schema)
        except (OSError, ValueError, pa.ArrowException) as error:
            return Books(error=f"this Parquet file cannot be read: {error}")
        return self._feed(data, table, into, options)

    def _feed(self, data: pa.Table, table: str, into: Reducer, options: ReadOptions) -> Books:
        inside = _inside(data, table, options)
        kept, left_out = data.filter(inside), data.filter(pc.invert(inside))
        add = {
            "answers": into.add_answers,
            "sightings": into.add_sightings,
            "activity": into.add_activity,
        }[table]
        books, error = add(_one_batch(kept))
        if table == "activity":  # the core counts what it decodes; activity rides along
            books["items"] = books["decoded"] = kept.num_rows
        n_left_out = left_out.num_rows
        if table == "answers":  # an item is a response, not a row
            n_left_out = len(left_out.column("response").unique())
        if n_left_out:
            books["items"] += n_left_out
            books["skipped"]["outside_time"] = {"count": n_left_out, "first": 1}
        return Books.of(books, error)


def _stranger(columns: set[str]) -> str:
    """What to say of somebody else's Parquet file."""
    if {"query_name", "rcode", "packet_length"} <= columns:
        return (
            "this is dnsmonster's Parquet, which holds questions and response codes but no "
            "answers: let dnsmonster write JSON (its file output), which unflux reads"
        )
    return "this Parquet file was not written by unflux"


HOUR_US = 3_600_000_000


def _inside(data: pa.Table, table: str, options: ReadOptions) -> pa.Array:
    """Which rows lie in the time asked for: answers by their time, reduced rows by whole hours.

    An hour that is partly inside is taken whole, and so is its activity: half of either would
    make a name look other than it was.
    """
    first = data.column("ts" if table == "answers" else "bucket").cast(pa.int64()).to_numpy()
    last = first
    if table != "answers":
        last = first + (HOUR_US - 1)
    if table == "sightings":  # passive DNS may reach over many hours
        last = np.maximum(last, data.column("time_last").cast(pa.int64()).to_numpy())
    return pa.array((last >= options.since_us) & (first < options.until_us))


def _one_batch(data: pa.Table) -> pa.RecordBatch:
    """All rows in one batch: the rows of a response must not be torn apart."""
    batches = data.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=data.schema)
