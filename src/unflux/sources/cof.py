"""Passive DNS in the Common Output Format: JSON lines, as DNSDB wraps them too."""

from __future__ import annotations

from typing import ClassVar

from unflux.sources.native import NativeSource


class PassiveDnsCof(NativeSource):
    """History that somebody reduced already; it becomes sightings, never answers."""

    name: ClassVar[str] = "cof"
    title: ClassVar[str] = "passive DNS, Common Output Format (NDJSON), DNSDB"
    blind_spots: ClassVar[tuple[str, ...]] = (
        "Passive DNS (COF) has no TTL and no clients.",
        "Passive DNS (COF) has no single responses: what changed from one answer to the next "
        "cannot be seen, only what came new.",
    )
