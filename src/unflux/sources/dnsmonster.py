"""dnsmonster's JSON lines."""

from __future__ import annotations

from typing import ClassVar

from unflux.sources.native import NativeAnswers


class DnsMonster(NativeAnswers):
    """Whole messages, with the field names of miekg/dns."""

    name: ClassVar[str] = "dnsmonster"
    title: ClassVar[str] = "dnsmonster, JSON"
    blind_spots: ClassVar[tuple[str, ...]] = ()
