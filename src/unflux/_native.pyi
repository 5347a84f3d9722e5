"""The Rust core (`rust/py/src/lib.rs`)."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

__version__: str

Outcome: TypeAlias = tuple[dict[str, Any], str | None]

class Progress:
    def __new__(cls) -> Progress: ...
    @property
    def bytes(self) -> int: ...
    @property
    def cancelled(self) -> bool: ...
    def cancel(self) -> None: ...

class Reducer:
    def __new__(cls, clients: str = "keep", client_key: bytes | None = None) -> Reducer: ...
    def absorb(self, other: Reducer) -> None: ...
    def read(
        self,
        format: str,
        path: str | os.PathLike[str],
        progress: Progress,
        *,
        ports: Sequence[int],
        vantage: str,
        since_us: int,
        until_us: int,
        threads: int,
    ) -> Outcome: ...
    def add_answers(self, batch: pa.RecordBatch) -> Outcome: ...
    def add_sightings(self, batch: pa.RecordBatch) -> Outcome: ...
    def add_activity(self, batch: pa.RecordBatch) -> Outcome: ...
    def finish(self, threads: int = 1) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]: ...

def read_answers(
    format: str,
    path: str | os.PathLike[str],
    progress: Progress,
    out: Callable[[pa.RecordBatch], None],
    *,
    first_response: int,
    clients: str,
    client_key: bytes | None,
    ports: Sequence[int],
    vantage: str,
    since_us: int,
    until_us: int,
) -> tuple[dict[str, Any], str | None, int]: ...
def read_packets(
    format: str,
    path: str | os.PathLike[str],
    progress: Progress,
    out: Callable[[pa.RecordBatch], None],
    *,
    since_us: int,
    until_us: int,
) -> Outcome: ...
def head(path: str | os.PathLike[str], limit: int) -> bytes: ...
def sniff(head: bytes) -> str | None: ...

class AddressTable:
    def __new__(cls, path: str | os.PathLike[str]) -> AddressTable: ...
    def about(self) -> tuple[str, int]: ...

def locate(
    addresses: pa.Array[Any],
    asn: AddressTable | None = None,
    country: AddressTable | None = None,
) -> pa.RecordBatch: ...

class Suffixes:
    def __new__(cls, list: bytes) -> Suffixes: ...
    def registered_domains(self, names: pa.Array[Any]) -> pa.RecordBatch: ...

def roll_up(
    sightings: Sequence[pa.RecordBatch],
    activity: Sequence[pa.RecordBatch],
    places: pa.RecordBatch,
    domains: pa.Array[Any],
    threads: int,
) -> pa.RecordBatch: ...
def agents(
    sightings: Sequence[pa.RecordBatch],
    places: pa.RecordBatch,
    names: Sequence[int],
    is_flux: Sequence[bool],
    rotates: Sequence[bool],
) -> list[bytes | None]: ...
def kinds() -> dict[str, list[str]]: ...
def compose(batch: pa.RecordBatch, form: str) -> bytes: ...
def zeek_fields() -> list[str]: ...
