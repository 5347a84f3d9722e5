"""The life of a listed name: new, active, sleeping, failing, dead, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from unflux.track.reading import is_below
from unflux.track.settings import Settings
from unflux.track.targets import ADDRESS, CUT, Target

NEW, ACTIVE, SLEEPING, FAILING, DEAD = "new", "active", "sleeping", "failing", "dead"
STATES = {
    NEW: "nothing was heard yet",
    ACTIVE: "it answers, and its addresses changed lately (or were first seen lately)",
    SLEEPING: "it exists, but has no usable address, or nothing changed for long",
    FAILING: "its servers do not answer, or with errors, three times in a row",
    DEAD: "it does not exist (twice in a row)",
}
DEAD_AFTER = 2
FAILING_AFTER = 3


@dataclass(slots=True)
class Listed:
    """A name that is tracked."""

    name: str
    added_s: float
    source: str = ""
    """Where the user had it from."""
    state: str = NEW
    since_s: float | None = None
    zone: str | None = None
    wildcard: bool = False


def next_state(listed: Listed, targets: Iterable[Target], now: float, settings: Settings) -> str:
    """The state that follows from the targets of a name (its own and of what it leads to)."""
    targets = list(targets)
    own = [one for one in targets if one.kind == ADDRESS and one.qname == listed.name]
    above = [one for one in targets if one.kind == CUT and is_below(listed.name, one.qname)]
    answers = any(one.outcome == "answer" for one in own)  # some servers deny all other types
    if not answers and any(one.negatives >= DEAD_AFTER for one in (*own, *above)):
        return DEAD
    failing = [one for one in own if one.failures >= FAILING_AFTER]
    if (own and len(failing) == len(own)) or (
        not own and any(one.failures >= FAILING_AFTER for one in above)
    ):
        return FAILING
    heard = [one for one in targets if one.kind == ADDRESS and one.rrset is not None]
    if not any(one.qname == listed.name for one in heard):
        return listed.state
    if not answers and any(one.negatives for one in own):
        return listed.state
    usable = any(is_usable(rdata) for one in heard for rdata in one.rrset or ())
    if not usable and all(one.rrset is not None for one in own):
        return SLEEPING
    changed_s = max((one.changed_s or 0.0 for one in heard), default=0.0)
    return SLEEPING if now - changed_s >= settings.sleep_after_s else ACTIVE


def is_usable(rdata: str) -> bool:
    """May something be reached there? Addresses that only stand for "nothing" do not count."""
    try:
        address = ip_address(rdata)
    except ValueError:
        return True  # a name: where it leads to is asked as well
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)
