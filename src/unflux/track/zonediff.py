"""Two states of a zone, as its registry sees them: which delegations moved, who moves with them.

Scores are in [0, 1], for ranking only: what moved between two looks, how short-lived the glue is,
and whether names whose addresses rotate share the same name servers. One diff cannot tell a move
to another provider from flux: `unflux track` can.

Where it goes wrong: a name server outside of the zone has no glue here, so its rotation is not
seen; a provider that renumbers moves thousands of delegations once (`shared_name_servers` is high
and `glue_changes` falls on hosts that many names use: the score is damped by their number).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unflux.track.reading import ancestors

LOW_TTL_S = 3600
"""Glue of at most so long is odd: registries use a day or two; flux has minutes (Konte 2009)."""
CROWD = 50
"""Delegations on one host from which on its glue is a provider's, not an operator's own."""


@dataclass(slots=True)
class Delegations:
    """What a zone delegates: name → name servers, name server → addresses, and their TTLs."""

    ns: dict[str, frozenset[str]] = field(default_factory=dict)
    glue: dict[str, frozenset[str]] = field(default_factory=dict)
    glue_ttl_s: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, frozenset[str]] = field(default_factory=dict)
    """A and AAAA of names that are no name servers (zones of names, not of delegations)."""


def diff(old: Delegations, new: Delegations) -> dict[str, Any]:
    """``{"delegations": […], "summary": {…}}``: what changed, ranked, highest score first."""
    changed_hosts = {
        host
        for host in old.glue.keys() | new.glue.keys()
        if old.glue.get(host) != new.glue.get(host)
    }
    rotating = _rotating(old, new, changed_hosts)
    users: dict[str, int] = {}
    movers: dict[str, int] = {}
    for name, hosts in new.ns.items():
        for host in hosts:
            users[host] = users.get(host, 0) + 1
            movers[host] = movers.get(host, 0) + (name in rotating)
    rows = [
        _row(name, old, new, changed_hosts, users, movers)
        for name in sorted(old.ns.keys() | new.ns.keys())
    ]
    rows = [row for row in rows if row["score"] > 0]
    rows.sort(key=lambda row: (-row["score"], row["name"]))
    return {"delegations": rows, "summary": _summary(old, new, changed_hosts, rotating)}


def _rotating(old: Delegations, new: Delegations, changed_hosts: set[str]) -> set[str]:
    """Names in both whose own addresses, or whose name servers' addresses, are others now."""
    both = old.ns.keys() & new.ns.keys()
    by_glue = {name for name in both if changed_hosts & (old.ns[name] | new.ns[name])}
    shared = old.addresses.keys() & new.addresses.keys()
    moved = {name for name in shared if old.addresses[name] != new.addresses[name]}
    zones = {above for name in moved for above in ancestors(name)}
    return by_glue | (both & zones)


def _row(
    name: str,
    old: Delegations,
    new: Delegations,
    changed_hosts: set[str],
    users: Mapping[str, int],
    movers: Mapping[str, int],
) -> dict[str, Any]:
    before, after = old.ns.get(name, frozenset()), new.ns.get(name, frozenset())
    hosts = before | after
    stayed = before & after
    moved = sorted(stayed & changed_hosts)
    state = "kept" if before and after else ("new" if after else "removed")
    ns_changes = len(before ^ after) if state == "kept" else 0
    glue_changes = sum(
        len(old.glue.get(host, frozenset()) ^ new.glue.get(host, frozenset())) for host in moved
    )
    ttls = [new.glue_ttl_s[host] for host in after if host in new.glue_ttl_s]
    shared = sorted(host for host in after if movers.get(host, 0) > 1)
    return {
        "name": name.removesuffix("."),
        "state": state,
        "ns_changes": ns_changes,
        "glue_changes": glue_changes,
        "glue_ttl_min": min(ttls, default=None),
        "shared_name_servers": [host.removesuffix(".") for host in shared],
        "moved_name_servers": [host.removesuffix(".") for host in moved],
        "score": _score(hosts, stayed, moved, ns_changes, ttls, shared, users),
    }


def _score(
    hosts: frozenset[str],
    stayed: frozenset[str],
    moved: list[str],
    ns_changes: int,
    ttls: list[int],
    shared: list[str],
    users: Mapping[str, int],
) -> float:
    """0.5 glue that moved under the same name, 0.2 hosts that changed, 0.2 low TTL, 0.1 company."""
    if not moved and not ns_changes:
        return 0.0
    crowd = max((users.get(host, 1) for host in moved or hosts), default=1)
    own = 1.0 if crowd < CROWD else 1 / (1 + math.log10(crowd / CROWD + 1) * 4)
    score = 0.5 * len(moved) / max(len(stayed), 1)
    score += 0.2 * min(ns_changes / max(len(hosts), 1), 1.0)
    score += 0.2 * (bool(ttls) and min(ttls) <= LOW_TTL_S)
    score += 0.1 * bool(shared)
    return round(min(score * own, 1.0), 4)


def _summary(
    old: Delegations, new: Delegations, changed_hosts: set[str], rotating: set[str]
) -> dict[str, Any]:
    both = old.ns.keys() & new.ns.keys()
    changed = sum(old.ns[name] != new.ns[name] for name in both)
    hosts = old.glue.keys() & new.glue.keys()
    moved = len(changed_hosts & hosts)
    return {
        "delegations_old": len(old.ns),
        "delegations_new": len(new.ns),
        "added": len(new.ns.keys() - old.ns.keys()),
        "removed": len(old.ns.keys() - new.ns.keys()),
        "ns_changed": changed,
        "ns_change_ratio": round(changed / len(both), 6) if both else None,
        "glue_hosts": len(hosts),
        "glue_changed": moved,
        "glue_change_ratio": round(moved / len(hosts), 6) if hosts else None,
        "low_ttl_glue": sum(ttl <= LOW_TTL_S for ttl in new.glue_ttl_s.values()),
        "rotating": len(rotating),
    }
