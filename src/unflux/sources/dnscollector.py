"""DNS-collector's JSON lines, nested or flat."""

from __future__ import annotations

from typing import ClassVar

from unflux.sources.native import NativeAnswers


class DnsCollector(NativeAnswers):
    """dnstap messages as DNS-collector logs them; the operation tells the vantage."""

    name: ClassVar[str] = "dnscollector"
    title: ClassVar[str] = "DNS-collector (go-dnscollector), JSON or flat JSON"
    blind_spots: ClassVar[tuple[str, ...]] = ()
