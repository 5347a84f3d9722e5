"""Classic pcap captures (tcpdump, dumpcap -F pcap): µs and ns, either byte order."""

from __future__ import annotations

from typing import ClassVar

from unflux.sources.native import NativeAnswers


class Pcap(NativeAnswers):
    """DNS over UDP and TCP, fragments and tunnels put together and unpacked."""

    name: ClassVar[str] = "pcap"
    title: ClassVar[str] = "pcap capture"
    blind_spots: ClassVar[tuple[str, ...]] = ()
