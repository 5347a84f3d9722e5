"""The lab's world as an authoritative side on a virtual clock: root, TLDs, zones, a resolver."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from unflux.lab.model import plan
from unflux.lab.model.store import SECTIONS
from unflux.lab.model.world import ADDRESSES, ALIAS, NEGATIVE_TTL_S, RCODES, TLDS, World
from unflux.lab.scenarios import Scenario
from unflux.track import Query, Record, Response, Tracker

ROOT_SERVER, TLD_SERVER = "198.19.255.1", "198.19.255.2"
SLICE_S = 900.0


@dataclass
class Played:
    """What came of a run."""

    tracker: Tracker
    heard: list[tuple[float, Query, Response]] = field(default_factory=list)
    events: list = field(default_factory=list)
    samples: list = field(default_factory=list)


class LabWorld:
    """Who answers what, at any time of the slice at hand."""

    def __init__(self, scenario: Scenario) -> None:
        self.world = World(
            [(name, settings) for name, _, settings in scenario.services],
            scenario.seed,
            scenario.start_s,
        )
        names = self.world.names.texts
        self.apexes = {
            names[zone]: number for number, zone in enumerate(self.world.zone_name.tolist())
        }
        self.delegations: dict[int, tuple[int, list[Record]]] = {}
        self.units: dict[str, int] = {}
        for unit, (kind, owner) in enumerate(
            zip(self.world.unit_kind.tolist(), self.world.unit_owner.tolist(), strict=True)
        ):
            if kind in (ADDRESSES, ALIAS):
                self.units.setdefault(names[owner], unit)
        self.rdtype_of = {
            name: self.world.services[int(self.world.unit_service[unit])].settings.rdtype
            for name, unit in self.units.items()
        }

    def answer(self, query: Query, now: float) -> Response:
        """What a server says; any server of a zone answers for it, as those of flux networks do."""
        if query.server == ROOT_SERVER:
            return self._from_root(query)
        zone = self._zone_of(query.qname)
        if query.server == TLD_SERVER:
            return self._from_tld(query, zone, now)
        if zone is None:
            return Response("REFUSED", False, ())
        return self._from_zone(query, zone, now)

    def _zone_of(self, qname: str) -> str | None:
        found = [apex for apex in self.apexes if qname == apex or qname.endswith(f".{apex}")]
        found = [apex for apex in found if apex not in TLDS]
        return max(found, key=len, default=None)

    def _from_root(self, query: Query) -> Response:
        tld = next((one for one in TLDS if query.qname.endswith(one)), None)
        if tld is None:
            return Response("NXDOMAIN", True, (soa("."),))
        records = (
            Record("authority", tld, "NS", 172_800, f"ns.{tld}"),
            Record("additional", f"ns.{tld}", "A", 172_800, TLD_SERVER),
        )
        return Response("NOERROR", False, records)

    def _from_tld(self, query: Query, zone: str | None, now: float) -> Response:
        if zone is None:
            tld = query.qname.rstrip(".").rpartition(".")[2] + "."
            if query.qname == tld:
                return Response("NOERROR", True, (soa(tld),))
            return Response("NXDOMAIN", True, (soa(tld),))
        return Response("NOERROR", False, tuple(self._delegation(zone, now)))

    def _fetch(self, unit: int, now: float) -> tuple[str, list[Record], int]:
        versions, _ = self.world.fetch(np.array([unit]), np.array([now]))
        store, version = self.world.versions, int(versions[0])
        start, count = store.start[version], store.count[version]
        records = [
            Record(
                SECTIONS[store.section[row]],
                self.world.names.texts[store.owner[row]],
                self.world.rdtypes.texts[store.rdtype[row]],
                store.ttl_s[row],
                self.world.rdata.texts[store.rdata[row]],
            )
            for row in range(start, start + count)
        ]
        return RCODES[store.rcode[version]], records, store.next_unit[version]

    def _delegation(self, zone: str, now: float) -> list[Record]:
        """As it was when its step was first asked for: the model says when delegations move, but
        draws again from the live list of the moment while a step lasts."""
        unit = int(self.world.zone_delegation[self.apexes[zone]])
        step = int(self.world.ns_step(np.array([unit]), np.array([now]))[0])
        if self.delegations.get(unit, (None, []))[0] != step:
            self.delegations[unit] = (step, self._fetch(unit, now)[1])
        return self.delegations[unit][1]

    def _from_zone(self, query: Query, zone: str, now: float) -> Response:
        delegation = self._delegation(zone, now)
        if query.qname == zone and query.qtype == "NS":
            records = [
                Record("answer", one.owner, "NS", one.ttl, one.rdata) if one.rdtype == "NS" else one
                for one in delegation
            ]
            return Response("NOERROR", True, tuple(records))
        unit = self.units.get(query.qname)
        if unit is None:
            glue = [
                one for one in delegation if one.owner == query.qname and one.rdtype == query.qtype
            ]
            if glue:
                records = [Record("answer", one.owner, "A", one.ttl, one.rdata) for one in glue]
                return Response("NOERROR", True, tuple(records))
            names = [one.owner for one in delegation if one.section == "additional"]
            exists = query.qname == zone or query.qname in names
            return Response("NOERROR" if exists else "NXDOMAIN", True, (soa(zone),))
        if (
            query.qtype not in (self.rdtype_of[query.qname], "CNAME")
            and self.world.unit_kind[unit] != ALIAS
        ):
            return Response("NOERROR", True, (soa(zone),))
        rcode, records, following = self._fetch(unit, now)
        if following >= 0 and query.qtype in ("A", "AAAA"):
            more = self._fetch(following, now)
            rcode, records = max(rcode, more[0]), [*records, *more[1]]
        if rcode == "NOERROR":
            records += delegation
        return Response(rcode, True, tuple(records))


def soa(zone: str) -> Record:
    text = f"ns1.{zone} hostmaster.{zone} 1 7200 3600 1209600 {NEGATIVE_TTL_S}"
    return Record("authority", zone, "SOA", NEGATIVE_TTL_S, text)


class Cache:
    """A resolver of the lab: it asks as the tracker does, from the root, and caches by TTL."""

    def __init__(self, lab: LabWorld) -> None:
        self.lab = lab
        self.kept: dict[tuple[str, str], tuple[float, float, Response]] = {}

    def answer(self, query: Query, now: float) -> Response:
        key = (query.qname, query.qtype)
        kept = self.kept.get(key)
        if kept is None or kept[1] <= now:
            zone = self.lab._zone_of(query.qname)
            if zone is None:
                response = self.lab._from_tld(query, None, now)
            else:
                response = self.lab._from_zone(query, zone, now)
            ttl = min((one.ttl for one in response.records), default=0)
            kept = self.kept[key] = (now, now + ttl, response)
        age = int(now - kept[0])
        records = [
            Record(one.section, one.owner, one.rdtype, one.ttl - age, one.rdata)
            for one in kept[2].records
            if one.section != "additional" and (one.section == "answer" or one.rdtype == "SOA")
        ]
        return Response(kept[2].rcode, False, tuple(records))


class Ideal:
    """Who asks every name exactly when its TTL (or the floor) is over, and never in vain."""

    def __init__(self, lab: LabWorld, floor_s: float) -> None:
        self.lab, self.floor_s = lab, floor_s
        self.n_changes: dict[str, int] = {}
        self.published: dict[int, set[str]] = {}
        self.last: dict[str, frozenset[int]] = {}
        self.next_s: dict[str, float] = {}

    def watch(self, from_s: float, to_s: float) -> None:
        """One slice of the world, which is at hand."""
        for one in self.lab.world.named:
            service = self.lab.world.services[one.service]
            for group in service.groups:
                known = self.published.setdefault(one.service, set())
                known.update(plan.text_of(address) for listed in group.lists for address in listed)
                known.update(map(plan.text_of, group.first))
            every_s = max(service.settings.ttl_s, self.floor_s)
            times = np.arange(self.next_s.get(one.name, from_s), to_s, every_s)
            if not len(times):
                continue
            self.next_s[one.name] = float(times[-1]) + every_s
            domains = np.full(len(times), one.domain, np.int64)
            groups, steps = np.full(len(times), one.group, np.int64), service.steps(domains, times)
            for listed in service.pick(domains, groups, steps, times, service.settings.k).lists():
                now = frozenset(listed)
                changed = one.name in self.last and self.last[one.name] != now
                self.n_changes[one.name] = self.n_changes.get(one.name, 0) + changed
                self.last[one.name] = now


def play(
    lab: LabWorld,
    tracker: Tracker,
    start_s: float,
    hours: float,
    ideal: Ideal | None = None,
    rtt_s: float = 0.05,
) -> Played:
    """Let the tracker ask the lab for some hours of virtual time."""
    played = Played(tracker)
    cache = Cache(lab)
    end_s, now = start_s + hours * 3600, start_s
    upto = start_s
    while now < end_s:
        while upto <= now + rtt_s:
            lab.world.advance(upto, upto + SLICE_S)
            if ideal is not None:
                ideal.watch(upto, min(upto + SLICE_S, end_s))
            upto += SLICE_S
        for query in tracker.due(now):
            answer = cache.answer if query.recurse else lab.answer
            response = answer(query, now)
            played.heard.append((now, query, response))
            played.events += tracker.on_response(query, response, now + rtt_s)
        played.samples += tracker.take_samples()
        now = max(tracker.next_due_s() or end_s, now + 0.01)
    return played
