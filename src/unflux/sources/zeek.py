"""Zeek's dns.log: tab-separated or JSON lines."""

from __future__ import annotations

from typing import ClassVar

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
