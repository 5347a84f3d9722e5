"""unflux's own Parquet files: answers, sightings, activity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

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
        return self.read_groups(path, None, into, options, progress)

    def read_groups(
        self,
        path: Path,
        groups: range | None,
        into: Reducer,
        options: ReadOptions,
        progress: Progress,
    ) -> Books:
        """Take in some row groups (None: all), a piece at a time.

        A response belongs to the row group that it begins in, so that ranges which together cover
        a file give what the whole file gives.
        """
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            return Books(error=f"this Parquet file cannot be read: {error}")
        with file:
            table = table_of(file)
            if table not in tables.TABLES:
                return Books(error=table)
            groups = range(file.num_row_groups) if groups is None else groups
            return self._read_pieces(file, table, groups, into, options, progress)

    def _read_pieces(
        self,
        file: pq.ParquetFile,
        table: str,
        groups: range,
        into: Reducer,
        options: ReadOptions,
        progress: Progress,
    ) -> Books:
        books = Books()
        try:
            for piece in _pieces(file, groups, responses=table == "answers"):
                if progress.cancelled:
                    break
                books = books.plus(
                    self._feed(piece.cast(tables.TABLES[table]), table, into, options)
                )
        except (OSError, ValueError, pa.ArrowException) as error:
            return books.plus(Books(error=f"this Parquet file cannot be read: {error}"))
        return books

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


PIECE_ROWS = 1 << 20
"""Rows that are held at once."""


def table_of(file: pq.ParquetFile) -> str:
    """Which of unflux's tables a file holds; otherwise the sentence that says why none."""
    metadata = file.schema_arrow.metadata or {}
    table: str = metadata.get(b"unflux.table", b"").decode(errors="replace")
    version = metadata.get(b"unflux.schema", b"").decode(errors="replace")
    if table not in tables.TABLES:
        return "this Parquet file was not written by unflux"
    if version != tables.SCHEMA_VERSION:
        return f"this table has schema {version}, {tables.SCHEMA_VERSION} is read"
    return table


def holds_answers(path: Path) -> bool:
    """Is it a table of single answers, not one of what was reduced from them?"""
    try:
        with pq.ParquetFile(path) as file:
            return table_of(file) == "answers"
    except (OSError, pa.ArrowException):
        return False  # reading it says what is wrong


def _pieces(file: pq.ParquetFile, groups: range, *, responses: bool) -> Iterator[pa.Table]:
    """Rows of these row groups, about `PIECE_ROWS` at a time; whole `responses` where asked."""
    batches = file.iter_batches(PIECE_ROWS, row_groups=list(groups))
    if not responses:
        yield from (pa.Table.from_batches([batch]) for batch in batches)
        return
    before = _last_response(file, groups.start)
    held = file.schema_arrow.empty_table()
    for batch in batches:
        piece = pa.Table.from_batches([batch])
        if before is not None:  # the end of a response that began in an earlier row group
            piece = piece.slice(_run(piece, before))
            before = None if piece.num_rows else before
        piece = pa.concat_tables([held, piece])
        if not piece.num_rows:
            continue
        numbers = piece.column("response").to_numpy()
        others = np.flatnonzero(numbers != numbers[-1])
        cut = int(others[-1]) + 1 if len(others) else 0
        yield piece.slice(0, cut)
        held = piece.slice(cut)
    if held.num_rows:
        yield pa.concat_tables([held, *_endings(file, groups.stop, held.column("response")[-1])])


def _last_response(file: pq.ParquetFile, stop: int) -> int | None:
    """Number of the response that the row groups before `stop` end with."""
    for group in reversed(range(stop)):
        if file.metadata.row_group(group).num_rows:
            last: int = file.read_row_group(group, ["response"]).column(0)[-1].as_py()
            return last
    return None


def _endings(file: pq.ParquetFile, start: int, response: pa.Scalar[Any]) -> Iterator[pa.Table]:
    """The rest of a response, out of the row groups from `start` on."""
    for group in range(start, file.num_row_groups):
        rows = file.read_row_group(group)
        run = _run(rows, response.as_py())
        yield rows.slice(0, run)
        if run < rows.num_rows:
            return


def _run(rows: pa.Table, response: int) -> int:
    """How many rows at the beginning belong to this response."""
    others = np.flatnonzero(rows.column("response").to_numpy() != response)
    return int(others[0]) if len(others) else rows.num_rows


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
