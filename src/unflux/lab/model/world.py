"""The whole emulated Internet of a scenario: names, zones, servers, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

import numpy as np
import numpy.typing as npt

from unflux.lab.model import plan
from unflux.lab.model.hashing import below, below_one, mix, mix_one, uniform, uniform_one
from unflux.lab.model.services import BOGONS, Service, Settings
from unflux.lab.model.store import (
    ADDITIONAL,
    ANSWER,
    AUTHORITY,
    Record,
    Versions,
    Words,
)

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

ADDRESSES, ALIAS, NO_DATA, NO_NAME, DELEGATION = range(5)
"""What a unit is: the things that a resolver caches one by one."""

RCODES = ("NOERROR", "SERVFAIL", "NXDOMAIN")
NEGATIVE_TTL_S = 900
"""SOA minimum of every zone (RFC 2308 §5 recommends one to three hours; operators use less)."""
TLDS = ("test.", "example.")
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "or")]


@dataclass(frozen=True, slots=True)
class Named:
    """A name that clients ask for."""

    name: str
    service: int
    domain: int
    group: int
    zone: int


class World:
    """Everything that can be asked, and the answer to it at any time of the slice at hand."""

    def __init__(
        self,
        services: list[tuple[str, Settings]],
        seed: int,
        start_s: float,
        *,
        suffixes: tuple[str, ...] = plan.LAB_SUFFIXES,
    ) -> None:
        self.seed, self.start_s = seed, start_s
        self.tlds = self._top_level(services, suffixes)
        self.services = [
            Service(name, settings, mix_one(seed, 1, number) >> 1)
            for number, (name, settings) in enumerate(services)
        ]
        self.names, self.rdata, self.rdtypes = Words(), Words(), Words()
        self.versions = Versions()
        self.named: list[Named] = []
        self.questions: list[tuple[int, int, int]] = []
        """(named, unit, rdtype): what can be asked."""
        self._units: list[tuple[int, int, int, int, int, int]] = []
        self._zones: list[tuple[int, int, int]] = []
        self._failed = -1
        """The version that is SERVFAIL, once there is one."""
        self._soa: dict[int, tuple[int, int]] = {}
        """Owner and rdata of the SOA record, by zone."""
        self._rdata_of: dict[int, int] = {}
        """Numbers in `rdata` of addresses."""
        self._servers: dict[int, tuple[list[int], list[int]]] = {}
        """Hosts and rdata of the name servers that a service has for all its domains."""
        self._targets: dict[int, list[int]] = {}
        self._taken: set[str] = set()
        self._homes: dict[str, str] = {}
        """Where the name servers of a service have their names, by service."""
        self.held_name_servers: dict[tuple[str, int], tuple[int, list[int]]] | None = None
        """(Service, domain) → step and addresses, where name servers stay for their period unless
        they leave the live list; None: they are chosen anew with each list."""
        self._tld_zone = [self._zone(tld, -1, -1) for tld in self.tlds]
        for number in range(len(self.services)):
            self._build(number)
        units = np.array(self._units, np.int64).reshape(-1, 6)
        columns = np.ascontiguousarray(units.T)
        self.unit_kind, self.unit_owner, self.unit_service = columns[0], columns[1], columns[2]
        self.unit_domain, self.unit_zone, self.unit_target = columns[3], columns[4], columns[5]
        self._still = np.full(len(units), -1, np.int64)
        """Versions of units that never change, -1 for what has none yet."""
        zones = np.array(self._zones, np.int64).reshape(-1, 3)
        self.zone_name, self.zone_service = zones[:, 0], zones[:, 1]
        self.zone_delegation = np.full(len(zones), -1, np.int64)
        delegations = np.flatnonzero(self.unit_kind == DELEGATION)
        self.zone_delegation[self.unit_zone[delegations]] = delegations

    # Building

    def _top_level(
        self, services: list[tuple[str, Settings]], suffixes: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The top-level domains there are: the drawn ones, and those of names that are given."""
        given = [settings.apex for _, settings in services if settings.apex]
        for apex in given:
            if not f".{apex}".endswith(suffixes):
                raise ValueError(
                    f"{apex} is not under {', '.join(suffixes)}: the lab has no others"
                )
        return tuple(dict.fromkeys([*TLDS, *(apex.split(".", 1)[1] for apex in given)]))

    def _unit(
        self, kind: int, owner: str, service: int, domain: int, zone: int, target: int = 0
    ) -> int:
        self._units.append((kind, self.names.number(owner), service, domain, zone, target))
        return len(self._units) - 1

    def _zone(self, name: str, service: int, domain: int) -> int:
        self._zones.append((self.names.number(name), service, domain))
        zone = len(self._zones) - 1
        if service >= 0:
            self._unit(DELEGATION, name, service, domain, zone)
        return zone

    def label(self, *keys: int) -> str:
        """A label like any other: flux and plain names are made by the same rule."""
        chance = mix_one(self.seed, 2, *keys)
        chance, n_more = divmod(chance, 4)
        parts = []
        for _ in range(2 + n_more):
            chance, place = divmod(chance, len(SYLLABLES))
            parts.append(SYLLABLES[place])
        return "".join(parts)

    def _first_draws(self, number: int, n_domains: int) -> list[str]:
        """What `_new_domain` draws first for each domain of a service, all at once."""
        domains = np.arange(n_domains)
        tlds = below(len(TLDS), self.seed, 3, 0, number, domains).tolist()
        chance, n_more = np.divmod(mix(self.seed, 2, 0, number, domains), np.uint64(4))
        parts: list[list[int]] = []
        for _ in range(5):
            chance, place = np.divmod(chance, np.uint64(len(SYLLABLES)))
            parts.append(place.tolist())
        rows = zip(tlds, n_more.tolist(), zip(*parts, strict=True), strict=True)
        return [
            f"{''.join([SYLLABLES[place] for place in places[: 2 + more]])}.{TLDS[tld]}"
            for tld, more, places in rows
        ]

    def _new_domain(self, *keys: int, drawn: str = "") -> str:
        """A registered domain that nobody has yet; `drawn` is the first draw, where it is known."""
        if drawn and drawn not in self._taken:
            self._taken.add(drawn)
            return drawn
        for attempt in range(1_000):
            tld = TLDS[below_one(len(TLDS), self.seed, 3, attempt, *keys)]
            text = f"{self.label(attempt, *keys)}{attempt or ''}.{tld}"
            if text not in self._taken:
                self._taken.add(text)
                return text
        raise RuntimeError("no free domain name: the scenario has too many domains")

    def _build(self, number: int) -> None:
        service = self.services[number]
        one = service.settings
        own_zone = -1
        if one.shared_zone or one.chain:
            own_zone = self._zone(self._new_domain(number, -1), number, -1)
        drawn = [""] * one.domains if one.shared_zone else self._first_draws(number, one.domains)
        choices = one.labels or ("", "www")
        chosen = below(len(choices), self.seed, 4, number, np.arange(one.domains)).tolist()
        for domain in range(one.domains):
            label = choices[chosen[domain]]
            self._build_domain(number, domain, own_zone, drawn[domain], label)

    def _build_domain(
        self, number: int, domain: int, own_zone: int, drawn: str, label: str
    ) -> None:
        """`drawn` and `label`: the domain's first draw, and the template of its host's label."""
        one = self.services[number].settings
        if one.shared_zone:
            zone = own_zone
            parent = self.names.texts[self._zones[zone][0]]
            fqdn = f"{one.shared_zone.format(n=domain, label=self.label(number, domain))}.{parent}"
        elif not one.exists:
            zone = self._tld_zone[domain % len(TLDS)]
            fqdn = self._new_domain(number, domain, drawn=drawn)
        else:
            given = one.apex if domain == 0 else ""
            apex = given or self._new_domain(number, domain, drawn=drawn)
            zone = self._zone(apex, number, domain)
            if "{" in label:
                label = label.format(n=domain, label=self.label(number, domain, 7))
            fqdn = f"{label}.{apex}" if label else apex
        group = domain % max(one.sub_networks, 1)
        self.named.append(Named(fqdn, number, domain, group, zone))
        self._ask(fqdn, number, domain, zone, own_zone)

    def _ask(self, fqdn: str, number: int, domain: int, zone: int, own_zone: int) -> None:
        one = self.services[number].settings
        named = len(self.named) - 1
        rdtype = self.rdtypes.number
        if not one.exists:
            unit = self._unit(NO_NAME, fqdn, number, domain, zone)
            self.questions.append((named, unit, rdtype("A")))
            return
        first = self._chain(fqdn, number, domain, zone, own_zone) if one.chain else -1
        if first < 0:
            first = self._unit(ADDRESSES, fqdn, number, domain, zone)
        self.questions.append((named, first, rdtype(one.rdtype)))
        if one.rdtype == "HTTPS":  # browsers ask for both; the addresses are the same hosts
            unit = self._unit(ADDRESSES, fqdn, number, domain, zone, target=-1)
            self.questions.append((named, unit, rdtype("A")))
        elif not one.chain:
            other = "AAAA" if one.rdtype == "A" else "A"
            unit = self._unit(NO_DATA, fqdn, number, domain, zone)
            self.questions.append((named, unit, rdtype(other)))

    def _chain(self, fqdn: str, number: int, domain: int, zone: int, own_zone: int) -> int:
        """CNAMEs from the domain into the operator's own zone, to one of several targets."""
        one = self.services[number].settings
        edge = self.names.texts[self._zones[own_zone][0]]
        label = self.label(number, domain, 8)
        ends = [
            self._unit(ADDRESSES, f"{label}.e{target}.{edge}", number, domain, own_zone, target)
            for target in range(one.targets)
        ]
        for place in range(len(one.chain) - 1, 0, -1):
            alias = self._unit(ALIAS, f"{label}.a{place}.{edge}", number, domain, own_zone, place)
            self._targets[alias] = ends
            ends = [alias]
        first = self._unit(ALIAS, fqdn, number, domain, zone, 0)
        self._targets[first] = ends
        return first

    # Time

    def advance(self, from_s: float, to_s: float) -> None:
        """Let all hosts live through a slice of time."""
        for service in self.services:
            service.advance(from_s, to_s)

    def fetch(self, units: I64, times: F64) -> tuple[I64, I64]:
        """What the authoritative side answers: versions, and how long caches keep each."""
        versions = np.full(len(units), -1, np.int64)
        for kind, make in (
            (ADDRESSES, self._address_versions),
            (ALIAS, self._alias_versions),
            (NO_DATA, self._negative_versions),
            (NO_NAME, self._negative_versions),
            (DELEGATION, self._delegation_versions),
        ):
            mine = np.flatnonzero(self.unit_kind[units] == kind)
            if len(mine):
                versions[mine] = make(units[mine], times[mine])
        return versions, self.versions.of("cached_s", versions)

    def _address_versions(self, units: I64, times: F64) -> I64:
        found = np.full(len(units), -1, np.int64)
        services = self.unit_service[units]
        order = np.argsort(services, kind="stable")
        ends = np.flatnonzero(np.diff(services[order])) + 1
        for mine in np.split(order, ends):
            found[mine] = self._of_service(int(services[mine[0]]), units[mine], times[mine])
        return found

    def _of_service(self, number: int, units: I64, times: F64) -> I64:
        service = self.services[number]
        one = service.settings
        still = one.selection == "fixed" and service.is_still
        if still and not (one.start_h or one.end_h or one.failure_ratio):
            known: I64 = self._still[units]
            missing = np.flatnonzero(known < 0)
            if len(missing):
                known[missing] = self._made(service, units[missing], times[missing])
                self._still[units[missing]] = known[missing]
            return known
        return self._made(service, units, times)

    def _made(self, service: Service, units: I64, times: F64) -> I64:
        """New versions, one for each domain and step among these, whoever asks."""
        one = service.settings
        domains = self.unit_domain[units]
        steps = service.steps(domains, times)
        life = self._life(one, times)
        order = np.lexsort((life, steps, units))
        keys = np.stack([units, steps, life])[:, order]
        is_new = np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)]
        first = order[is_new]
        groups = self._groups(service, units[first])
        picked = service.pick(domains[first], groups, steps[first], times[first], one.k)
        rows = zip(
            units[first].tolist(), life[first].tolist(), steps[first].tolist(), picked, strict=True
        )
        made = [self._address_version(service, *row) for row in rows]
        versions = np.empty(len(units), np.int64)
        versions[order] = np.array(made, np.int64)[np.cumsum(is_new) - 1]
        if one.failure_ratio:
            failed = uniform(service.seed, 201, units, (times * 1e3).astype(np.int64))
            if (failed < one.failure_ratio).any():
                versions[failed < one.failure_ratio] = self._failure()
        return versions

    def _life(self, one: Settings, times: F64) -> I64:
        """0 before a service starts, 1 while it is there, 2 after its end."""
        hours = times / 3600 - self.start_s / 3600
        after = (hours >= one.end_h) if one.end_h else np.zeros(len(times), bool)
        return np.where(after, 2, np.where(hours < one.start_h, 0, 1)).astype(np.int64)

    def _groups(self, service: Service, units: I64) -> I64:
        if service.settings.targets > 1:
            targets: I64 = np.maximum(self.unit_target[units], 0)
            return targets
        return service.group_of(self.unit_domain[units])

    def _address_version(
        self, service: Service, unit: int, life: int, step: int, addresses: list[int]
    ) -> int:
        """Addresses of a unit at a step; `life` as `_life` tells it."""
        one = service.settings
        if life == 2:
            return self._negative(unit, "NXDOMAIN")
        if life == 0:  # asleep: one parked address, as registrars and waiting operators do
            addresses = [self._infrastructure(9, service.seed)]
        owner = int(self.unit_owner[unit])
        rdtype = one.rdtype
        if rdtype == "HTTPS" and self.unit_target[unit] == -1:
            rdtype = "A"
        number = self.rdtypes.number(rdtype)
        if one.bogon_ratio or rdtype == "HTTPS":
            texts = [self._decoy(service, unit, step, place) or plan.text_of(address)
                     for place, address in enumerate(addresses)]  # fmt: skip
            if rdtype == "HTTPS":
                texts = [f'1 . alpn="h2" ipv4hint={",".join(texts)}'] if texts else []
            rdata = [self.rdata.number(text) for text in texts]
        else:
            rdata = [self._address(address) for address in addresses]
        return self.versions.add_rrset(ANSWER, owner, number, one.ttl_s, rdata, one.ttl_s)

    def _address(self, address: int) -> int:
        """The number in `rdata` of an address."""
        number = self._rdata_of.get(address)
        if number is None:
            number = self._rdata_of[address] = self.rdata.number(plan.text_of(address))
        return number

    def _decoy(self, service: Service, unit: int, step: int, place: int) -> str | None:
        """Some operators mix in addresses that cannot be agents (Akamai 2017)."""
        one = service.settings
        if not one.bogon_ratio:
            return None
        if uniform_one(service.seed, 202, unit, step, place) >= one.bogon_ratio:
            return None
        network = ip_network(BOGONS[below_one(len(BOGONS), service.seed, 203, unit, step, place)])
        offset = below_one(network.num_addresses - 2, service.seed, 204, unit, step, place)
        return str(network[offset + 1])

    def _alias_versions(self, units: I64, times: F64) -> I64:
        made: dict[tuple[int, int], int] = {}
        found = []
        for unit, now_s in zip(units.tolist(), times.tolist(), strict=True):
            service = self.services[int(self.unit_service[unit])]
            one = service.settings
            ends = self._targets[unit]
            place = 0
            if len(ends) > 1:
                step = int(now_s // one.switch_s) if one.switch_s else 0
                place = below_one(len(ends), service.seed, 205, unit, step)
            if (unit, place) not in made:
                made[unit, place] = self._alias(unit, ends[place], one)
            found.append(made[unit, place])
        return np.array(found, np.int64)

    def _alias(self, unit: int, target: int, one: Settings) -> int:
        ttl_s = one.chain[int(self.unit_target[unit])]
        text = self.names.texts[int(self.unit_owner[target])]
        record = Record(
            ANSWER, int(self.unit_owner[unit]), self.rdtypes.number("CNAME"), ttl_s,
            self.rdata.number(text),
        )  # fmt: skip
        return self.versions.add([record], ttl_s, next_unit=target)

    def _negative_versions(self, units: I64, times: F64) -> I64:
        for unit in dict.fromkeys(units[self._still[units] < 0].tolist()):
            kind = "NXDOMAIN" if self.unit_kind[unit] == NO_NAME else "NOERROR"
            self._still[unit] = self._negative(unit, kind)
        known: I64 = self._still[units]
        return known

    def _negative(self, unit: int, rcode: str) -> int:
        zone = int(self.unit_zone[unit])
        if zone not in self._soa:
            owner = int(self.zone_name[zone])
            name = self.names.texts[owner]
            soa = f"ns1.{name} hostmaster.{name} 1 7200 3600 1209600 {NEGATIVE_TTL_S}"
            self._soa[zone] = owner, self.rdata.number(soa)
        owner, rdata = self._soa[zone]
        record = Record(AUTHORITY, owner, self.rdtypes.number("SOA"), NEGATIVE_TTL_S, rdata)
        return self.versions.add([record], NEGATIVE_TTL_S, RCODES.index(rcode))

    def _failure(self) -> int:
        if self._failed < 0:
            self._failed = self.versions.add([], 0, RCODES.index("SERVFAIL"))
        return self._failed

    def drop_all_but(self, versions: I64) -> I64:
        """Forget versions that nobody serves any more; returns new numbers by old ones."""
        is_kept = np.zeros(len(self.versions.start), bool)  # marking is cheaper than sorting
        is_kept[versions] = True
        known = np.flatnonzero(self._still >= 0)
        is_kept[self._still[known]] = True
        if self._failed >= 0:
            is_kept[self._failed] = True
        moved = self.versions.keep(np.flatnonzero(is_kept))
        self._still[known] = moved[self._still[known]]
        self._failed = int(moved[self._failed]) if self._failed >= 0 else -1
        return moved

    # Name servers

    def _infrastructure(self, *keys: int) -> int:
        """An address of the lab's own network, for fixed servers."""
        return plan.INFRASTRUCTURE + below_one(1 << 13, self.seed, 5, *keys)

    def ns_step(self, units: I64, times: F64) -> I64:
        """Which version of its name servers the zone of each delegation unit has."""
        every = [one.settings for one in self.services]
        rotates = np.array([one.ns == "rotating" for one in every])
        from_h = np.array([one.ns_from_h for one in every])
        period_s = np.array([one.ns_period_s for one in every])
        found = np.zeros(len(units), np.int64)
        of = self.unit_service[units]
        moving = np.flatnonzero(rotates[of] & ((times - self.start_s) / 3600 >= from_h[of]))
        found[moving] = times[moving] // period_s[of[moving]]
        return found

    def _delegation_versions(self, units: I64, times: F64) -> I64:
        steps = self.ns_step(units, times)
        found = np.where(steps == 0, self._still[units], -1)
        missing = np.flatnonzero(found < 0)
        fixed = self._fixed_addresses(units[missing])
        made: dict[tuple[int, int], int] = {}
        rows = zip(
            missing.tolist(), units[missing].tolist(), steps[missing].tolist(),
            times[missing].tolist(), fixed, strict=True,
        )  # fmt: skip
        for place, unit, step, now_s, addresses in rows:
            if (unit, step) not in made:
                if step == 0:
                    self._still[unit] = made[unit, step] = self._fixed_delegation(unit, addresses)
                else:
                    made[unit, step] = self._delegation(unit, step, now_s)
            found[place] = made[unit, step]
        return found

    def _fixed_delegation(self, unit: int, addresses: list[int]) -> int:
        """`_delegation` while the name servers do not rotate, which is the case of most zones."""
        number = int(self.unit_service[unit])
        service = self.services[number]
        one = service.settings
        owner = int(self.unit_owner[unit])
        servers = self._servers.get(number) if one.ns_shared else None
        if servers is None:
            home = self.home_of_name_servers(service, self.names.texts[owner])
            hosts, targets, glue = [], [], []
            for place, address in enumerate(addresses):
                text = f"ns{place + 1}.{home}"
                hosts.append(self.names.number(text))
                targets.append(self.rdata.number(text))
                glue.append(self._address(address))
            servers = hosts, targets + glue
            if one.ns_shared:
                self._servers[number] = servers
        rdtypes = self.rdtypes.number("NS"), self.rdtypes.number("A")
        hosts, rdata = servers
        ttl_s, cached_s = one.ns_ttl_s, one.delegation_ttl_s
        return self.versions.add_referral(owner, hosts, rdtypes, ttl_s, rdata, cached_s)

    def _delegation(self, unit: int, step: int, now_s: float) -> int:
        service = self.services[int(self.unit_service[unit])]
        one = service.settings
        owner = int(self.unit_owner[unit])
        apex = self.names.texts[owner]
        home = self.home_of_name_servers(service, apex)
        records, glue = [], []
        addresses = self._ns_addresses(service, unit, step, now_s)
        for place, address in enumerate(addresses):
            label = f"ns{place + 1}"
            if one.ns_rename and step:
                label = f"ns{below_one(9000, service.seed, 206, unit, step, place) + 1000}"
            host = self.names.number(f"{label}.{home}")
            records.append(
                Record(
                    AUTHORITY, owner, self.rdtypes.number("NS"), one.ns_ttl_s,
                    self.rdata.number(self.names.texts[host]),
                )
            )  # fmt: skip
            glue.append(
                Record(
                    ADDITIONAL, host, self.rdtypes.number("AAAA" if plan.is_v6(address) else "A"),
                    one.ns_ttl_s,
                    self.rdata.number(plan.text_of(address)),
                )
            )  # fmt: skip
        return self.versions.add([*records, *glue], one.delegation_ttl_s)

    def home_of_name_servers(self, service: Service, apex: str) -> str:
        """Whose name servers they are: one operator's for all its domains, or the domain's own."""
        if not service.settings.ns_shared:
            return apex
        if service.name not in self._homes:
            self._homes[service.name] = self._new_domain(service.seed, -2)
        return self._homes[service.name]

    def _ns_addresses(self, service: Service, unit: int, step: int, now_s: float) -> list[int]:
        one = service.settings
        if step == 0:
            return self.fixed_name_servers(unit)
        # Konte et al.: 75-90 % of the agents that serve DNS also serve the web: one list for both.
        domain = 0 if one.ns_shared else int(self.unit_domain[unit])
        group = int(self.unit_domain[unit]) % max(one.sub_networks, 1)
        live = service.list_at(group, now_s)
        order = mix(service.seed, 207, domain, step, np.arange(len(live)))
        ranked = [live[place] for place in np.argsort(order, kind="stable")]
        if self.held_name_servers is None:
            return ranked[: one.ns_count]
        return _held(self.held_name_servers, (service.name, domain), step, ranked, one.ns_count)

    def fixed_name_servers(self, unit: int) -> list[int]:
        """Addresses of the name servers of a delegation unit while they do not rotate."""
        service = self.services[int(self.unit_service[unit])]
        one = service.settings
        domain = 0 if one.ns_shared else int(self.unit_domain[unit]) + 1
        return [
            self._infrastructure(10, service.seed & 0xFFFFFFFF, domain, place)
            for place in range(one.ns_count)
        ]

    def _fixed_addresses(self, units: I64) -> list[list[int]]:
        """`fixed_name_servers` of several units at once."""
        services = [(one.seed & 0xFFFFFFFF, one.settings) for one in self.services]
        counts = np.array([one.ns_count for _, one in services], np.int64)
        seeds = np.array([seed for seed, _ in services], np.int64)
        shared = np.array([one.ns_shared for _, one in services], bool)
        of = self.unit_service[units]
        domains = np.where(shared[of], 0, self.unit_domain[units] + 1)
        places = np.arange(counts[of].max(initial=0))
        numbers = below(1 << 13, self.seed, 5, 10, seeds[of][:, None], domains[:, None], places)
        rows = zip((plan.INFRASTRUCTURE + numbers).tolist(), counts[of].tolist(), strict=True)
        return [row[:count] for row, count in rows]

    def name_servers(self, unit: int, now_s: float) -> list[str]:
        """Addresses of the name servers of a delegation at a time of the slice, in order."""
        step = int(self.ns_step(np.array([unit]), np.array([now_s]))[0])
        service = self.services[int(self.unit_service[unit])]
        return [plan.text_of(one) for one in self._ns_addresses(service, unit, step, now_s)]


def _held(
    held: dict[tuple[str, int], tuple[int, list[int]]],
    key: tuple[str, int],
    step: int,
    ranked: list[int],
    count: int,
) -> list[int]:
    """Those of the period that are still listed, each in its place; others for those gone."""
    known_step, known = held.get(key, (-1, []))
    if known_step != step:
        known = ranked[:count]
    listed = set(ranked)
    spare = iter([one for one in ranked if one not in known])
    found = [one if one in listed else next(spare, one) for one in known]
    if step >= known_step:
        held[key] = (step, found)
    return found
