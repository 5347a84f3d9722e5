"""unflux's own Parquet files: answers, sightings, activity."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from unflux import tables
from unflux._native import Progress, Reducer
from unflux.sources.base import Books, ReadOptions

BATCH_ROWS = 1 << 16


class UnfluxParquet:
    """What `unflux decode` and `unflux scan --out` wrote; other Parquet files are refused."""

    name: ClassVar[str] = "unflux"
    title: ClassVar[str] = "unflux's own Parquet tables"
    blind_spots: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"PAR1")

    def read(self, path: Path, into: Reducer, options: ReadOptions, progress: Progress) -> Books:
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            return Books(error=f"this Parquet file cannot be read: {error}")
        table = (file.schema_arrow.metadata or {}).get(b"unflux.table", b"").decode()
        schema = tables.TABLES.get(table)
        if schema is None:
            return Books(error="this Parquet file was not written by unflux")
        version = (file.schema_arrow.metadata or {}).get(b"unflux.schema", b"").decode()
        if version != tables.SCHEMA_VERSION:
            return Books(error=f"this table has schema {version}, {tables.SCHEMA_VERSION} is read")
        return self._feed(file, schema, table, into, options)

    def _feed(
        self,
        file: pq.ParquetFile,
        schema: pa.Schema,
        table: str,
        into: Reducer,
        options: ReadOptions,
    ) -> Books:
        data = file.read().cast(schema)
        total = data.num_rows
        data = self._between(data, table, options)
        add = {
            "answers": into.add_answers,
            "sightings": into.add_sightings,
            "activity": into.add_activity,
        }[table]
        books, error = add(_one_batch(data))
        if table == "activity":  # the core counts what it decodes; activity rides along
            books["items"] = books["decoded"] = data.num_rows
        if total > data.num_rows and table != "answers":
            books["items"] += total - data.num_rows
            books["skipped"]["outside_time"] = {"count": total - data.num_rows, "first": 1}
        return Books.of(books, error)

    def _between(self, data: pa.Table, table: str, options: ReadOptions) -> pa.Table:
        first = {"answers": "ts", "sightings": "time_first", "activity": "bucket"}[table]
        times = data.column(first).cast(pa.int64()).to_numpy()
        return data.filter(pa.array((times >= options.since_us) & (times < options.until_us)))


def _one_batch(data: pa.Table) -> pa.RecordBatch:
    """All rows in one batch: the rows of a response must not be torn apart."""
    batches = data.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=data.schema)
