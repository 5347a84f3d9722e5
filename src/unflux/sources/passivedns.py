"""The log of gamelinux/passivedns, text or JSON lines."""

from __future__ import annotations

from typing import ClassVar

from unflux.sources.native import NativeSource


class PassiveDnsLog(NativeSource):
    """News of records, summed up by passivedns; it becomes sightings, never answers."""

    name: ClassVar[str] = "passivedns"
    title: ClassVar[str] = "passivedns log (gamelinux), text or JSON"
    blind_spots: ClassVar[tuple[str, ...]] = (
        "passivedns logs a record when it is new, once a day, and when it is forgotten: what "
        "changed from one answer to the next cannot be seen, only what came new.",
        "passivedns logs the highest TTL of a record only: whether it aged cannot be seen.",
    )
