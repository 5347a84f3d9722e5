"""Windows of time, and registered domains instead of names: the same features of other histories.

A window, and a roll-up to registered domains, are histories themselves, made of a history: each
feature keeps its one expression. What was counted by the hour alone (responses, failures, records
in the largest answer) is that of whole hours; fresh answers and times are exact to the minute.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine, enrich
from unflux.sightings import History

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
SLOTS = 64
"""Bits of `fresh_minutes`: minute n since the epoch is bit n modulo 64."""
WINDOWS_S = {"10m": 600, "3h": 10_800, "24h": 86_400, "7d": 604_800}
"""Windows that features are looked at in; all that was read is one more."""


def last(history: History, window_s: int) -> History:
    """What was seen in the last `window_s` seconds before the latest sighting.

    Raises
    ------
    ValueError
        When the window is empty.
    """
    if window_s <= 0:
        raise ValueError(f"a window has at least a second, not {window_s}")
    latest = [pc.max(batch.column("time_last")).value for batch in history.sightings]
    known = [time for time in latest if time is not None]
    if not known:
        return history
    return since(history, max(known) - window_s * 1_000_000 + 1)


def since(history: History, start_us: int) -> History:
    """What was seen from a moment on, microseconds since the epoch."""
    return replace(
        history,
        sightings=[_sightings_since(batch, start_us) for batch in history.sightings],
        activity=[
            batch.filter(pc.greater(batch.column("bucket").cast(pa.int64()), start_us - HOUR_US))
            for batch in history.activity
        ],
    )


def _sightings_since(batch: pa.RecordBatch, start_us: int) -> pa.RecordBatch:
    batch = batch.filter(pc.greater_equal(batch.column("time_last").cast(pa.int64()), start_us))
    first = batch.column("time_first").cast(pa.int64()).to_numpy()
    if not len(first) or first.min() >= start_us:
        return batch
    ttl = pc.fill_null(batch.column("ttl_max"), 0).cast(pa.int64()).to_numpy()
    upstream = pc.equal(batch.column("vantage").cast(pa.string()), "upstream")
    lead = np.where(upstream.to_numpy(zero_copy_only=False), 0, ttl // 60)
    fresh = batch.column("fresh_minutes").to_numpy()
    wanted = _minutes_from(first, lead, start_us // MINUTE_US)
    clipped = pa.array(np.maximum(first, start_us)).cast(pa.timestamp("us", tz="UTC"))
    columns = {
        "time_first": pc.if_else(pa.array(first >= start_us), batch.column("time_first"), clipped),
        "fresh_minutes": pa.array(fresh & wanted),
    }
    arrays = [columns.get(name, batch.column(name)) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _minutes_from(
    first_us: npt.NDArray[np.int64], lead: npt.NDArray[np.int64], start_minute: int
) -> npt.NDArray[np.uint64]:
    """Bits of the minutes that count, by row: observations, or expiries `lead` minutes later.

    The bits of a row stand for the 64 minutes from the start of its hour on, or from four minutes
    before the first expiry (see the core's `first_expiry`).
    """
    begin = first_us // HOUR_US * 60 + np.maximum(lead - (SLOTS - 60), 0)
    skipped = np.clip(start_minute + lead - begin, 0, SLOTS).astype(np.uint64)
    every = np.uint64(2**SLOTS - 1)
    ordered = np.where(
        skipped >= SLOTS, np.uint64(0), every << np.minimum(skipped, np.uint64(SLOTS - 1))
    )
    turn = (begin % SLOTS).astype(np.uint64)
    back = (np.uint64(SLOTS) - turn) % np.uint64(SLOTS)
    return (ordered << turn) | np.where(turn == 0, np.uint64(0), ordered >> back)


SIGHTINGS = """
SELECT owner, rdtype, rdata, vantage, min(time_first) AS time_first, max(time_last) AS time_last,
    sum(count_raw)::BIGINT AS count_raw, max(ttl_max) AS ttl_max, min(ttl_min) AS ttl_min,
    bit_or(fresh_minutes) AS fresh_minutes
FROM rows GROUP BY owner, rdtype, rdata, vantage, time_first // 3600000000
ORDER BY owner, rdtype, rdata, vantage, time_first
"""
ACTIVITY = """
SELECT owner, rdtype, bucket, vantage, bit_or(fresh_minutes) AS fresh_minutes,
    max(answers_max) AS answers_max, max(n_clients) AS n_clients,
    sum(responses)::BIGINT AS responses, sum(answers_sum)::BIGINT AS answers_sum,
    sum(nxdomain)::BIGINT AS nxdomain, sum(servfail)::BIGINT AS servfail,
    sum(refused)::BIGINT AS refused, sum(nodata)::BIGINT AS nodata,
    sum(other_failures)::BIGINT AS other_failures
FROM rows GROUP BY owner, rdtype, bucket, vantage ORDER BY owner, rdtype, bucket, vantage
"""


def by_registered_domain(history: History) -> History:
    """The same as if all names below a registered domain were that one name.

    Wildcard names that are asked for once each rotate together. Name servers keep their names, so
    that the zone's layer stays what it is; names without a registered domain stay, too.
    """
    names = history.names
    domain = enrich.registered_domains(names).column("registered_domain").cast(pa.string())
    servers = pa.concat_arrays(
        [
            pc.unique(
                pc.take(
                    history.rdata,
                    batch.filter(pc.equal(batch.column("rdtype"), "NS")).column("rdata").indices,
                )
            )
            for batch in history.sightings
        ]
    )
    stays = pc.or_(pc.is_in(names, servers), pc.is_null(domain))
    target = pc.if_else(stays, names, domain)
    all_names = pc.unique(pa.concat_arrays([names, target]))
    number = pc.index_in(target, all_names).to_numpy()
    return replace(
        history,
        sightings=[_regrouped(b, SIGHTINGS, number, all_names) for b in history.sightings],
        activity=[_regrouped(b, ACTIVITY, number, all_names) for b in history.activity],
        in_order=False,
    )


def _regrouped(
    batch: pa.RecordBatch, query: str, number: npt.NDArray[np.int32], names: pa.Array
) -> pa.RecordBatch:
    """A batch with other owners, rows that became alike made one."""
    coded = {
        name: batch.column(name)
        for name in ("owner", "rdtype", "rdata", "vantage")
        if name in batch.schema.names
    }
    times = ("time_first", "time_last", "bucket")
    columns = {
        name: coded[name].indices
        if name in coded
        else batch.column(name).cast(pa.int64())
        if name in times
        else batch.column(name)
        for name in batch.schema.names
        if name != "clients"
    }
    columns["owner"] = pa.array(number[columns["owner"].to_numpy()])
    found = engine.query(query, rows=pa.table(columns))
    arrays = []
    for field in batch.schema:
        if field.name == "clients":
            arrays.append(_no_lists(field.type, found.num_rows, batch.column(field.name)))
            continue
        array = found.column(field.name).combine_chunks()
        if field.name in coded:
            values = names if field.name == "owner" else coded[field.name].dictionary
            array = pa.DictionaryArray.from_arrays(array.cast(field.type.index_type), values)
        arrays.append(array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _no_lists(kind: pa.DataType, n: int, like: pa.ListArray) -> pa.ListArray:
    """Empty lists: who asked for which name is not said of a domain."""
    offsets = pa.array(np.zeros(n + 1, np.int32))
    return pa.ListArray.from_arrays(offsets, like.values.slice(0, 0)).cast(kind)
