"""What authoritative servers of the lab answer: the model's zones as DNS messages. No sockets.

Root and top-level domains refer; zones answer with their name servers and glue, as the virtual
clock's upstream side does. A registrar's hold and a sinkhole change what the top level says.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import numpy as np

from unflux.lab.live.clock import Clock
from unflux.lab.model import plan
from unflux.lab.model.plan import ROOT_SERVER, SINKHOLE, TLD_SERVER
from unflux.lab.model.store import ADDITIONAL, ANSWER, AUTHORITY
from unflux.lab.model.world import (
    ADDRESSES,
    ALIAS,
    DELEGATION,
    NEGATIVE_TTL_S,
    RCODES,
    World,
)

TLD_TTL_S = 172_800
KEPT_S = 0.1
"""Wall seconds for which an answer is given again without asking the model."""
MAX_VERSIONS = 4_000
"""Answers kept beside those that never change, before all of them are forgotten; every query makes
one at most."""


@dataclass(slots=True)
class Zone:
    """A zone cut of the lab."""

    apex: str
    kind: str
    """``root``, ``tld``, ``domain``, or ``home`` (only the name servers of an operator)."""
    number: int = -1
    """The model's number of the zone; for a home, the operator's service."""
    hosts: set[str] = field(default_factory=set)
    """Names in it that exist, for NXDOMAIN and empty non-terminals."""


@dataclass(slots=True)
class Registry:
    """What the registrar changed: each a set of registered domains."""

    removed: set[str] = field(default_factory=set)
    """Delegation gone until somebody registers name servers again."""
    seized: set[str] = field(default_factory=set)
    """Locked, and delegated to the sinkhole for good."""


class Authority:
    """Answers of every authoritative server, from the model's state at a time."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.registry = Registry()
        self.zones: dict[str, Zone] = {".": Zone(".", "root")}
        for tld in world.tlds:
            self.zones[tld] = Zone(tld, "tld")
        self.units: dict[str, list[int]] = {}
        self.kinds = world.unit_kind.tolist()
        self._recent: dict[int, tuple[float, int]] = {}
        """Time and version of the last fetch of units that change by the clock alone."""
        self._n_lasting = 0
        """Versions that were left when the others were forgotten last."""
        self._by_clock = [self._changes_by_clock(unit) for unit in range(len(self.kinds))]
        self.has_v6 = any(one.settings.rdtype == "AAAA" for one in world.services)
        """Root and top level have IPv6 addresses, too, where the scenario has AAAA at all."""
        self._read_world()

    def is_dual(self, zone: Zone) -> bool:
        """Whether a zone's fixed name servers have IPv6 addresses: those of AAAA networks do."""
        if zone.kind in ("root", "tld"):
            return self.has_v6
        number = zone.number if zone.kind == "home" else int(self.world.zone_service[zone.number])
        return self.world.services[number].settings.rdtype == "AAAA"

    def _changes_by_clock(self, unit: int) -> bool:
        """Not anew with every query, and without failures that strike one query."""
        service = int(self.world.unit_service[unit])
        if service < 0 or self.kinds[unit] == DELEGATION:
            return True
        one = self.world.services[service].settings
        return not one.failure_ratio and (one.selection == "fixed" or one.rotation_s > 0)

    def _read_world(self) -> None:
        """Index what the model has by name."""
        world = self.world
        for number in range(len(world.zone_name)):
            service = int(world.zone_service[number])
            if service < 0:
                continue
            apex = world.names.texts[int(world.zone_name[number])]
            self.zones[apex] = Zone(apex, "domain", number)
            home = world.home_of_name_servers(world.services[service], apex)
            if home != apex and home not in self.zones:
                self.zones[home] = Zone(home, "home", service)
        for unit, kind in enumerate(self.kinds):
            owner = world.names.texts[int(world.unit_owner[unit])]
            if kind == DELEGATION:
                continue
            self.units.setdefault(owner, []).append(unit)
            zone = self.zones.get(self.zone_of(owner) or "")
            if zone:
                zone.hosts.add(owner)

    def zone_of(self, name: str, served: AbstractSet[str] | None = None) -> str | None:
        """The deepest zone that holds a name, among those that are served."""
        zones = self.zones.keys() if served is None else served
        at = name
        while True:
            if at in zones:
                return at
            if at == ".":
                return None
            at = at.split(".", 1)[1] or "."

    def delegation_of(self, apex: str, now_s: float) -> int:
        """The version of a zone's name servers and glue."""
        zone = self.zones[apex]
        unit = self._delegation_unit(zone)
        return self._fetch(unit, now_s)

    def _delegation_unit(self, zone: Zone) -> int:
        """A home has the name servers of any zone of its operator: they are the same hosts."""
        world = self.world
        if zone.kind == "home":
            number = int(np.flatnonzero(world.zone_service == zone.number)[0])
        else:
            number = zone.number
        return int(world.zone_delegation[number])

    def fixed_servers(self, apex: str) -> list[int]:
        """Addresses of a zone's name servers while they do not rotate."""
        return self.world.fixed_name_servers(self._delegation_unit(self.zones[apex]))

    def respond(
        self, query: dns.message.Message, served: AbstractSet[str], now_s: float
    ) -> dns.message.Message:
        """The response of a server with some zones, at a time of the model."""
        self._forget_old()
        response = dns.message.make_response(query, recursion_available=False)
        question = query.question[0]
        name = question.name.to_text().lower()
        apex = self.zone_of(name, served)
        if apex is None or question.rdclass != dns.rdataclass.IN:
            response.set_rcode(dns.rcode.REFUSED)
            return response
        zone = self.zones[apex]
        if zone.kind in ("root", "tld"):
            self._refer(response, zone, name, question.rdtype, now_s)
        else:
            self._answer(response, zone, name, question.rdtype, now_s)
        return response

    def sinkhole(self, query: dns.message.Message) -> dns.message.Message:
        """What the defenders' server says of seized domains: its own address, whatever is asked."""
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        name = query.question[0].name.to_text().lower()
        if self.zone_of(name, self.registry.seized) is None:
            response.set_rcode(dns.rcode.REFUSED)
        elif query.question[0].rdtype == dns.rdatatype.A:
            self._add(response.answer, name, "A", 300, plan.text_of(SINKHOLE))
        return response

    def _refer(
        self, response: dns.message.Message, zone: Zone, name: str, rdtype: int, now_s: float
    ) -> None:
        """Root and top level: a referral to the child, or there is no such name."""
        child = self._child(zone, name)
        host, address = _server_of(zone)
        if name == host and rdtype in self._types_of(zone):
            response.flags |= dns.flags.AA
            self._add_host(response.answer, zone, host, TLD_TTL_S, address, rdtype)
        elif name == zone.apex and rdtype == dns.rdatatype.NS:
            response.flags |= dns.flags.AA
            self._add(response.answer, zone.apex, "NS", TLD_TTL_S, host)
            self._add_host(response.additional, zone, host, TLD_TTL_S, address)
        elif child is None:
            self._negative(response, zone.apex, exists=name in (zone.apex, host))
        elif self.zones[child].kind == "tld":
            server, address = _server_of(self.zones[child])
            self._add(response.authority, child, "NS", TLD_TTL_S, server)
            self._add_host(response.additional, self.zones[child], server, TLD_TTL_S, address)
        elif child in self.registry.removed:
            self._negative(response, zone.apex, exists=False)
        elif child in self.registry.seized:
            server = f"ns.sinkhole.{zone.apex}"
            self._add(response.authority, child, "NS", 300, server)
            self._add(response.additional, server, "A", 300, plan.text_of(SINKHOLE))
        else:
            self._add_delegation(response, child, now_s)

    def _child(self, zone: Zone, name: str) -> str | None:
        """The zone just below that holds a name."""
        if zone.kind == "root":
            last = name.rstrip(".").rsplit(".", 1)[-1] + "."
            return last if last in self.zones and name != "." else None
        found = self.zone_of(name)
        return found if found != zone.apex else None

    def _answer(
        self, response: dns.message.Message, zone: Zone, name: str, rdtype: int, now_s: float
    ) -> None:
        """A domain's own server."""
        response.flags |= dns.flags.AA
        delegation = self.delegation_of(zone.apex, now_s)
        version = self._version_for(name, rdtype, now_s)
        hosts = self._hosts_of(delegation)
        if version is not None:
            rcode = RCODES[self.world.versions.rcode[version]]
            response.set_rcode(dns.rcode.from_text(rcode))
            self._add_version(response, version)
            if rcode == "NOERROR" and response.answer:
                self._add_version(response, delegation, zone.apex)
        elif name in hosts and rdtype in self._types_of(zone):
            for ttl_s, address in hosts[name]:
                self._add_host(response.answer, zone, name, ttl_s, address, rdtype)
        elif name == zone.apex and rdtype == dns.rdatatype.NS:
            self._add_version(response, delegation, zone.apex)
            response.answer, response.authority = response.authority, []
        else:
            below = any(host == name or host.endswith("." + name) for host in (*zone.hosts, *hosts))
            self._negative(response, zone.apex, exists=below or name == zone.apex)

    def _version_for(self, name: str, rdtype: int, now_s: float) -> int | None:
        """What a name has of a type, if anything; an alias for every type."""
        wanted = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rdtype))
        for unit in self.units.get(name, ()):
            kind = self.kinds[unit]
            if kind == ALIAS or (kind == ADDRESSES and self.world.rdtype_of(unit) == wanted):
                return self._fetch(unit, now_s)
        return None

    def _fetch(self, unit: int, now_s: float) -> int:
        """The version of a unit; for a moment the one before, where only the clock changes it."""
        world = self.world
        kept = self._recent.get(unit)
        if kept and kept[0] <= now_s < kept[0] + KEPT_S * self.clock.speed:
            return kept[1]
        versions, _ = world.fetch(np.array([unit]), np.array([now_s]))
        version = int(versions[0])
        if self._by_clock[unit]:
            self._recent[unit] = (now_s, version)
        return version

    def _forget_old(self) -> None:
        """Keep the bound; only between two responses, as it moves the numbers of versions."""
        versions = self.world.versions
        if len(versions.start) > self._n_lasting + MAX_VERSIONS:
            self._recent.clear()
            self.world.drop_all_but(np.zeros(0, np.int64))
            self._n_lasting = len(versions.start)

    def _hosts_of(self, version: int) -> dict[str, list[tuple[int, str]]]:
        """The glue of a delegation: (TTL, address) of each name server."""
        found: dict[str, list[tuple[int, str]]] = {}
        for section, owner, _, ttl_s, rdata in self._records(version):
            if section == ADDITIONAL:
                found.setdefault(owner, []).append((ttl_s, rdata))
        return found

    def _records(self, version: int) -> list[tuple[int, str, str, int, str]]:
        """(section, owner, rdtype, TTL of the model, rdata) of a version."""
        world, held = self.world, self.world.versions
        start = held.start[version]
        return [
            (
                held.section[row],
                world.names.texts[held.owner[row]],
                world.rdtypes.texts[held.rdtype[row]],
                held.ttl_s[row],
                world.rdata.texts[held.rdata[row]],
            )
            for row in range(start, start + held.count[version])
        ]

    def glue(self, apex: str, now_s: float) -> list[str]:
        """Addresses of a zone's registered name servers, in order; none without a delegation."""
        if apex in self.registry.removed:
            return []
        hosts = self._hosts_of(self.delegation_of(apex, now_s))
        return [address for rows in hosts.values() for _, address in rows]

    def addresses(self, name: str, now_s: float) -> list[int]:
        """Addresses that a name has now (A, or else AAAA), as numbers; aliases are not followed."""
        for wanted in ("A", "AAAA"):
            version = self._version_for(name, dns.rdatatype.from_text(wanted), now_s)
            rows = self._records(version) if version is not None else []
            found = [int(ip_address(rdata)) for _, _, kind, _, rdata in rows if kind == wanted]
            if found:
                return found
        return []

    def _add_delegation(self, response: dns.message.Message, apex: str, now_s: float) -> None:
        self._add_version(response, self.delegation_of(apex, now_s), apex)

    def _add_version(
        self, response: dns.message.Message, version: int, cut: str | None = None
    ) -> None:
        """Add a version's records; name servers belong to `cut` (homes borrow theirs)."""
        sections = {
            ANSWER: response.answer, AUTHORITY: response.authority, ADDITIONAL: response.additional,
        }  # fmt: skip
        for section, owner, rdtype, ttl_s, rdata in self._records(version):
            at = cut if cut and rdtype == "NS" else owner
            if cut and section == ADDITIONAL:
                self._add_host(response.additional, self.zones[cut], at, ttl_s, rdata)
            else:
                self._add(sections[section], at, rdtype, ttl_s, rdata)

    def _types_of(self, zone: Zone) -> tuple[int, ...]:
        """Types of address that a zone's name servers may have."""
        return (dns.rdatatype.A, dns.rdatatype.AAAA) if self.is_dual(zone) else (dns.rdatatype.A,)

    def _add_host(
        self, section: list[dns.rrset.RRset], zone: Zone, host: str, ttl_s: int, address: str,
        only: int | None = None,
    ) -> None:  # fmt: skip
        """Add a name server's address, and its IPv6 twin where it has one: agents have none."""
        number = int(ip_address(address))
        own = [("AAAA" if plan.is_v6(number) else "A", address)]
        if self.is_dual(zone) and number >= plan.INFRASTRUCTURE and not plan.is_v6(number):
            own.append(("AAAA", plan.text_of(plan.twin(number))))
        for rdtype, rdata in own:
            if only is None or dns.rdatatype.from_text(rdtype) == only:
                self._add(section, host, rdtype, ttl_s, rdata)

    def _add(
        self, section: list[dns.rrset.RRset], owner: str, rdtype: str, ttl_s: int, rdata: str
    ) -> None:
        """Add a record to the rrset of its owner and type."""
        one = dns.rrset.from_text(owner, self.clock.ttl_s(ttl_s), "IN", rdtype, rdata)
        for rrset in section:
            if rrset.name == one.name and rrset.rdtype == one.rdtype:
                rrset.add(one[0], one.ttl)
                return
        section.append(one)

    def _negative(self, response: dns.message.Message, apex: str, *, exists: bool) -> None:
        """No such name, or nothing of this type (RFC 2308)."""
        response.flags |= dns.flags.AA
        response.set_rcode(dns.rcode.NOERROR if exists else dns.rcode.NXDOMAIN)
        base = "" if apex == "." else apex
        minimum_s = self.clock.ttl_s(NEGATIVE_TTL_S)
        soa = f"ns1.{base or '.'} hostmaster.{base or '.'} 1 7200 3600 1209600 {minimum_s}"
        self._add(response.authority, apex, "SOA", NEGATIVE_TTL_S, soa.replace("..", "."))


def _server_of(zone: Zone) -> tuple[str, str]:
    """Name and address of the one server of the root, or of a top-level domain."""
    if zone.kind == "root":
        return "a.root.", plan.text_of(ROOT_SERVER)
    return f"a.nic.{zone.apex}", plan.text_of(TLD_SERVER)
