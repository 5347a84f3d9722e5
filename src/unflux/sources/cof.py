"""Passive DNS in the Common Output Format: JSON lines, plain or gzip."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from unflux import _native
from unflux._native import Progress, Reducer
from unflux.sources.base import Books, ReadOptions


class PassiveDnsCof:
    """History that somebody reduced already; it becomes sightings, never answers."""

    name: ClassVar[str] = "cof"
    title: ClassVar[str] = "passive DNS, Common Output Format (NDJSON)"
    blind_spots: ClassVar[tuple[str, ...]] = (
        "Passive DNS (COF) has no TTL and no clients.",
        "Passive DNS (COF) has no single responses: what changed from one answer to the next "
        "cannot be seen, only what came new.",
    )

    def sniff(self, head: bytes) -> bool:
        return _native.sniff(head) == "cof"

    def read(self, path: Path, into: Reducer, options: ReadOptions, progress: Progress) -> Books:
        return Books.of(
            *into.read_cof(path, progress, since_us=options.since_us, until_us=options.until_us)
        )
