"""dnstap logs of resolvers and name servers (unbound, knot, BIND…): Frame Streams files."""

from __future__ import annotations

from typing import ClassVar

from unflux.sources.native import NativeAnswers


class Dnstap(NativeAnswers):
    """Whole DNS messages with their vantage: what clients got, and what the resolver got."""

    name: ClassVar[str] = "dnstap"
    title: ClassVar[str] = "dnstap log (Frame Streams)"
    blind_spots: ClassVar[tuple[str, ...]] = ()
