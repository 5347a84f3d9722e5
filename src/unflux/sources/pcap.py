"""Classic pcap captures (tcpdump, dumpcap -F pcap): µs and ns, either byte order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from unflux import _native
from unflux._native import Progress, Reducer
from unflux.sources.base import Books, ReadOptions


class Pcap:
    """DNS over UDP in captures of Ethernet, VLAN, PPPoE, Linux cooked, raw IP and loopback."""

    name: ClassVar[str] = "pcap"
    title: ClassVar[str] = "pcap capture, DNS over UDP"
    blind_spots: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        return _native.sniff(head) == "pcap"

    def read(self, path: Path, into: Reducer, options: ReadOptions, progress: Progress) -> Books:
        return Books.of(
            *into.read_pcap(
                path,
                progress,
                ports=list(options.ports),
                vantage=options.vantage,
                since_us=options.since_us,
                until_us=options.until_us,
                threads=options.threads,
            )
        )

    def read_answers(
        self,
        path: Path,
        out: Callable[[pa.RecordBatch], None],
        first_response: int,
        options: ReadOptions,
        progress: Progress,
    ) -> tuple[Books, int]:
        return native_answers("pcap", path, out, first_response, options, progress)


def native_answers(
    format_name: str,
    path: Path,
    out: Callable[[pa.RecordBatch], None],
    first_response: int,
    options: ReadOptions,
    progress: Progress,
) -> tuple[Books, int]:
    """Answers of a format that the core decodes."""
    books, error, following = _native.read_answers(
        format_name,
        path,
        progress,
        out,
        first_response=first_response,
        keep_clients=options.keep_clients,
        ports=list(options.ports),
        vantage=options.vantage,
        since_us=options.since_us,
        until_us=options.until_us,
    )
    return Books.of(books, error), following
