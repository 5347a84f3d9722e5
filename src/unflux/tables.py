"""The tables that rooms hand to each other, and what each column means.

These Arrow schemas are the only contracts between rooms (`docs/tables.md` is made from them).
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = "1"
"""Stored with every file; raised when a column changes its meaning."""

TIME: Final = pa.timestamp("us", tz="UTC")


def _schema(name: str, columns: list[tuple[str, pa.DataType, bool, str]]) -> pa.Schema:
    fields = [
        pa.field(column, kind, nullable, {"meaning": meaning})
        for column, kind, nullable, meaning in columns
    ]
    return pa.schema(fields, {"unflux.table": name, "unflux.schema": SCHEMA_VERSION})


ANSWERS: Final = _schema(
    "answers",
    [
        ("ts", TIME, False, "when the response was seen"),
        ("sensor", pa.string(), True, "who saw it, as the user named it"),
        ("client", pa.string(), True, "address that was answered; null if unknown or dropped"),
        ("server", pa.string(), True, "address that answered; null if unknown"),
        ("vantage", pa.string(), False, "client, upstream or unknown: which side of a cache"),
        ("response", pa.uint64(), False, "number of the response: groups rows"),
        ("qname", pa.string(), True, "name asked for, absolute, lower case; null if none"),
        ("qtype", pa.string(), True, "type asked for"),
        ("rcode", pa.string(), False, "response code with its EDNS bits, as a mnemonic"),
        ("section", pa.string(), True, "answer, authority or additional; null without record"),
        ("owner", pa.string(), True, "name of the rrset, absolute, lower case"),
        ("rdtype", pa.string(), True, "record type; TYPE123 if unknown (RFC 3597)"),
        ("ttl", pa.uint32(), True, "seconds, as received"),
        ("rdata", pa.string(), True, "presentation form; \\# form for unknown types"),
    ],
)

SIGHTINGS: Final = _schema(
    "sightings",
    [
        ("owner", pa.string(), False, "name of the rrset, absolute, lower case"),
        ("rdtype", pa.string(), False, "record type"),
        ("rdata", pa.string(), False, "presentation form"),
        ("bucket", TIME, False, "the hour (of time_first) that the row stands for"),
        ("time_first", TIME, False, "first seen in this hour"),
        ("time_last", TIME, False, "last seen in this hour (passive DNS: ever)"),
        ("count", pa.int64(), False, "fresh observations: cached copies are not counted again"),
        ("count_raw", pa.int64(), False, "responses that held the record"),
        ("ttl_max", pa.uint32(), True, "longest TTL seen, seconds; null if unknown"),
        ("ttl_min", pa.uint32(), True, "shortest TTL seen, seconds; null if unknown"),
        ("vantage", pa.string(), False, "client, upstream, unknown, or history (passive DNS)"),
        ("fresh_minutes", pa.uint64(), False, "bits: expiry minutes (upstream: minutes) mod 64"),
    ],
)

ACTIVITY: Final = _schema(
    "activity",
    [
        ("owner", pa.string(), False, "name that was answered, or asked for in vain"),
        ("rdtype", pa.string(), False, "record type answered or asked for"),
        ("bucket", TIME, False, "the hour"),
        ("vantage", pa.string(), False, "as in sightings"),
        ("responses", pa.int64(), False, "responses with this rrset as answer, and failures"),
        ("fresh_responses", pa.int64(), False, "the same without cached copies"),
        ("fresh_minutes", pa.uint64(), False, "bits, as in sightings"),
        ("answers_sum", pa.int64(), False, "records in those rrsets together"),
        ("answers_max", pa.int64(), False, "records in the largest of them"),
        ("nxdomain", pa.int64(), False, "failures: the name does not exist"),
        ("servfail", pa.int64(), False, "failures: the servers could not answer"),
        ("refused", pa.int64(), False, "failures: the servers would not answer"),
        ("nodata", pa.int64(), False, "failures: the name has no such record"),
        ("other_failures", pa.int64(), False, "failures of any other code"),
        ("n_clients", pa.int64(), False, "distinct clients, estimated beyond 64"),
        ("clients", pa.list_(pa.string()), False, "up to 64 of them: those of smallest hash"),
    ],
)

TABLES: Final = {"answers": ANSWERS, "sightings": SIGHTINGS, "activity": ACTIVITY}
