#!/usr/bin/env python3
"""Build the example: six hours of DNS at a resolver's client side, with flux in it.

Writes to `examples/out`: `flux-example.pcap`, tables that map its reserved addresses to made-up
networks (`asn.mmdb`, `country.mmdb`), and `labels.json`, the truth. Only addresses of
198.18.0.0/15 (RFC 2544) and names under .test and .example (RFC 6761) appear. The same seed gives
the same bytes.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import netaddr
from mmdb_writer import MMDBWriter

OUT = Path(__file__).parent / "out"
START_S = 1_790_000_000
DURATION_S = 6 * 3600
RESOLVER = IPv4Address("198.19.255.53")
CLIENTS = [IPv4Address("198.19.254.0") + host for host in range(1, 61)]
INFECTED = CLIENTS[:4]
COUNTRIES = ["UA", "RO", "RU", "BR", "MX", "BG", "KR", "CO", "EG", "PL", "US", "DE"]

RRsets = list[dns.rrset.RRset]


@dataclass
class Answer:
    """What an authoritative server says at one moment: rrsets by section, in seconds of TTL."""

    answer: RRsets = field(default_factory=list)
    authority: RRsets = field(default_factory=list)
    additional: RRsets = field(default_factory=list)
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR


@dataclass
class Service:
    """A name, how it answers at a time, how often clients ask, and the truth about it."""

    name: str
    answer: Callable[[float], Answer]
    queries_per_hour: float
    kind: str
    flux: bool = False
    clients: list[IPv4Address] = field(default_factory=lambda: CLIENTS)


def a(name: str, ttl: int, addresses: list[IPv4Address]) -> dns.rrset.RRset:
    """An A rrset."""
    return dns.rrset.from_text(name, ttl, "IN", "A", *map(str, addresses))


class Pool:
    """Agents of which a live list is published; members of the list are replaced over time."""

    def __init__(self, rng: random.Random, n_agents: int, n_live: int, life_s: float) -> None:
        self.rng, self.life_s = rng, life_s
        hosts = rng.sample(range(1, 1 << 16), n_agents)
        self.agents = [IPv4Address("198.18.0.0") + host for host in hosts]
        self.live = rng.sample(self.agents, n_live)
        self.until = [START_S + rng.expovariate(1 / life_s) for _ in self.live]

    def pick(self, now: float, count: int) -> list[IPv4Address]:
        """Some agents of the live list, sorted as real flux answers often are."""
        for place, until in enumerate(self.until):
            if now >= until:
                self.live[place] = self.rng.choice(self.agents)
                self.until[place] = now + self.rng.expovariate(1 / self.life_s)
        return sorted(self.rng.sample(self.live, count))


def static_ns(zone: str, address: IPv4Address) -> tuple[RRsets, RRsets]:
    """Authority and additional sections of a zone with two fixed name servers."""
    hosts = [f"ns{number}.{zone}" for number in (1, 2)]
    glue = [a(host, 86_400, [address + number]) for number, host in enumerate(hosts)]
    return [dns.rrset.from_text(zone, 86_400, "IN", "NS", *hosts)], glue


def single_flux(rng: random.Random, name: str, zone: str) -> Callable[[float], Answer]:
    """Ten agents per answer, TTL 300 s; fixed name servers."""
    pool = Pool(rng, 1_000, 40, 4 * 3600)
    authority, glue = static_ns(zone, IPv4Address("198.19.10.10"))
    return lambda now: Answer([a(name, 300, pool.pick(now, 10))], authority, glue)


def rotating_ns(rng: random.Random, zone: str) -> Callable[[float], tuple[RRsets, RRsets]]:
    """Name servers whose addresses are agents, new ones every ten minutes or so."""
    pool = Pool(rng, 600, 20, 1800)

    def sections(now: float) -> tuple[RRsets, RRsets]:
        generation = int(now - START_S) // 7200
        hosts = [f"ns{generation * 2 + number}.{zone}" for number in range(4)]
        glue = [a(host, 600, pool.pick(now, 1)) for host in hosts]
        return [dns.rrset.from_text(zone, 600, "IN", "NS", *hosts)], glue

    return sections


def double_flux(rng: random.Random, name: str, zone: str) -> Callable[[float], Answer]:
    """Agents answer for the web and for DNS."""
    pool, ns = Pool(rng, 1_000, 40, 4 * 3600), rotating_ns(rng, zone)
    return lambda now: Answer([a(name, 180, pool.pick(now, 8))], *ns(now))


def ns_flux(rng: random.Random, name: str, zone: str) -> Callable[[float], Answer]:
    """One fixed web address; only the name servers move."""
    ns = rotating_ns(rng, zone)
    web = [a(name, 300, [IPv4Address("198.19.77.7")])]
    return lambda now: Answer(web, *ns(now))


def cdn(rng: random.Random, name: str) -> Callable[[float], Answer]:
    """A CNAME to an edge with two of 24 addresses of one network, TTL 20 s."""
    edge = "e1234.edge.example."
    alias = dns.rrset.from_text(name, 900, "IN", "CNAME", edge)
    addresses = [IPv4Address("198.19.20.1") + host for host in range(24)]
    return lambda now: Answer([alias, a(edge, 20, rng.sample(addresses, 2))])


def pool_of_volunteers(rng: random.Random, name: str, zone: str) -> Callable[[float], Answer]:
    """Four of 200 long-lived servers in many networks, TTL 130 s."""
    servers = [IPv4Address("198.18.0.0") + host for host in rng.sample(range(1, 1 << 16), 200)]
    authority, glue = static_ns(zone, IPv4Address("198.19.40.10"))
    return lambda now: Answer([a(name, 130, rng.sample(servers, 4))], authority, glue)


def some_of(
    rng: random.Random, name: str, first: str, n: int, k: int, ttl: int
) -> Callable[[float], Answer]:
    """k of n addresses that follow each other in one network: round robin, cloud, static."""
    addresses = [IPv4Address(first) + host for host in range(n)]
    return lambda now: Answer([a(name, ttl, rng.sample(addresses, k))])


def dynamic_dns(name: str) -> Callable[[float], Answer]:
    """One address at a time; it changes once."""
    before, after = IPv4Address("198.18.90.9"), IPv4Address("198.18.90.201")
    change = START_S + DURATION_S / 2
    return lambda now: Answer([a(name, 60, [before if now < change else after])])


def services(rng: random.Random) -> Iterator[Service]:
    """Everything that is asked for."""
    yield Service("shop.pills.test.", single_flux(rng, "shop.pills.test.", "pills.test."),
                  40, "single_flux", True)  # fmt: skip
    yield Service("c2.mother.test.", double_flux(rng, "c2.mother.test.", "mother.test."),
                  30, "double_flux", True, INFECTED)  # fmt: skip
    yield Service("www.quiet.test.", ns_flux(rng, "www.quiet.test.", "quiet.test."),
                  30, "ns_flux", True)  # fmt: skip
    yield Service("www.news.example.", cdn(rng, "www.news.example."), 200, "cdn")
    yield Service("pool.time.example.", pool_of_volunteers(rng, "pool.time.example.",
                  "time.example."), 60, "volunteer_pool")  # fmt: skip
    robin, cloud = "www.robin.example.", "api.cloud.example."
    yield Service(robin, some_of(rng, robin, "198.19.30.1", 4, 4, 300), 60, "round_robin")
    yield Service(cloud, some_of(rng, cloud, "198.19.31.1", 40, 1, 60), 120, "cloud_api")
    yield Service("home.dyn.example.", dynamic_dns("home.dyn.example."), 20, "dynamic_dns")
    yield Service("gone.example.", lambda now: Answer(rcode=dns.rcode.NXDOMAIN), 20, "nxdomain")
    yield Service("broken.example.", lambda now: Answer(rcode=dns.rcode.SERVFAIL), 10, "servfail")
    for rank in range(1, 151):
        name, first = f"www.site{rank}.example.", f"198.19.{50 + rank}.80"
        yield Service(name, some_of(rng, name, first, 1, 1, 3600), 100 / rank, "static")


class Cache:
    """The resolver: answers are fetched when the shortest TTL is over, and age until then."""

    def __init__(self, service: Service) -> None:
        self.service, self.fetched, self.content = service, 0.0, Answer()
        self.expires = 0.0

    def ask(self, now: float) -> Answer:
        """The answer a client gets: TTLs count down."""
        if now >= self.expires:
            self.fetched, self.content = now, self.service.answer(now)
            self.expires = now + min((rrset.ttl for rrset in self.content.answer), default=60)
        age = int(now) - int(self.fetched)
        aged = Answer(rcode=self.content.rcode)
        for section in ("answer", "authority", "additional"):
            for rrset in getattr(self.content, section):
                copy = rrset.copy()
                copy.ttl = max(0, rrset.ttl - age)
                getattr(aged, section).append(copy)
        return aged


def questions(rng: random.Random, service: Service) -> Iterator[tuple[float, Service]]:
    """Times at which somebody asks, as a Poisson process."""
    now = START_S + rng.expovariate(service.queries_per_hour / 3600)
    while now < START_S + DURATION_S:
        yield now, service
        now += rng.expovariate(service.queries_per_hour / 3600)


def frame(
    source: IPv4Address, destination: IPv4Address, ports: tuple[int, int], body: bytes
) -> bytes:
    """Ethernet, IPv4 and UDP around a DNS message (checksum 0: none, RFC 768)."""
    udp = struct.pack(">HHHH", *ports, 8 + len(body), 0) + body
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0,
                     source.packed, destination.packed)  # fmt: skip
    return b"\x02" * 12 + b"\x08\x00" + ip + udp


def packets(rng: random.Random, everything: list[Service]) -> Iterator[tuple[float, bytes]]:
    """Query and response of every question, in order of time."""
    caches = {service.name: Cache(service) for service in everything}
    streams = [questions(random.Random(rng.random()), service) for service in everything]
    for now, service in heapq.merge(*streams, key=lambda event: event[0]):
        client, port = rng.choice(service.clients), rng.randrange(1024, 65_536)
        query = dns.message.make_query(service.name, "A", id=rng.randrange(65_536))
        yield now, frame(client, RESOLVER, (port, 53), query.to_wire())
        answer = caches[service.name].ask(now)
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(answer.rcode)
        response.answer, response.authority = answer.answer, answer.authority
        response.additional = answer.additional
        yield now + 0.002, frame(RESOLVER, client, (53, port), response.to_wire())


def write_pcap(path: Path, stream: Iterator[tuple[float, bytes]]) -> int:
    """A classic pcap file with microseconds; returns the number of packets."""
    count = 0
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        for time_s, data in stream:
            seconds, micros = divmod(round(time_s * 1_000_000), 1_000_000)
            out.write(struct.pack("<IIII", seconds, micros, len(data), len(data)) + data)
            count += 1
    return count


def write_tables(rng: random.Random) -> None:
    """Map every /24 of the lab's range to a made-up AS and country; few ASes hold many."""
    asns = [*range(64_496, 64_512), *range(65_536, 65_552), *range(4_200_000_000, 4_200_000_168)]
    weights = [1 / (rank + 5) for rank in range(len(asns))]
    asn_table, country_table = MMDBWriter(), MMDBWriter()
    for third in itertools.chain(range(256), range(256, 512)):
        network = netaddr.IPSet([f"198.{18 + third // 256}.{third % 256}.0/24"])
        asn = rng.choices(asns, weights)[0]
        record = {
            "autonomous_system_number": asn,
            "autonomous_system_organization": f"Lab Network {asn}",
        }
        asn_table.insert_network(network, record)
        country_table.insert_network(network, {"country_code": COUNTRIES[asn % len(COUNTRIES)]})
    asn_table.to_db_file(str(OUT / "asn.mmdb"))
    country_table.to_db_file(str(OUT / "country.mmdb"))


def main() -> None:
    """Write all files."""
    OUT.mkdir(exist_ok=True)
    rng = random.Random(2026)
    write_tables(rng)
    everything = list(services(rng))
    count = write_pcap(OUT / "flux-example.pcap", packets(rng, everything))
    labels = {
        service.name.rstrip("."): {"flux": service.flux, "kind": service.kind}
        for service in everything
    }
    (OUT / "labels.json").write_text(json.dumps({"names": labels}, indent=1) + "\n")
    print(f"wrote {count} packets to {OUT / 'flux-example.pcap'}")


if __name__ == "__main__":
    main()
