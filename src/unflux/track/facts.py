"""What goes into the tracker and what comes out of it: frozen values, their units beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ADDRESS_TYPES = ("A", "AAAA")
MAX_TTL_S = 604_800
"""Longer TTLs count as a week (the cap of RFC 8767 §4); above 2^31 − 1, as 0 (RFC 2181 §8)."""
MAX_ALIASES = 12
"""CNAMEs followed in one answer; resolvers stop at about as many."""


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record of a response, as the answers table has it."""

    section: str
    owner: str
    """Absolute, lower case."""
    rdtype: str
    ttl: int
    """Seconds, as received."""
    rdata: str


@dataclass(frozen=True, slots=True)
class Response:
    """What a server said to one query."""

    rcode: str
    authoritative: bool
    records: tuple[Record, ...]

    def of(self, section: str, *rdtypes: str) -> Iterator[Record]:
        """Records of a section, of some types."""
        return (one for one in self.records if one.section == section and one.rdtype in rdtypes)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that is due: the runner sends it now, and reports back once."""

    number: int
    qname: str
    qtype: str
    server: str
    """Address, or name of a resolver as the runner knows it."""
    recurse: bool
    """Ask a resolver (RD = 1), or a name server (RD = 0)."""
    kind: str
    """What it is for, see `unflux.track.targets.KINDS`."""
    name: str
    """The listed name for which it is asked, and whose budget pays."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed about a listed name (or the zone that it lies in)."""

    at_s: float
    name: str
    kind: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """The name servers of a zone, seen once by one way: what the NS period is estimated from."""

    at_s: float
    zone: str
    way: str
    """``parent``, ``child`` or a name server's own name: only samples of one way are compared."""
    members: tuple[str, ...]
    """``ns1.a.test. 192.0.2.1`` and so on, sorted."""


def ttl_of(ttl: int) -> int:
    """The seconds that a TTL means."""
    return min(ttl, MAX_TTL_S) if ttl < 1 << 31 else 0
