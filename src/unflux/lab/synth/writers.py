"""Where a played world goes: captures, logs, tables. Each takes slices as they come."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from unflux import _native, sightings, tables
from unflux._native import Reducer

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"


class Writer(Protocol):
    """One kind of output."""

    def write(self, tap: str, table: pa.Table) -> None:
        """Take a slice of what one tap saw, in order of time."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


class AnswersParquet:
    """`answers.parquet`: all taps, told apart by sensor and vantage."""

    def __init__(self, directory: Path, taps: Sequence[str]) -> None:
        fields = [
            tables.ANSWERS.field(name).with_type(_as_written(tables.ANSWERS.field(name).type))
            for name in tables.ANSWERS.names
        ]
        self.schema = pa.schema(fields, tables.ANSWERS.metadata)
        steady = ["ts", "response"]  # they grow from row to row: differences are what is small
        self.out = pq.ParquetWriter(
            directory / "answers.parquet",
            self.schema,
            compression="zstd",
            store_schema=True,
            use_dictionary=[name for name in self.schema.names if name not in steady],
            column_encoding=dict.fromkeys(steady, "DELTA_BINARY_PACKED"),
            write_statistics=["ts"],  # of texts, they would cost as much as the texts do
        )

    def write(self, tap: str, table: pa.Table) -> None:
        """See `Writer`."""
        self.out.write_table(pa.table(table.columns, schema=self.schema))

    def close(self) -> None:
        """See `Writer`."""
        self.out.close()


def _as_written(kind: pa.DataType) -> pa.DataType:
    """Texts as dictionaries: a slice repeats few of them."""
    return pa.dictionary(pa.int32(), pa.string()) if pa.types.is_string(kind) else kind


class Composed:
    """Files that the core composes."""

    def __init__(self, directory: Path, taps: Sequence[str]) -> None:
        of_tap = {tap: self.file_of(tap) for tap in taps}
        files = {name: (directory / name).open("wb") for name in of_tap.values() if name}
        self.files = list(files.values())
        self.of_tap = {tap: files[name] for tap, name in of_tap.items() if name}
        for file in self.files:
            file.write(self.head())

    def file_of(self, tap: str) -> str | None:
        """Name of the file that holds what a tap saw; None when it goes nowhere."""
        raise NotImplementedError

    def form_of(self, tap: str) -> str:
        """What the core composes of it."""
        raise NotImplementedError

    def head(self) -> bytes:
        """What stands in front."""
        raise NotImplementedError

    def tail(self) -> bytes:
        """What stands at the end."""
        return b""

    def write(self, tap: str, table: pa.Table) -> None:
        """See `Writer`."""
        if tap in self.of_tap:
            for batch in table.to_batches():
                self.of_tap[tap].write(_native.compose(batch, self.form_of(tap)))

    def close(self) -> None:
        """See `Writer`."""
        for file in self.files:
            file.write(self.tail())
            file.close()


class Pcap(Composed):
    """`clients.pcap`, `upstream.pcap`, `tld.pcap`: responses as packets, without queries."""

    def file_of(self, tap: str) -> str | None:
        """See `Composed`."""
        return f"{tap}.pcap"

    def form_of(self, tap: str) -> str:
        """See `Composed`."""
        return "pcap"

    def head(self) -> bytes:
        """See `Composed`."""
        return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)


class Zeek(Composed):
    """`dns.log` of a sensor beside the clients."""

    def file_of(self, tap: str) -> str | None:
        """See `Composed`."""
        return "dns.log" if tap == "clients" else None

    def form_of(self, tap: str) -> str:
        """See `Composed`."""
        return "zeek"

    def head(self) -> bytes:
        """See `Composed`."""
        fields = "\t".join(["#fields", *_native.zeek_fields()])
        lines = [
            "#separator \\x09",
            "#set_separator\t,",
            "#empty_field\t(empty)",
            "#unset_field\t-",
            "#path\tdns",
            fields,
        ]
        return ("\n".join(lines) + "\n").encode()


class Dnstap(Composed):
    """`dnstap.fstrm`: both sides as resolvers log them; `tld.fstrm`: what the top level logs."""

    def file_of(self, tap: str) -> str | None:
        """See `Composed`."""
        return "tld.fstrm" if tap == "tld" else "dnstap.fstrm"

    def form_of(self, tap: str) -> str:
        """See `Composed`."""
        return "dnstap_server" if tap == "tld" else "dnstap"

    def head(self) -> bytes:
        """See `Composed`."""
        return _control(2)

    def tail(self) -> bytes:
        """See `Composed`."""
        return struct.pack(">III", 0, 4, 3)


def _control(kind: int) -> bytes:
    body = struct.pack(">III", kind, 1, len(CONTENT_TYPE)) + CONTENT_TYPE
    return struct.pack(">II", 0, len(body)) + body


class Cof:
    """`pdns.ndjson`: passive DNS from above the caches, as a sensor operator shares it.

    Rows are one per (owner, rdtype, rdata) of the whole time, so they are kept until the end: this
    is the one writer whose memory grows with what is distinct.
    """

    def __init__(self, directory: Path, taps: Sequence[str]) -> None:
        self.path = directory / "pdns.ndjson"
        self.tap = next((tap for tap in ("upstream", "tld") if tap in taps), None)
        self.reducer = Reducer("drop")

    def write(self, tap: str, table: pa.Table) -> None:
        """See `Writer`."""
        if tap == self.tap:
            for batch in table.to_batches():
                self.reducer.add_answers(batch)

    def close(self) -> None:
        """See `Writer`."""
        batches, activity = self.reducer.finish(1)
        history = sightings.History(batches, activity, [], set(), [])
        with self.path.open("wb") as out:
            out.writelines(_cof_lines(history.sightings_table()))


def _cof_lines(table: pa.Table) -> Iterable[bytes]:
    """One line for each rdata of an rrset, with the first and last time it was seen."""
    grouped = table.group_by(["owner", "rdtype", "rdata"], use_threads=False).aggregate(
        [("time_first", "min"), ("time_last", "max"), ("count_raw", "sum")]
    )
    grouped = grouped.sort_by([(name, "ascending") for name in ("owner", "rdtype", "rdata")])
    for row in grouped.to_batches(max_chunksize=10_000):
        for one in row.to_pylist():
            line = {
                "rrname": one["owner"].rstrip("."),
                "rrtype": one["rdtype"],
                "rdata": one["rdata"].removesuffix("."),
                "time_first": int(one["time_first_min"].timestamp()),
                "time_last": int(one["time_last_max"].timestamp()),
                "count": one["count_raw_sum"],
                "sensor_id": "unflux-lab",
            }
            yield msgspec.json.encode(line) + b"\n"


WRITERS: dict[str, Callable[[Path, Sequence[str]], Writer]] = {
    "parquet": AnswersParquet,
    "pcap": Pcap,
    "dnstap": Dnstap,
    "zeek": Zeek,
    "cof": Cof,
}
NEEDS = {"zeek": ("clients",), "cof": ("upstream", "tld")}
"""Taps of which a format needs one."""
