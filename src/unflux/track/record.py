"""Responses into the answers table: vantage `upstream`, no client, a sensor of their own.

The tracker asks a question again only when its last answer has expired, so no cached copy is
counted twice, which is what `upstream` claims. The client is null: our own queries are nobody's
traffic.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from unflux import tables
from unflux.track.ask import endpoint
from unflux.track.facts import Query, Record, Response
from unflux.track.targets import WILDCARD

SENSOR = "unflux-track"


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """One response, as it is kept until it is reduced."""

    ts_us: int
    server: str
    qname: str
    qtype: str
    rcode: str
    records: tuple[Record, ...]


def heard(query: Query, response: Response, ts_us: int) -> Heard | None:
    """What of a response goes into the history; a wildcard's probe is about no real name."""
    if query.kind == WILDCARD:
        return None
    return Heard(ts_us, query.server, query.qname, query.qtype, response.rcode, response.records)


def answers(responses: Sequence[Heard], first_response: int = 0) -> pa.RecordBatch:
    """Rows of the answers table, in the order of the responses."""
    columns: dict[str, list[object]] = {name: [] for name in tables.ANSWERS.names}
    for number, one in enumerate(responses, start=first_response):
        for record in one.records or (None,):
            row = {
                "ts": one.ts_us,
                "sensor": SENSOR,
                "client": None,
                "server": address_of(one.server),
                "vantage": "upstream",
                "response": number,
                "qname": one.qname,
                "qtype": one.qtype,
                "rcode": one.rcode,
                "section": record.section if record else None,
                "owner": record.owner if record else None,
                "rdtype": record.rdtype if record else None,
                "ttl": record.ttl if record else None,
                "rdata": record.rdata if record else None,
            }
            for name, value in row.items():
                columns[name].append(value)
    arrays = [pa.array(columns[field.name], field.type) for field in tables.ANSWERS]
    return pa.RecordBatch.from_arrays(arrays, schema=tables.ANSWERS)


def address_of(server: str) -> str | None:
    """The address of a server as the user named it (``udp://192.0.2.1:53``), else None."""
    try:
        return endpoint(server).address
    except ValueError:
        return None
