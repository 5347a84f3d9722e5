"""Merged parts to one history: their numbers made one; no row is touched, none is merged again."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from unflux._native import Reducer
from unflux.spark.kernel import unpacked

HOUR_US = 3_600_000_000


def assemble(collected: pa.Table) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    """Sightings and activity, a batch per hour, out of the parcels that parts ended as.

    An owner is in one part only, so that parts only have to be put side by side.
    """
    found: dict[str, list[pa.RecordBatch]] = {"sightings": [], "activity": []}
    for kind, payload in zip(collected.column("kind"), collected.column("payload"), strict=True):
        if kind.as_py() in found:
            found[kind.as_py()] += unpacked(payload.as_buffer()).to_batches()
    if not found["sightings"]:  # the columns must be there even when no row is
        return Reducer().finish()
    batches = _as_one([*found["sightings"], *found["activity"]])
    n_sightings = len(found["sightings"])
    return (
        _by_hour(batches[:n_sightings], "time_first"),
        _by_hour(batches[n_sightings:], "bucket"),
    )


def _as_one(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The same batches with the same dictionaries."""
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for batch in batches for name in batch.schema.names):
        having = [batch.column(name) for batch in batches if name in batch.schema.names]
        columns[name] = _unified(having)
    unified = {name: iter(arrays) for name, arrays in columns.items()}
    return [
        pa.RecordBatch.from_arrays(
            [next(unified[name]) for name in batch.schema.names], schema=batch.schema
        )
        for batch in batches
    ]


def _unified(arrays: list[Any]) -> list[Any]:
    kind = arrays[0].type
    if pa.types.is_list(kind):
        values = _unified([pc.list_flatten(array) for array in arrays])
        return [_with_values(*pair) for pair in zip(arrays, values, strict=True)]
    if not pa.types.is_dictionary(kind):
        return arrays
    unified: list[Any] = pa.chunked_array(arrays).unify_dictionaries().chunks
    return unified


def _with_values(lists: pa.ListArray, values: pa.Array[Any]) -> pa.ListArray:
    lengths = pc.list_value_length(lists).to_numpy()
    offsets = pa.array([0, *lengths.cumsum().tolist()], pa.int32())
    return pa.ListArray.from_arrays(offsets, values, type=lists.type)


def _by_hour(batches: list[pa.RecordBatch], time: str) -> list[pa.RecordBatch]:
    def hour(batch: pa.RecordBatch) -> int:
        first: int = batch.column(time)[0].cast(pa.int64()).as_py()
        return first // HOUR_US

    filled = sorted((batch for batch in batches if batch.num_rows), key=hour)
    return [pa.concat_batches(list(group)) for _, group in groupby(filled, hour)]
