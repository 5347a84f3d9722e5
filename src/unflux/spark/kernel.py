"""What a worker does: Arrow in, Arrow out; the functions of one machine on a part of the rows.

Spark carries few, large rows: each holds a table as an Arrow stream (`payload`). Names are numbered
anew by every reducer, so that rows travel with their texts.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unflux import __version__, enrich, sightings, sources
from unflux._native import Progress, Reducer
from unflux.sightings import Dataset, History
from unflux.sources.base import Books, ReadOptions
from unflux.sources.parquet import UnfluxParquet

PARCEL = pa.schema(
    {
        "part": pa.int32(),  # where the rows are merged; of books: 0
        "kind": pa.string(),  # sightings, activity, books
        "payload": pa.binary(),
    }
)
PARCEL_DDL = "part int, kind string, payload binary"
MAX_PAYLOAD_ROWS = 1 << 20
"""Rows of a parcel: far below the 2 GiB that a value may have."""


class InputBooks(msgspec.Struct, frozen=True):
    """What became of one split."""

    input: int
    first_group: int
    source: str | None
    books: Books


@dataclass(frozen=True, slots=True)
class Work:
    """What every task of a job is told."""

    options: ReadOptions
    format_name: str | None
    n_parts: int
    version: str = __version__

    def check(self) -> None:
        """Raise `RuntimeError` on a worker with another unflux, which may reduce otherwise."""
        if self.version != __version__:
            raise RuntimeError(
                f"this worker has unflux {__version__}, the driver {self.version}: install the same"
            )


def reduce_splits(batches: Iterator[pa.RecordBatch], work: Work) -> Iterator[pa.RecordBatch]:
    """Read the splits of a task into one reducer: parcels for each part, and the books."""
    work.check()
    options = replace(work.options, threads=1)
    reducer = Reducer(options.clients, options.client_key)
    books = []
    for batch in batches:
        for split in batch.to_pylist():
            books.append(_read(split, work.format_name, options, reducer))
    rows, activity = reducer.finish()
    part_of = _part_of_names(rows[0].column("owner").dictionary, work.n_parts)
    yield from _parcels("sightings", rows, part_of)
    yield from _parcels("activity", activity, part_of)
    for one in books:
        yield _parcel(0, "books", msgspec.json.encode(one))


def _read(
    split: dict[str, Any], format_name: str | None, options: ReadOptions, into: Reducer
) -> InputBooks:
    path, first = Path(split["path"]), split["first_group"]
    place = (split["input"], first or 0)
    source = sources.choose(path, format_name)
    if isinstance(source, str):
        return InputBooks(*place, None, Books(error=source))
    if first is not None and isinstance(source, UnfluxParquet):
        groups = range(first, split["stop_group"])
        books = source.read_groups(path, groups, into, options, Progress())
    else:
        books = source.read(path, into, options, Progress())
    return InputBooks(*place, source.name, books)


def _part_of_names(names: pa.Array[Any], n_parts: int) -> np.ndarray:
    """The part of each name: by hash of its registered domain, or of itself if it has none."""
    domains = enrich.registered_domains(names).column("registered_domain")
    hashes = np.array([zlib.crc32(text.encode()) for text in domains.dictionary.to_pylist()])
    known = pc.is_valid(domains).to_numpy(zero_copy_only=False)
    parts = np.empty(len(names), np.int64)
    parts[known] = hashes[domains.indices.drop_null()] if known.any() else 0
    lone = names.filter(pa.array(~known)).to_pylist()
    parts[~known] = [zlib.crc32(name.encode()) for name in lone]
    return parts % n_parts


def _parcels(
    kind: str, batches: list[pa.RecordBatch], part_of: np.ndarray
) -> Iterator[pa.RecordBatch]:
    """Rows, sent to the parts that their owners belong to."""
    table = pa.Table.from_batches(batches)
    parts = part_of[np.concatenate([batch.column("owner").indices for batch in batches])]
    order = np.argsort(parts, kind="stable")
    ends = np.searchsorted(parts[order], np.arange(part_of.max(initial=-1) + 2))
    for part in np.flatnonzero(np.diff(ends)).tolist():
        rows = table.take(pa.array(order[ends[part] : ends[part + 1]]))
        yield from _payloads(part, kind, sightings.plain(rows))


def _payloads(part: int, kind: str, rows: pa.Table) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows.num_rows, MAX_PAYLOAD_ROWS):
        yield _parcel(part, kind, packed(rows.slice(start, MAX_PAYLOAD_ROWS)))


def _parcel(part: int, kind: str, payload: bytes) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"part": part, "kind": kind, "payload": payload}], schema=PARCEL
    )


def packed(rows: pa.Table) -> bytes:
    """A table as a compressed Arrow stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def unpacked(payload: bytes) -> pa.Table:
    """The inverse of `packed`."""
    with pa.ipc.open_stream(payload) as reader:
        return reader.read_all()


def merge_part(batches: Iterator[pa.RecordBatch], work: Work) -> Iterator[pa.RecordBatch]:
    """Merge the parcels of one part (a partition of Spark), and pass its books on."""
    merged = yield from _merged(batches, work)
    if merged is None:
        return
    part, history = merged
    for kind, rows in (("sightings", history.sightings), ("activity", history.activity)):
        yield from _payloads(part, kind, pa.Table.from_batches(rows))


def save_part(
    batches: Iterator[pa.RecordBatch], work: Work, directory: Path, first_number: int
) -> Iterator[pa.RecordBatch]:
    """The same, but the rows go into files of a dataset, which count once the driver names them.

    Files are numbered by part: a task that is repeated writes the same ones again.
    """
    merged = yield from _merged(batches, work)
    if merged is None:
        return
    part, history = merged
    dataset = Dataset.open(directory)
    for path in dataset.write_part(history, first_number + part):
        yield _parcel(part, "file", path.relative_to(directory).as_posix().encode())


def _merged(
    batches: Iterator[pa.RecordBatch], work: Work
) -> Generator[pa.RecordBatch, None, tuple[int, History] | None]:
    """Pass books on; then the number of the part and its history, None where it has no rows."""
    work.check()
    reducer, part = Reducer(), None
    for batch in batches:
        for row in batch.to_pylist():
            if row["kind"] == "books":
                yield _parcel(row["part"], "books", row["payload"])
                continue
            part = row["part"]
            _add(reducer, row["kind"], unpacked(row["payload"]))
    if part is None:
        return None
    return part, History(*reducer.finish(), [], set(), [])


def _add(reducer: Reducer, kind: str, rows: pa.Table) -> None:
    add = {"sightings": reducer.add_sightings, "activity": reducer.add_activity}[kind]
    for batch in rows.combine_chunks().to_batches():
        books, error = add(batch)
        if error or books["malformed"]:
            raise RuntimeError(f"rows were damaged on their way: {error or books['malformed']}")
