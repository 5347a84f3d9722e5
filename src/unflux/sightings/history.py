"""What was reduced: mergeable history of many inputs, and what became of each input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unflux import tables
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

    @property
    def names(self) -> pa.Array[Any]:
        """Names by number (the dictionary of every `owner` column)."""
        return self.sightings[0].column("owner").dictionary

    @property
    def rdata(self) -> pa.Array[Any]:
        """Rdata by number (the dictionary of every `rdata` column)."""
        return self.sightings[0].column("rdata").dictionary

    def canonical(self) -> History:
        """The same with names and rdata numbered in the order of their text, rows in that order.

        Numbers come in the order in which the input showed them first, or in that of threads;
        samples by hash of a number and sums of floats would follow it. With these numbers what is
        said of a name depends on what was seen alone, whichever engine read it.
        """
        rdata, rdata_ranks = _sorted_dictionary(
            self.rdata, _used([batch.column("rdata") for batch in self.sightings])
        )
        owners = _used([batch.column("owner") for batch in (*self.sightings, *self.activity)])
        pointed_to = pc.is_in(self.names, rdata).to_numpy(zero_copy_only=False)
        names, name_ranks = _sorted_dictionary(self.names, owners | pointed_to)
        sorts = {"owner": (names, name_ranks), "rdata": (rdata, rdata_ranks)}
        return replace(
            self,
            sightings=[_in_order(batch, sorts) for batch in self.sightings],
            activity=[_in_order(batch, {"owner": sorts["owner"]}) for batch in self.activity],
        )

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


def _used(columns: list[pa.DictionaryArray]) -> np.ndarray:
    """Which values of the dictionary that these columns share stand in any of their rows."""
    used = np.zeros(len(columns[0].dictionary), bool)
    for column in columns:
        used[column.indices] = True
    return used


def _sorted_dictionary(
    values: pa.Array[Any], used: np.ndarray | None = None
) -> tuple[pa.Array[Any], np.ndarray]:
    """The used values in the order of their bytes, and the place there of each by its old number.

    Values that are not used stand behind the others, and are left out.
    """
    order = pc.sort_indices(values).to_numpy()
    if used is not None:
        order = np.concatenate([order[used[order]], order[~used[order]]])
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    n_used = len(order) if used is None else int(used.sum())
    return pc.take(values, pa.array(order[:n_used])), ranks


def _in_order(
    batch: pa.RecordBatch, sorts: dict[str, tuple[pa.Array[Any], np.ndarray]]
) -> pa.RecordBatch:
    """Rows by owner (and rdata, in `sorts`), type and vantage."""
    numbers = {name: ranks[batch.column(name).indices] for name, (_, ranks) in sorts.items()}
    rdtypes = batch.column("rdtype")
    _, rdtype_ranks = _sorted_dictionary(rdtypes.dictionary)
    minor = rdtype_ranks[rdtypes.indices].astype(np.int64) << 8
    minor |= batch.column("vantage").indices.to_numpy()
    major = numbers["owner"].astype(np.int64) << 32
    major |= numbers.get("rdata", 0)
    order = pa.array(np.lexsort((minor, major)))
    columns = []
    for name in batch.schema.names:
        column = batch.column(name)
        if name in sorts:
            column = pa.DictionaryArray.from_arrays(pa.array(numbers[name]), sorts[name][0])
        columns.append(pc.take(column, order))
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


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
