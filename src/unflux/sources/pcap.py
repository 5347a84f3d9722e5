"""Classic pcap captures (tcpdump, dumpcap -F pcap): µs and ns, either byte order."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from unflux import _native
from unflux._native import Progress, Reducer
from unflux.sources.base import Books, ReadOptions
from unflux.sources.native import NativeAnswers


class Pcap(NativeAnswers):
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
