"""The whole emulated Internet of a scenario: names, zones, servers, and what they answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

import numpy as np
import numpy.typing as npt

from unflux.lab.model import plan
from unflux.lab.model.hashing import below, below_one, mix, mix_one, uniform
from unflux.lab.model.name_servers import NameServers
from unflux.lab.model.services import BOGONS, Addresses, Picked, Service, Settings
from unflux.lab.model.store import (
    ADDITIONAL,
    ANSWER,
    AUTHORITY,
    Record,
    Versions,
    Words,
    rows_of,
)

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

ADDRESSES, ALIAS, NO_DATA, NO_NAME, DELEGATION = range(5)
"""What a unit is: the things that a resolver caches one by one."""

RCODES = ("NOERROR", "SERVFAIL", "NXDOMAIN")
NEGATIVE_TTL_S = 900
"""SOA minimum of every zone (RFC 2308 §5 recommends one to three hours; operators use less)."""
MAX_ALIASES = 3
"""CNAMEs in a row in front of a name (`unflux.lab.scenarios.MAX_LIST`)."""
MAX_PASSING = 20_000
"""Texts of which there is no end that are kept before it is looked which are still in use."""
BOGON_NETWORKS = [ip_network(one) for one in BOGONS]
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
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """`part`, such as (1, 3): draw names that worlds of parts (0, 3) and (2, 3) never do."""
        self.seed, self.start_s = seed, start_s
        ends = SYLLABLES[part[0] :: part[1]]
        self._last_syllables = [ends[place % len(ends)] for place in range(len(SYLLABLES))]
        """Labels are read in one way only, so parts that end in other syllables share none."""
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
        self._rdata_of: dict[int, int] = {}
        """Numbers in `rdata` of IPv6 addresses."""
        self._passing: set[int] = set()
        """Numbers in `rdata` of texts of which there is no end: hints, decoys, IPv6 addresses."""
        self._rdata_of_v4 = np.full(plan.LAB_V4.num_addresses, -1, np.int64)
        """The same of IPv4 addresses, by their place in the lab's network; -1: none yet."""
        self._servers: dict[int, tuple[I64, I64]] = {}
        """Hosts and rdata of the name servers that a service has for all its domains."""
        self._targets: dict[int, list[int]] = {}
        self._taken = {settings.apex for _, settings in services if settings.apex}
        self._homes: dict[str, str] = {}
        """Where the name servers of a service have their names, by service."""
        self.hidden = plan.hidden_servers(
            {
                number: settings.back_ends
                for number, (_, settings) in enumerate(services)
                if settings.flux
            }
        )
        """Motherships and further back ends of flux networks, by service; the mothership first."""
        self.name_servers = {
            number: NameServers(service, start_s + 3600 * service.settings.ns_from_h)
            for number, service in enumerate(self.services)
            if service.settings.ns == "rotating"
        }
        """Those that move, by service."""
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
        self._soa = np.full(len(zones), -1, np.int64)
        """Rdata of the SOA record, by zone; -1: none yet."""
        self._set_keeping()

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
        self, kind: int, owner: int, service: int, domain: int, zone: int, target: int = 0
    ) -> int:
        self._units.append((kind, owner, service, domain, zone, target))
        return len(self._units) - 1

    def _zone(self, name: str, service: int, domain: int) -> int:
        owner, zone = self.names.number(name), len(self._zones)
        self._zones.append((owner, service, domain))
        if service >= 0:
            self._unit(DELEGATION, owner, service, domain, zone)
        return zone

    def label(self, *keys: int) -> str:
        """A label like any other: flux and plain names are made by the same rule."""
        chance = mix_one(self.seed, 2, *keys)
        chance, n_more = divmod(chance, 4)
        parts = []
        for _ in range(1 + n_more):
            chance, place = divmod(chance, len(SYLLABLES))
            parts.append(SYLLABLES[place])
        return "".join(parts) + self._last_syllables[chance % len(SYLLABLES)]

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
        last = self._last_syllables
        return [
            "".join([SYLLABLES[place] for place in places[: 1 + more]])
            + f"{last[places[1 + more]]}.{TLDS[tld]}"
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
            fqdn = self._new_domain(number, domain, drawn=drawn)
            zone = self._tld_zone[self.tlds.index(fqdn.split(".", 1)[1])]
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
        rdtype, owner = self.rdtypes.number, self.names.number(fqdn)
        if not one.exists:
            unit = self._unit(NO_NAME, owner, number, domain, zone)
            self.questions.append((named, unit, rdtype("A")))
            return
        first = self._chain(owner, number, domain, zone, own_zone) if one.chain else -1
        if first < 0:
            first = self._unit(ADDRESSES, owner, number, domain, zone)
        self.questions.append((named, first, rdtype(one.rdtype)))
        if one.rdtype == "MX" and not one.chain:  # who sends mail asks for the first exchange
            hosts = [self.names.number(exchange(place, fqdn)) for place in range(one.k)]
            exchanges = [
                self._unit(ADDRESSES, host, number, domain, zone, -2 - place)
                for place, host in enumerate(hosts)
            ]
            self.questions.append((named, exchanges[0], rdtype("A")))
        elif one.rdtype == "HTTPS":  # browsers ask for both; the addresses are the same hosts
            unit = self._unit(ADDRESSES, owner, number, domain, zone, target=-1)
            self.questions.append((named, unit, rdtype("A")))
        elif not one.chain:
            other = "AAAA" if one.rdtype == "A" else "A"
            unit = self._unit(NO_DATA, owner, number, domain, zone)
            self.questions.append((named, unit, rdtype(other)))

    def _chain(self, owner: int, number: int, domain: int, zone: int, own_zone: int) -> int:
        """CNAMEs from the domain into the operator's own zone, to one of several targets."""
        one = self.services[number].settings
        edge = self.names.texts[self._zones[own_zone][0]]
        label = self.label(number, domain, 8)
        hosts = [self.names.number(f"{label}.e{target}.{edge}") for target in range(one.targets)]
        ends = [
            self._unit(ADDRESSES, host, number, domain, own_zone, target)
            for target, host in enumerate(hosts)
        ]
        for place in range(len(one.chain) - 1, 0, -1):
            host = self.names.number(f"{label}.a{place}.{edge}")
            alias = self._unit(ALIAS, host, number, domain, own_zone, place)
            self._targets[alias] = ends
            ends = [alias]
        first = self._unit(ALIAS, owner, number, domain, zone, 0)
        self._targets[first] = ends
        return first

    # Time

    def advance(self, from_s: float, to_s: float) -> None:
        """Let all hosts live through a slice of time."""
        for service in self.services:
            service.advance(from_s, to_s)
        for one in self.name_servers.values():
            one.advance(from_s, to_s)

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

    def _set_keeping(self) -> None:
        """How long caches keep what each unit answers while its service is there and well."""
        every = [one.settings for one in self.services]
        of = np.maximum(self.unit_service, 0)
        ttl_s = np.array([one.ttl_s for one in every], float)[of]
        delegation_s = np.array([one.delegation_ttl_s for one in every], float)[of]
        chains = np.zeros((len(every), MAX_ALIASES))
        for number, one in enumerate(every):
            chains[number, : len(one.chain)] = one.chain
        alias_s = chains[of, np.clip(self.unit_target, 0, MAX_ALIASES - 1)]
        kinds = [self.unit_kind == kind for kind in (ADDRESSES, ALIAS, DELEGATION)]
        self._kept_s = np.select(kinds, [ttl_s, alias_s, delegation_s], float(NEGATIVE_TTL_S))
        fail = np.array([one.failure_ratio for one in every])
        self._fails = np.where(kinds[0], fail[of], 0.0)
        """Share of queries that fail."""
        self._ends_s = self.start_s + 3600 * np.array([one.end_h or np.inf for one in every])[of]
        self._ends_s[~kinds[0]] = np.inf
        self._seeds = np.array([one.seed for one in self.services], np.int64)
        rotates = np.array([one.ns == "rotating" for one in every])
        from_s = self.start_s + 3600 * np.array([one.ns_from_h for one in every])
        self._ns_from_s = np.where(rotates, from_s, np.inf)
        self._ns_period_s = np.array([one.ns_period_s for one in every])

    def keep_s(self, units: I64, times: F64) -> F64:
        """How long caches keep what is fetched: what `fetch` says, before anything is made."""
        kept: F64 = self._kept_s[units]
        kept[times >= self._ends_s[units]] = NEGATIVE_TTL_S
        kept[self._has_failed(units, times)] = 0.0
        return kept

    def _has_failed(self, units: I64, times: F64) -> npt.NDArray[np.bool_]:
        """Which queries for addresses get no answer but SERVFAIL."""
        failed = self._fails[units] > 0
        mine = np.flatnonzero(failed)
        if len(mine):
            seeds = self._seeds[self.unit_service[units[mine]]]
            chance = uniform(seeds, 201, units[mine], (times[mine] * 1e3).astype(np.int64))
            failed[mine] = chance < self._fails[units[mine]]
        return failed

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
        life = self.life_of(one, times)
        order = np.lexsort((life, steps, units))
        keys = np.stack([units, steps, life])[:, order]
        is_new = np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)]
        first = order[is_new]
        made = self._made_once(service, units[first], steps[first], life[first], times[first])
        versions = np.empty(len(units), np.int64)
        versions[order] = made[np.cumsum(is_new) - 1]
        if one.failure_ratio:
            failed = self._has_failed(units, times)
            if failed.any():
                versions[failed] = self._failure()
        return versions

    def _made_once(self, service: Service, units: I64, steps: I64, life: I64, times: F64) -> I64:
        """`_made` of what is asked for the first time; `life` as `life_of` tells it."""
        made = np.full(len(units), -1, np.int64)
        for place in np.flatnonzero(life == 2).tolist():
            made[place] = self._negative(int(units[place]), "NXDOMAIN")
        for place in np.flatnonzero(life == 0).tolist():
            where = np.array([place])
            picked = self.chosen(service, units[where], steps[where], life[where], times[where])
            made[where] = self._address_made(service, units[where], steps[where], *picked)
        alive = np.flatnonzero(made < 0)
        if len(alive):
            units, steps = units[alive], steps[alive]
            picked = self.chosen(service, units, steps, life[alive], times[alive])
            made[alive] = self._address_made(service, units, steps, *picked)
        return made

    def chosen(self, service: Service, units: I64, steps: I64, life: I64, times: F64) -> Picked:
        """The addresses of units at their steps, before decoys: for answers and for the truth.

        `life` is as `life_of` tells it: none after the end, and one parked address before the
        start, as registrars and waiting operators have.
        """
        one = service.settings
        kind = object if one.rdtype == "AAAA" else np.int64
        alive = np.flatnonzero(life == 1)
        count, found = np.where(life == 0, 1, 0), np.zeros(0, kind)
        if len(alive):
            groups = self._groups(service, units[alive])
            domains = self.unit_domain[units[alive]]
            picked = service.pick(domains, groups, steps[alive], times[alive], one.k)
            if len(alive) == len(units):
                return picked
            count[alive], found = picked
        parked = self._infrastructure(9, service.seed)
        if one.rdtype == "AAAA":
            parked += int(plan.LAB_V6[0])
        addresses = np.full(count.sum(), parked, kind)
        addresses[np.repeat(life == 1, count)] = found
        return Picked(count, addresses)

    def life_of(self, one: Settings, times: F64) -> I64:
        """0 before a service starts, 1 while it is there, 2 after its end."""
        hours = times / 3600 - self.start_s / 3600
        after = (hours >= one.end_h) if one.end_h else np.zeros(len(times), bool)
        return np.where(after, 2, np.where(hours < one.start_h, 0, 1)).astype(np.int64)

    def _groups(self, service: Service, units: I64) -> I64:
        if service.settings.targets > 1:
            targets: I64 = np.maximum(self.unit_target[units], 0)
            return targets
        return service.group_of(self.unit_domain[units])

    def _address_made(
        self, service: Service, units: I64, steps: I64, count: I64, addresses: Addresses
    ) -> I64:
        """Versions with the addresses of units at their steps, one after the other."""
        one = service.settings
        rdata = self.numbers_of(addresses)
        for row, text in self.decoys(service, units, steps, count):
            rdata[row] = self._passing_number(text)
        if one.rdtype == "MX":
            return self._exchanges(one, units, count, rdata)
        rdtype = np.full(len(units), self.rdtypes.number(one.rdtype))
        if one.rdtype == "HTTPS":
            rdtype[self.unit_target[units] == -1] = self.rdtypes.number("A")
            count, rdata = self._with_hints(rdtype == self.rdtypes.number("HTTPS"), count, rdata)
        return self.versions.add_many(
            count,
            one.ttl_s,
            section=ANSWER,
            owner=np.repeat(self.unit_owner[units], count),
            rdtype=np.repeat(rdtype, count),
            ttl_s=one.ttl_s,
            rdata=rdata,
        )

    def rdtype_of(self, unit: int) -> str:
        """The type of the records that a unit with addresses has."""
        rdtype = self.services[int(self.unit_service[unit])].settings.rdtype
        if rdtype == "MX":
            return "A" if self.unit_target[unit] <= -2 else rdtype
        return "A" if rdtype == "HTTPS" and self.unit_target[unit] == -1 else rdtype

    def _exchanges(self, one: Settings, units: I64, count: I64, rdata: I64) -> I64:
        """MX records with the addresses of their exchanges; or the address of one of those."""
        mx, a = self.rdtypes.number("MX"), self.rdtypes.number("A")
        ends = np.cumsum(count)
        made = []
        rows = zip(units.tolist(), (ends - count).tolist(), ends.tolist(), strict=True)
        for unit, start, end in rows:
            owner, numbers = int(self.unit_owner[unit]), rdata[start:end].tolist()
            place = -2 - int(self.unit_target[unit])
            if place >= 0:
                found = numbers[place : place + 1]
                made.append([Record(ANSWER, owner, a, one.ttl_s, number) for number in found])
                continue
            answers, glue = [], []
            for place, number in enumerate(numbers):
                host = exchange(place, self.names.texts[owner])
                text = self.rdata.number(preference(place, host))
                answers.append(Record(ANSWER, owner, mx, one.ttl_s, text))
                glue.append(Record(ADDITIONAL, self.names.number(host), a, one.ttl_s, number))
            made.append([*answers, *glue])
        return np.array([self.versions.add(records, one.ttl_s) for records in made], np.int64)

    def _with_hints(
        self, is_https: npt.NDArray[np.bool_], count: I64, rdata: I64
    ) -> tuple[I64, I64]:
        """One HTTPS record, whose hints are the addresses, in place of them; none without any."""
        ends = np.cumsum(count)
        records: list[int] = []
        rows = zip(is_https.tolist(), (ends - count).tolist(), ends.tolist(), strict=True)
        for hinted, start, end in rows:
            numbers = rdata[start:end].tolist()
            if hinted and numbers:
                text = with_hints([self.rdata.texts[one] for one in numbers])
                numbers = [self._passing_number(text)]
            records += numbers
        return np.where(is_https, np.minimum(count, 1), count), np.array(records, np.int64)

    def numbers_of(self, addresses: Addresses) -> I64:
        """The numbers in `rdata` of addresses."""
        if addresses.dtype == object:
            return np.array([self._address(one) for one in addresses.tolist()], np.int64)
        places = addresses - int(plan.LAB_V4[0])
        found: I64 = self._rdata_of_v4[places]
        missing = places[found < 0]
        if len(missing):
            for place in dict.fromkeys(missing.tolist()):
                text = plan.text_of(int(plan.LAB_V4[0]) + place)
                self._rdata_of_v4[place] = self.rdata.number(text)
            found = self._rdata_of_v4[places]
        return found

    def _address(self, address: int) -> int:
        """The number in `rdata` of an IPv6 address."""
        number = self._rdata_of.get(address)
        if number is None:
            number = self._rdata_of[address] = self._passing_number(plan.text_of(address))
        return number

    def _passing_number(self, text: str) -> int:
        number = self.rdata.number(text)
        self._passing.add(number)
        return number

    def decoys(
        self, service: Service, units: I64, steps: I64, count: I64
    ) -> Iterator[tuple[int, str]]:
        """(place among the addresses of all units, what stands there instead) of decoys.

        Some operators mix in addresses that cannot be agents (Akamai 2017).
        """
        ratio = service.settings.bogon_ratio
        if not ratio:
            return
        units, steps = np.repeat(units, count), np.repeat(steps, count)
        places = rows_of(0 * count, count)
        chosen = np.flatnonzero(uniform(service.seed, 202, units, steps, places) < ratio)
        for row in chosen.tolist():
            where = int(units[row]), int(steps[row]), int(places[row])
            network = BOGON_NETWORKS[below_one(len(BOGONS), service.seed, 203, *where)]
            offset = below_one(network.num_addresses - 2, service.seed, 204, *where)
            yield row, str(network[offset + 1])

    def _alias_versions(self, units: I64, times: F64) -> I64:
        made: dict[tuple[int, int], int] = {}
        found = []
        for unit, now_s in zip(units.tolist(), times.tolist(), strict=True):
            service = self.services[int(self.unit_service[unit])]
            one = service.settings
            ends = self._targets[unit]
            place = self._alias_place(unit, now_s)
            if (unit, place) not in made:
                made[unit, place] = self._alias(unit, ends[place], one)
            found.append(made[unit, place])
        return np.array(found, np.int64)

    def _alias_place(self, unit: int, now_s: float) -> int:
        """To which of its ends an alias leads at a time."""
        ends, service = self._targets[unit], self.services[int(self.unit_service[unit])]
        if len(ends) == 1:
            return 0
        switch_s = service.settings.switch_s
        step = int(now_s // switch_s) if switch_s else 0
        return below_one(len(ends), service.seed, 205, unit, step)

    def alias_target(self, unit: int, now_s: float) -> int:
        """The unit to which an alias leads at a time."""
        return self._targets[unit][self._alias_place(unit, now_s)]

    def _alias(self, unit: int, target: int, one: Settings) -> int:
        ttl_s = one.chain[int(self.unit_target[unit])]
        text = self.names.texts[int(self.unit_owner[target])]
        record = Record(
            ANSWER, int(self.unit_owner[unit]), self.rdtypes.number("CNAME"), ttl_s,
            self.rdata.number(text),
        )  # fmt: skip
        return self.versions.add([record], ttl_s, next_unit=target)

    def _negative_versions(self, units: I64, times: F64) -> I64:
        known: I64 = self._still[units]
        new = np.unique(units[known < 0])
        if len(new):
            for kind, rcode in ((NO_NAME, "NXDOMAIN"), (NO_DATA, "NOERROR")):
                mine = new[self.unit_kind[new] == kind]
                self._still[mine] = self._negatives(mine, rcode)
            known = self._still[units]
        return known

    def _negatives(self, units: I64, rcode: str) -> I64:
        """The SOA record of each unit's zone, in the authority section (RFC 2308)."""
        zones = self.unit_zone[units]
        for zone in dict.fromkeys(zones[self._soa[zones] < 0].tolist()):
            name = self.names.texts[self.zone_name[zone]]
            soa = f"ns1.{name} hostmaster.{name} 1 7200 3600 1209600 {NEGATIVE_TTL_S}"
            self._soa[zone] = self.rdata.number(soa)
        return self.versions.add_many(
            np.ones(len(units), np.int64),
            NEGATIVE_TTL_S,
            section=AUTHORITY,
            owner=self.zone_name[zones],
            rdtype=self.rdtypes.number("SOA"),
            ttl_s=NEGATIVE_TTL_S,
            rdata=self._soa[zones],
            rcode=RCODES.index(rcode),
        )

    def _negative(self, unit: int, rcode: str) -> int:
        return int(self._negatives(np.array([unit]), rcode)[0])

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
        if len(self._passing) > MAX_PASSING:
            self._release()
        return moved

    def _release(self) -> None:
        """Forget texts that no version has any more."""
        every = np.arange(len(self.versions.rdata))
        gone = self._passing - set(self.versions.records("rdata", every).tolist())
        self._passing -= gone
        self._rdata_of = {
            key: number for key, number in self._rdata_of.items() if number not in gone
        }
        self.rdata.release(sorted(gone))

    # Name servers

    def _infrastructure(self, *keys: int) -> int:
        """An address of the lab's own network, for fixed servers."""
        drawn = below_one(plan.N_SERVERS, self.seed, 5, *keys)
        return plan.INFRASTRUCTURE + drawn + plan.N_RESERVED * (drawn < plan.N_RESERVED)

    def ns_step(self, units: I64, times: F64) -> I64:
        """In which period each delegation unit is; 0 while its name servers do not move."""
        moving = np.flatnonzero(times >= self._ns_from_s[self.unit_service[units]])
        found = np.zeros(len(units), np.int64)
        found[moving] = times[moving] // self._ns_period_s[self.unit_service[units[moving]]]
        return found

    def _delegation_versions(self, units: I64, times: F64) -> I64:
        is_moving = times >= self._ns_from_s[self.unit_service[units]]
        fixed = units[~is_moving]
        self._make_fixed(np.unique(fixed[self._still[fixed] < 0]))
        found: I64 = self._still[units]
        made: dict[tuple[int, float], int] = {}
        for place in np.flatnonzero(is_moving).tolist():
            unit = int(units[place])
            since_s, step, addresses = self._serving(unit, float(times[place]))
            if (unit, since_s) not in made:
                made[unit, since_s] = self._delegation(unit, step, addresses)
            found[place] = made[unit, since_s]
        return found

    def _serving(self, unit: int, now_s: float) -> tuple[float, int, list[int]]:
        """(Since when, in which period, name servers) of a delegation that moves."""
        number = int(self.unit_service[unit])
        found = self.name_servers[number].at(int(self.unit_domain[unit]), now_s)
        if found is None:
            raise ValueError(f"{now_s} is not in the slice of time at hand: call advance first")
        return found

    def _make_fixed(self, units: I64) -> None:
        """Delegations to name servers that do not rotate, which most zones have."""
        services = self.unit_service[units]
        for number in np.unique(services).tolist():
            service, mine = self.services[number], units[services == number]
            n = service.settings.ns_count
            if service.settings.ns_shared:
                hosts, rdata = self._shared_servers(number, int(mine[0]))
                hosts, rdata = np.tile(hosts, len(mine)), np.tile(rdata, len(mine))
            else:
                apexes = [self.names.texts[owner] for owner in self.unit_owner[mine].tolist()]
                texts = [f"ns{place + 1}.{apex}" for apex in apexes for place in range(n)]
                hosts = np.array([self.names.number(text) for text in texts])
                targets = np.array([self.rdata.number(text) for text in texts])
                glue = self.numbers_of(self._fixed_addresses(mine).ravel())
                rdata = np.concatenate([targets.reshape(-1, n), glue.reshape(-1, n)], axis=1)
            self._still[mine] = self._referrals(service.settings, mine, hosts, rdata.ravel())

    def _referrals(self, one: Settings, units: I64, hosts: I64, rdata: I64, glue: str = "A") -> I64:
        """Versions with NS records and the addresses of their hosts, of the type `glue`.

        `rdata` has of each unit first the names of its hosts, and then their addresses.
        """
        n = len(hosts) // len(units)
        owners = np.repeat(self.unit_owner[units], n).reshape(-1, n)
        rdtypes = [self.rdtypes.number("NS"), self.rdtypes.number(glue)]
        return self.versions.add_many(
            np.full(len(units), 2 * n),
            one.delegation_ttl_s,
            section=np.tile(np.repeat([AUTHORITY, ADDITIONAL], n), len(units)),
            owner=np.concatenate([owners, hosts.reshape(-1, n)], axis=1).ravel(),
            rdtype=np.tile(np.repeat(rdtypes, n), len(units)),
            ttl_s=one.ns_ttl_s,
            rdata=rdata,
        )

    def _shared_servers(self, number: int, unit: int) -> tuple[I64, I64]:
        """Hosts and rdata of the name servers that a service has for all its domains."""
        known = self._servers.get(number)
        if known is None:
            service = self.services[number]
            home = self.home_of_name_servers(service, "")
            texts = [f"ns{place + 1}.{home}" for place in range(service.settings.ns_count)]
            hosts = np.array([self.names.number(text) for text in texts])
            targets = np.array([self.rdata.number(text) for text in texts])
            glue = self.numbers_of(self._fixed_addresses(np.array([unit])).ravel())
            known = self._servers[number] = hosts, np.concatenate([targets, glue])
        return known

    def _delegation(self, unit: int, step: int, addresses: list[int]) -> int:
        """A version of a delegation that moves, in a period."""
        number = int(self.unit_service[unit])
        service = self.services[number]
        home = self.home_of_name_servers(service, self.names.texts[int(self.unit_owner[unit])])
        texts = []
        for place in range(len(addresses)):
            label = f"ns{place + 1}"
            if service.settings.ns_rename:
                label = f"ns{below_one(9000, service.seed, 206, unit, step, place) + 1000}"
            texts.append(f"{label}.{home}")
        hosts = np.array([self.names.number(text) for text in texts], np.int64)
        targets = np.array([self.rdata.number(text) for text in texts], np.int64)
        v6 = service.settings.rdtype == "AAAA"  # its agents have no other addresses
        glue = self.numbers_of(np.array(addresses, object if v6 else np.int64))
        where = np.array([unit]), hosts, np.concatenate([targets, glue])
        return int(self._referrals(service.settings, *where, "AAAA" if v6 else "A")[0])

    def home_of_name_servers(self, service: Service, apex: str) -> str:
        """Whose name servers they are: one operator's for all its domains, or the domain's own."""
        if not service.settings.ns_shared:
            return apex
        if service.name not in self._homes:
            self._homes[service.name] = self._new_domain(service.seed, -2)
        return self._homes[service.name]

    def fixed_name_servers(self, unit: int) -> list[int]:
        """Addresses of the name servers of a delegation unit while they do not rotate."""
        service = self.services[int(self.unit_service[unit])]
        one = service.settings
        domain = 0 if one.ns_shared else int(self.unit_domain[unit]) + 1
        return [
            self._infrastructure(10, service.seed & 0xFFFFFFFF, domain, place)
            for place in range(one.ns_count)
        ]

    def _fixed_addresses(self, units: I64) -> I64:
        """`fixed_name_servers` of several units of one service, a row for each."""
        service = self.services[int(self.unit_service[units[0]])]
        one = service.settings
        domains = 0 * units if one.ns_shared else self.unit_domain[units] + 1
        places = np.arange(one.ns_count)
        drawn = below(
            plan.N_SERVERS, self.seed, 5, 10, service.seed & 0xFFFFFFFF, domains[:, None], places
        )
        return plan.INFRASTRUCTURE + drawn + plan.N_RESERVED * (drawn < plan.N_RESERVED)


def exchange(place: int, fqdn: str) -> str:
    """The name of one of the mail exchanges of a name."""
    return f"mx{place + 1}.{fqdn}"


def preference(place: int, host: str) -> str:
    """The MX record that names an exchange."""
    return f"{10 * (place + 1)} {host}"


def with_hints(addresses: list[str]) -> str:
    """The HTTPS record with addresses as hints."""
    return f'1 . alpn="h2" ipv4hint={",".join(addresses)}'
