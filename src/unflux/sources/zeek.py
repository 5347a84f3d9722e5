"""Zeek's dns.log: tab-separated or JSON lines, plain or gzip."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from unflux import _native
from unflux._native import Progress, Reducer
from unflux.sources.base import Books, ReadOptions
from unflux.sources.native import NativeAnswers


class Zeek(NativeAnswers):
    """One row per query; answers as bare strings, whose owner follows from the CNAME chain."""

    name: ClassVar[str] = "zeek"
    title: ClassVar[str] = "Zeek dns.log, TSV or JSON"
    blind_spots: ClassVar[tuple[str, ...]] = (
        "Zeek's dns.log has no authority and additional sections: a rotating delegation "
        "(double flux) cannot be seen; use pcap or dnstap for that.",
        "Zeek's dns.log does not say which answer belongs to which name: owners are derived "
        "from the order of the CNAME chain.",
    )

    def sniff(self, head: bytes) -> bool:
        return _native.sniff(head) == "zeek"

    def read(self, path: Path, into: Reducer, options: ReadOptions, progress: Progress) -> Books:
        return Books.of(
            *into.read_zeek(
                path,
                progress,
                vantage=options.vantage,
                since_us=options.since_us,
                until_us=options.until_us,
            )
        )
