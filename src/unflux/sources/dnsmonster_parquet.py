"""dnsmonster's Parquet: a row for each message, with its question and response code, no answers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, ClassVar

import dns.rdatatype
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unflux import tables
from unflux._native import Progress, Reducer
from unflux.sources.base import Books, ReadOptions, Tally

COLUMNS = (
    "timestamp", "src_ip", "dst_ip", "qr", "opcode", "qclass", "qtype", "rcode", "query_name",
    "identity",
)  # fmt: skip
"""What is read of the columns that dnsmonster 1.0 writes (its `internal/output/parquet.go`)."""
TELLING = {"query_name", "rcode", "packet_length", "qr"}
"""Columns by which its files are told from others."""
PIECE_ROWS = 1 << 16


def is_of_dnsmonster(path: Path) -> bool:
    """Does a Parquet file have dnsmonster's columns? They stand at its end, not in its head."""
    try:
        return set(pq.read_schema(path).names) >= TELLING
    except (OSError, pa.ArrowException):
        return False


class DnsMonsterParquet:
    """Failures count for their names, with clients; what succeeded shows no answers, so nothing."""

    name: ClassVar[str] = "dnsmonster_parquet"
    title: ClassVar[str] = "dnsmonster, Parquet (questions and response codes)"
    blind_spots: ClassVar[tuple[str, ...]] = (
        "dnsmonster's Parquet holds no answers: it shows which names fail and who asks for them, "
        "never what a name resolves to. Its JSON output has the answers.",
    )

    def sniff(self, head: bytes) -> bool:
        """Whether the head holds the whole of a small file; `sources.choose` looks at its end."""
        return head.startswith(b"PAR1") and b"query_name" in head and b"packet_length" in head

    def read(self, path: Path, into: Reducer, options: ReadOptions, progress: Progress) -> Books:
        """See `unflux.sources.base.Source`."""
        books = Books()
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                missing = set(COLUMNS) - set(file.schema_arrow.names)
                if missing:
                    return Books(error=f"this Parquet file lacks {', '.join(sorted(missing))}")
                for batch in file.iter_batches(PIECE_ROWS, columns=list(COLUMNS)):
                    if progress.cancelled:
                        break
                    books = books.plus(_feed(_typed(batch), into, options))
        except (OSError, ValueError, pa.ArrowException) as error:
            return books.plus(Books(error=f"this Parquet file cannot be read: {error}"))
        return books


def _typed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns of known types, whatever version wrote them.

    Raises
    ------
    pa.ArrowException
        When a column cannot be what its name says.
    """
    kinds = dict.fromkeys(COLUMNS, pa.int64())
    kinds |= dict.fromkeys(("src_ip", "dst_ip", "query_name", "identity"), pa.binary())
    columns = [
        pc.cast(batch.column(name), tables.TIME, safe=False)
        if name == "timestamp"
        else batch.column(name).cast(kind)
        for name, kind in kinds.items()
    ]
    return pa.RecordBatch.from_arrays(columns, list(COLUMNS))


def _feed(batch: pa.RecordBatch, into: Reducer, options: ReadOptions) -> Books:
    """Hand the failures to the reducer; what else there is, is counted with its row."""
    number = {
        name: pc.fill_null(batch.column(name), -1).to_numpy(zero_copy_only=False)
        for name in ("qr", "opcode", "qclass", "rcode")
    }
    times = pc.fill_null(batch.column("timestamp").cast(pa.int64()), -1).to_numpy()
    left = np.ones(batch.num_rows, dtype=bool)
    skipped: dict[str, Tally] = {}
    for kind, which in (
        ("query", number["qr"] != 1),
        ("opcode_not_query", number["opcode"] != 0),
        ("class_not_in", number["qclass"] != 1),
        ("answers_not_logged", number["rcode"] == 0),
        ("outside_time", (times < options.since_us) | (times >= options.until_us)),
    ):
        rows = np.flatnonzero(left & which)
        if len(rows):
            skipped[kind] = Tally(len(rows), int(rows[0]) + 1)
        left &= ~which
    places = np.flatnonzero(left)
    answers, bad = _answers(batch.take(places), places, options.vantage)
    native, error = into.add_answers(answers)
    good = np.setdiff1d(places, bad)
    malformed = {
        kind: Tally(tally["count"], int(good[tally["first"] - 1]) + 1)
        for kind, tally in native["malformed"].items()
    }
    if bad:
        known = malformed.get("bad_field", Tally(0, bad[0] + 1))
        first = min(known.first, bad[0] + 1)
        malformed["bad_field"] = Tally(known.count + len(bad), first)
    books = Books.of(native | {"items": batch.num_rows, "skipped": {}, "malformed": {}}, error)
    return replace(books, skipped=skipped, malformed=malformed)


def _answers(batch: pa.RecordBatch, places: Any, vantage: str) -> tuple[pa.RecordBatch, list[int]]:
    """The answers table of failures, and the places of rows that hold what cannot be."""
    rows, bad = [], []
    for place, row in zip(places.tolist(), batch.to_pylist(), strict=True):
        try:
            rows.append(_answer(row, place, vantage))
        except (ValueError, TypeError, AttributeError, OverflowError):
            bad.append(place)
    return pa.RecordBatch.from_pylist(rows, schema=tables.ANSWERS), bad


def _answer(row: dict[str, Any], place: int, vantage: str) -> dict[str, Any]:
    """One row: a response without records."""
    identity = row["identity"]
    return {
        "ts": row["timestamp"],
        "sensor": identity.decode() if identity else None,
        "client": _address(row["dst_ip"]),
        "server": _address(row["src_ip"]),
        "vantage": vantage,
        "response": place,
        "qname": row["query_name"].decode(),
        "qtype": dns.rdatatype.to_text(dns.rdatatype.RdataType.make(row["qtype"])),
        "rcode": RCODES.get(row["rcode"], f"RCODE{row['rcode']}"),
    }


RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
"""Those that sightings tell apart, and their neighbours; the core knows others by number."""


def _address(raw: bytes) -> str:
    """An address as Go's net.IP keeps it: 4 bytes, or 16, which an IPv4 address may fill too."""
    address = ip_address(raw)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)
