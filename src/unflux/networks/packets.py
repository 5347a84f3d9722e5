"""Captures at an agent: packets read by the core, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from unflux import _native, sources
from unflux._native import Progress
from unflux.errors import UnfluxError
from unflux.sightings import Input, OnProgress, run_interruptibly
from unflux.sources.base import ANY_TIME_US, Books

CAPTURES = ("pcap", "pcapng")
MAX_PACKETS = 50_000_000
"""Packets of one capture; a longer one is to be cut (`editcap -c`), or narrowed with --since."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture file."""

    read: Input
    packets: pa.Table
    """See `rust/core/src/flows.rs`; in the order of the file."""


def read_captures(
    paths: Sequence[Path],
    *,
    since_us: int = ANY_TIME_US[0],
    until_us: int = ANY_TIME_US[1],
    on_progress: OnProgress | None = None,
) -> list[Capture]:
    """Read every file whole; what cannot be read is said in its `Input`.

    Raises
    ------
    UnfluxError
        When a file is no capture, or holds more than `MAX_PACKETS`.
    """
    if not paths:
        raise ValueError("name at least one capture to read")
    progress = Progress()
    total = sum(sources.size_of(path) for path in paths)

    def job() -> list[Capture]:
        return [_read(path, progress, since_us, until_us) for path in paths]

    return run_interruptibly(job, progress, on_progress, total)


def _read(path: Path, progress: Progress, since_us: int, until_us: int) -> Capture:
    size = sources.size_of(path)
    source = sources.choose(path)
    if isinstance(source, str):
        return Capture(Input(path, None, Books(error=source), size), pa.table({}))
    if source.name not in CAPTURES:
        raise UnfluxError(
            f"{path} is {source.name}: trace needs packets, so a pcap or pcapng capture"
        )
    batches: list[pa.RecordBatch] = []

    def take(batch: pa.RecordBatch) -> None:
        batches.append(batch)
        if sum(one.num_rows for one in batches) > MAX_PACKETS:
            raise UnfluxError(f"{path} holds more than {MAX_PACKETS:,} packets: cut it into pieces")

    native, error = _native.read_packets(
        source.name, path, progress, take, since_us=since_us, until_us=until_us
    )
    packets = pa.Table.from_batches(batches).unify_dictionaries()
    return Capture(Input(path, source.name, Books.of(native, error), size), packets)
