"""pcapng captures (Wireshark, dumpcap): several interfaces, each with its own time resolution."""

from __future__ import annotations

from typing import ClassVar

from unflux.sources.native import NativeAnswers


class Pcapng(NativeAnswers):
    """The same packets as in `unflux.sources.pcap.Pcap`, in blocks."""

    name: ClassVar[str] = "pcapng"
    title: ClassVar[str] = "pcapng capture"
    blind_spots: ClassVar[tuple[str, ...]] = ()
