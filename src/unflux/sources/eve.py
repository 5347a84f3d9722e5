"""Suricata's EVE JSON: the dns events of versions 1, 2 and 3."""

from __future__ import annotations

from typing import ClassVar

from unflux.sources.native import NativeAnswers


class SuricataEve(NativeAnswers):
    """One event per response (version 1: per record), among events of other kinds."""

    name: ClassVar[str] = "eve"
    title: ClassVar[str] = "Suricata EVE JSON (dns events of version 1, 2 or 3)"
    blind_spots: ClassVar[tuple[str, ...]] = (
        "Suricata's `grouped` answers have no TTL and no owner: where `detailed` is switched off, "
        "answers are left out (grouped_without_ttl).",
        "Suricata logs additional records (glue) since version 3 of its dns events only: with "
        "older logs the addresses of a delegation's name servers cannot be seen.",
    )
