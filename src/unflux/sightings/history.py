"""What was reduced: mergeable history of many inputs, and what became of each input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unflux import _native, tables
from unflux.sources.base import Books


@dataclass(frozen=True, slots=True)
class Input:
    """One file that was read, and what became of its items."""

    path: Path
    source: str | None
    """Name of the format, None when it is unknown."""
    books: Books
    size_bytes: int = 0
    known: bool = False
    """Its content is in the dataset already, so it was not read again."""
    note: str | None = None
    """What the user should know of how it was taken in, as a sentence."""


@dataclass(frozen=True, slots=True)
class History:
    """What the core reduced; all batches share their dictionaries."""

    sightings: list[pa.RecordBatch]
    activity: list[pa.RecordBatch]
    inputs: list[Input]
    formats: set[str]
    """Names of all formats that went into it, those of a dataset's inputs too."""
    passed_over: list[Path]
    """Files of directories that are in no known format."""
    in_order: bool = False
    """`canonical` made it."""

    @property
    def names(self) -> pa.Array[Any]:
        """Names by number (the dictionary of every `owner` column)."""
        return self.sightings[0].column("owner").dictionary

    @property
    def rdata(self) -> pa.Array[Any]:
        """Rdata by number (the dictionary of every `rdata` column)."""
        return self.sightings[0].column("rdata").dictionary

    def canonical(self, threads: int = 1, *, moving: bool = False) -> History:
        """The same with names and rdata numbered in the order of their text, rows in that order.

        Numbers come in the order in which the input showed them first, or in that of threads;
        samples by hash of a number and sums of floats would follow it. With these numbers what is
        said of a name depends on what was seen alone, whichever engine read it. With `moving` the
        rows move there: this history has none left, and they are never in memory twice.
        """
        if self.in_order:
            return self
        both = (self.sightings, self.activity)
        if not moving:
            both = ([*self.sightings], [*self.activity])
        sightings, activity = _native.canonical(*both, threads)
        return replace(self, sightings=sightings, activity=activity, in_order=True)

    def pairs(self, rdtype: str) -> pa.Table:
        """Distinct (owner, rdata) of one record type, as their numbers."""
        parts = []
        for batch in self.sightings:
            types = batch.column("rdtype")
            number = pc.index(
                types.dictionary, rdtype
            )  # comparing texts costs twenty times as much
            part = batch.select(["owner", "rdata"]).filter(pc.equal(types.indices, number))
            parts.append(pa.table({name: part.column(name).indices for name in part.schema.names}))
        return pa.concat_tables(parts).group_by(["owner", "rdata"], use_threads=False).aggregate([])

    def sightings_table(self) -> pa.Table:
        """The sightings as their public schema has them, rows by owner."""
        table = plain(_by_owner(self.sightings))
        bucket = pc.floor_temporal(table.column("time_first"), unit="hour")
        count = fresh(table, table.column("count_raw"))
        derived = table.append_column("bucket", bucket).append_column("count", count)
        return derived.select(tables.SIGHTINGS.names).cast(tables.SIGHTINGS)

    def activity_table(self) -> pa.Table:
        """The activity as its public schema has it, rows by owner."""
        table = plain(_by_owner(self.activity))
        derived = table.append_column("fresh_responses", fresh(table, table.column("responses")))
        return derived.select(tables.ACTIVITY.names).cast(tables.ACTIVITY)


def _by_owner(batches: list[pa.RecordBatch]) -> pa.Table:
    """Rows of one owner together, owners in the order of their text, as numbers still.

    So Parquet's statistics of a group of rows tell which names can be in it.
    """
    ranks = pc.rank(batches[0].column("owner").dictionary).to_numpy()
    owners = np.concatenate([ranks[batch.column("owner").indices] for batch in batches])
    return pa.Table.from_batches(batches).take(pa.array(np.argsort(owners, kind="stable")))


def fresh(table: pa.Table, of: pa.ChunkedArray) -> pa.ChunkedArray:
    """Fresh observations among `of`: a column that follows from others (see the core)."""
    bits = np.bitwise_count(table.column("fresh_minutes").to_numpy()).astype(np.int64)
    all_fresh = pc.is_in(table.column("vantage"), pa.array(["upstream", "history"]))
    return pc.if_else(all_fresh, of, pa.array(bits))


def plain(table: pa.Table) -> pa.Table:
    """Dictionaries, also inside lists, as plain strings."""
    types = [_plain_type(column.type) for column in table.columns]
    columns = [column.cast(kind) for column, kind in zip(table.columns, types, strict=True)]
    return pa.table(columns, names=table.column_names)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.list_(_plain_type(kind.value_type)) if pa.types.is_list(kind) else kind
