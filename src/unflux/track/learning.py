"""What an answer changes: in its target, and in what is asked from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unflux.track import reading
from unflux.track.facts import Event, Query, Sample
from unflux.track.targets import ADDRESS, APEX, CUT, HOST, NS, WILDCARD, Target

if TYPE_CHECKING:
    from unflux.track.machine import Tracker

EVENT_OF = {ADDRESS: "addresses", CUT: "delegation", NS: "name_servers", HOST: "host"}


def compare(target: Target, meaning: reading.Meaning, now: float) -> list[Event]:
    """Put an answer in its target's place for the last one; an event when it differs."""
    before = target.rrset
    known = meaning.outcome in (reading.NODATA, reading.NXDOMAIN)
    target.outcome = meaning.outcome if known else reading.ANSWER
    target.negatives = target.negatives + 1 if meaning.outcome == reading.NXDOMAIN else 0
    target.rrset = list(meaning.rrset)
    if before == target.rrset:
        moved = target.kind in (CUT, NS) and target.hosts != meaning.hosts  # same names, new glue
        target.unchanged = 0 if moved else target.unchanged + 1
        return []
    target.unchanged, target.changed_s = 0, now
    if target.kind not in EVENT_OF or (before is None and target.kind != ADDRESS):
        return []
    old = set(before or ())
    detail: dict[str, Any] = {
        "rdtype": "CNAME" if meaning.outcome == reading.ALIAS else target.qtype,
        "new": [one for one in target.rrset if one not in old],
        "gone": sorted(old - set(target.rrset)),
        "ttl": meaning.ttl_s,
    }
    if before is None:
        if not target.rrset:
            return []
        detail["first"] = True
    if target.qname != target.name:
        detail["owner"] = target.qname
    if meaning.aliases:
        detail["alias_of"] = meaning.owner
    return [Event(now, target.name, EVENT_OF[target.kind], detail)]


def learn(
    tracker: Tracker, query: Query, target: Target, meaning: reading.Meaning, events: list[Event]
) -> None:
    """Follow what an answer leads to: zones, name servers, aliases, wildcards."""
    found = meaning.outcome == reading.ANSWER
    if target.kind == CUT:
        _learn_cut(tracker, target, meaning, events)
    elif target.kind == APEX:
        _learn_apex(tracker, target, meaning)
    elif target.kind == NS and found:
        gone, target.hosts = target.hosts.keys() - meaning.hosts.keys(), meaning.hosts
        for host in gone:
            tracker.unfollow(HOST, host, tracker.names_of(target))
        _sample(tracker, target.qname, "child", meaning.hosts)
        for host, addresses in meaning.hosts.items():
            if tracker.resolvers or not addresses:
                tracker.follow(HOST, host, target.name)
    elif target.kind == HOST and found:
        tracker.cuts.add_addresses(target.qname, target.qtype, list(meaning.rrset))
        for zone in {tracker.names[name].zone for name in tracker.names_of(target)} - {None}:
            way = f"{target.qname} {target.qtype}"
            tracker.samples.append(Sample(tracker.now, zone or "", way, meaning.rrset))
    elif target.kind == WILDCARD:
        _learn_wildcard(tracker, target, meaning, events)
    elif target.kind == ADDRESS and not query.recurse:
        _learn_alias(tracker, target, meaning)
    if not query.recurse and found and meaning.zone and meaning.hosts:
        tracker.cuts.refresh(meaning.zone, meaning.hosts)
        if target.kind == ADDRESS:
            _sample(tracker, meaning.zone, "child", meaning.hosts)


def _learn_alias(tracker: Tracker, target: Target, meaning: reading.Meaning) -> None:
    """A name server gives an alias without its end, where a resolver would go on: we do."""
    end = meaning.owner if meaning.outcome == reading.ALIAS else ""
    for name in list(tracker.names_of(target)):
        if target.leads_to and target.leads_to != end:
            tracker.unfollow(ADDRESS, target.leads_to, [name])
        if end:
            tracker.follow(ADDRESS, end, name)
            tracker.lead(end, name)
    target.leads_to = end


def _learn_cut(
    tracker: Tracker, target: Target, meaning: reading.Meaning, events: list[Event]
) -> None:
    before, was_cut = target.hosts, target.is_cut
    target.is_cut = meaning.zone == target.qname and bool(meaning.hosts)
    target.hosts = meaning.hosts if target.is_cut else {}
    tracker.cuts.learn(target.qname, target.hosts, is_cut=target.is_cut)
    if target.is_cut:
        _sample(tracker, target.qname, "parent", meaning.hosts)
        old = {one for addresses in before.values() for one in addresses}
        new = {one for addresses in meaning.hosts.values() for one in addresses}
        if before and old != new:
            detail = {
                "owner": target.qname,
                "new": sorted(new - old),
                "gone": sorted(old - new),
                "ttl": meaning.ttl_s,
            }
            events.append(Event(tracker.now, target.name, "glue", detail))
    tracker.on_cut(target, is_news=was_cut is not None and was_cut != target.is_cut)


def _learn_apex(tracker: Tracker, target: Target, meaning: reading.Meaning) -> None:
    """The zone above a name; behind an alias it is another one, which is watched as well."""
    zone = meaning.zone
    if zone is None or zone == ".":
        return
    for name in tracker.names_of(target):
        if reading.is_below(name, zone):
            tracker.settle(name, zone)
            continue
        tracker.want(NS, zone, "NS", name)
        parent = target.qname.partition(".")[2]
        if parent.count(".") > 1:
            tracker.want(APEX, parent, "SOA", name)


def _learn_wildcard(
    tracker: Tracker, target: Target, meaning: reading.Meaning, events: list[Event]
) -> None:
    is_wildcard = meaning.outcome in (reading.ANSWER, reading.ALIAS)
    for name in tracker.names_of(target):
        listed = tracker.names[name]
        if listed.wildcard != is_wildcard:
            listed.wildcard = is_wildcard
            tracker.dirty_names.add(name)
            if is_wildcard:
                events.append(Event(tracker.now, name, "wildcard", {"owner": listed.zone}))


def _sample(tracker: Tracker, zone: str, way: str, hosts: dict[str, list[str]]) -> None:
    """What one response says about the name servers of a zone."""
    if not hosts or len(reading.ancestors(zone)) < 2:
        return
    if all(hosts.values()):
        members = tuple(f"{host} {one}" for host in sorted(hosts) for one in hosts[host])
    else:
        way, members = f"{way}, names only", tuple(sorted(hosts))
    tracker.samples.append(Sample(tracker.now, zone, way, members))


def hash_of(name: str) -> int:
    """The same number for a name in every run (Python's own hash is salted).

    >>> hash_of("a.test.") == hash_of("a.test.")
    True
    """
    value = 0
    for byte in name.encode():
        value = (value * 131 + byte) & 0xFFFFFFFF
    return value
