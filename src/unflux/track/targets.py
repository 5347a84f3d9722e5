"""A target: one question that is asked again and again, and when it is due next."""

from __future__ import annotations

import msgspec

from unflux.track.settings import Settings

ADDRESS, CUT, NS, HOST, APEX, WILDCARD = "address", "cut", "ns", "host", "apex", "wildcard"
KINDS = {
    ADDRESS: "addresses of a listed name, or of the name that its alias leads to",
    CUT: "the delegation and its glue, at the parent's name servers",
    NS: "the name servers of a zone, at the zone itself or by a resolver",
    HOST: "addresses of a name server",
    APEX: "the zone that a listed name lies in, by a resolver (SOA)",
    WILDCARD: "a random name beside a listed one, to see whether all names exist",
}
RECHECK_S = 86_400
"""Structure is asked for again after a day: where zones begin, which seldom changes."""
UNKNOWN_TTL_S = 300
"""A query that was sent just before a crash: its TTL is unknown, and is taken for this."""
GROWTH = 1.5
MARGIN_S = 0.5
"""Caches count whole seconds; asked a moment later, the old copy is gone."""

Key = tuple[str, str, str]


class Target(msgspec.Struct):
    """State of one question; kept on disk as it is."""

    kind: str
    qname: str
    qtype: str
    name: str
    """The listed name for which it is asked."""
    due_s: float = 0.0
    asked_s: float | None = None
    in_flight: bool = False
    ttl_s: float | None = None
    """How long the last answer (positive or not) may be kept."""
    failures: int = 0
    """In a row."""
    negatives: int = 0
    """NXDOMAIN in a row."""
    unchanged: int = 0
    """Answers in a row that were as before."""
    rrset: list[str] | None = None
    """Last answer, sorted; empty after NXDOMAIN or without such records, None before the first."""
    changed_s: float | None = None
    outcome: str = "unknown"
    """``answer``, ``nodata``, ``nxdomain``, ``failure``, or ``unknown``."""
    hosts: dict[str, list[str]] = {}
    """Of a delegation or NS target: name servers and the addresses that came with them."""
    is_cut: bool | None = None
    leads_to: str = ""
    """End of an alias that a name server gave without the answer."""
    is_retired: bool = False
    """Nobody wants it any more; it is kept until it would be due, lest it be asked too early."""
    tried: list[str] = []
    """Servers that failed since the last answer or wait."""

    @property
    def key(self) -> Key:
        return (self.kind, self.qname, self.qtype)


def interval_s(target: Target, ttl_s: float, settings: Settings) -> float:
    """Seconds until the question may be asked again: the TTL, the floor, and patience."""
    base = max(ttl_s, settings.floor_s)
    if target.kind in (APEX, WILDCARD):
        base = max(base, settings.wildcard_s)
    elif target.kind == CUT and not target.is_cut:
        base = max(base, RECHECK_S)
    spare = target.unchanged - settings.patience
    if spare > 0 and base < settings.idle_s:
        base = min(base * GROWTH ** min(spare, 40), settings.idle_s)
    return base


def retry_s(target: Target, settings: Settings) -> float:
    """Seconds until a question that failed is asked again: doubled each time, to a limit."""
    doubled = settings.floor_s * 2.0 ** min(target.failures - 1, 30)
    return max(min(doubled, settings.retry_max_s), settings.floor_s)


def dead_s(target: Target, ttl_s: float, settings: Settings) -> float:
    """Seconds until a name that does not exist is asked for again; revival ends it."""
    base = max(ttl_s, settings.floor_s)
    doubled = base * 2.0 ** min(max(target.negatives - 2, 0), 30)
    return max(min(doubled, settings.dead_max_s), base)


def due_after_crash(target: Target, now: float, settings: Settings) -> float:
    """When a question from the disk is due: never earlier than its last answer may be kept.

    A clock that was set back makes what was asked lie in the future: then the whole interval is
    waited for anew, but no longer.
    """
    due_s = target.due_s
    if target.in_flight and target.asked_s is not None:
        unknown = UNKNOWN_TTL_S if target.ttl_s is None else max(target.ttl_s, UNKNOWN_TTL_S)
        due_s = target.asked_s + max(unknown, settings.floor_s)
    if target.asked_s is not None and target.asked_s > now:
        due_s = now + max(due_s - target.asked_s, settings.floor_s)
    return due_s
