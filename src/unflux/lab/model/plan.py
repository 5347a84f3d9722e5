"""The address plan: emulated origin ASes, organisations and countries on reserved addresses.

198.18.0.0/15 is cut into prefixes of 64 addresses. Each belongs to an AS of one kind; AS sizes
follow a Zipf-Mandelbrot law in which the ten largest hold 43.3 % (Holz et al., NDSS 2008: 818 ASes
of 18,214 flux agents). AS numbers are private ones of 32 bits (RFC 6996), because the documentation
range of RFC 5398 has only 32.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unflux.enrich import mmdb

LAB_V4, LAB_V6 = ip_network("198.18.0.0/15"), ip_network("2001:db8::/32")
LAB_SUFFIXES = (".test.", ".example.")
SEALED_SUFFIXES = (*LAB_SUFFIXES, ".ship.")
"""The two walks play `c2.mother.ship.`, a name that only exists in their sealed namespace."""
PREFIX_SIZE = 64
TOP_TEN_SHARE = 0.433
FIRST_ASN = 4_200_000_000
MADE_AT_S = 1_790_000_000
"""Written into the MMDB files: the same plan gives the same bytes."""

COUNTRIES = ("US", "RO", "RU", "PL", "HK", "DE", "UA", "BR", "KR", "MX", "BG", "EG", "CO", "IN",
             "TR", "AR", "IL", "FR", "TW", "CZ", "HU", "KZ", "VN", "ID", "IT", "ES", "GB", "NL",
             "CA", "JP")  # fmt: skip
"""Those that FluXOR (fig. 4), Holz et al. and reports of 2026 name first, then others."""

KINDS = {"access": (140, 1160), "hosting": (40, 380), "cdn": (6, 120), "cloud": (4, 124)}
"""Number of ASes and of prefixes per kind; what is left is the lab's own infrastructure."""
INFRASTRUCTURE = int(ip_address("198.19.192.0"))
"""From here on, one AS of its own: 8,192 addresses for fixed servers, and as many for hosts."""
ROOT_SERVER, TLD_SERVER = INFRASTRUCTURE + 1, INFRASTRUCTURE + 53
"""One host serves all top-level domains."""
N_RESERVED, N_SERVERS = 64, 1 << 13
"""Fixed servers are drawn from the 8,192 addresses, but not from the first 64."""
CLIENTS_FROM = INFRASTRUCTURE + N_SERVERS
"""Hosts: clients count upwards from here; resolvers, the sinkhole and hidden servers are at the
end, those from the end downwards."""
N_HOSTS, N_RESOLVERS = 1 << 13, 64
RESOLVERS_FROM = CLIENTS_FROM + N_HOSTS - N_RESOLVERS
SINKHOLE = RESOLVERS_FROM - 1
"""Where defenders send a seized domain: a harmless server of their own."""


@dataclass(frozen=True, slots=True)
class AutonomousSystem:
    """An emulated network operator."""

    asn: int
    organisation: str
    country: str
    kind: str
    prefixes: tuple[int, ...]
    """First addresses of its prefixes of `PREFIX_SIZE`."""
    v6: int
    """First address of its IPv6 /48."""


def hidden_servers(back_ends: dict[int, int]) -> dict[int, list[int]]:
    """Addresses of motherships and further back ends, by service: no answer ever holds them.

    `back_ends` says how many each flux network has, its mothership included.
    """
    if hosts_left(0, sum(back_ends.values())) < 0:
        raise ValueError(f"hidden servers have {SINKHOLE - CLIENTS_FROM} addresses at most")
    free = iter(range(SINKHOLE - 1, CLIENTS_FROM - 1, -1))
    return {number: [next(free) for _ in range(n)] for number, n in back_ends.items()}


def hosts_left(n_clients: int, n_hidden: int) -> int:
    """How many addresses for hosts nobody has; below 0, the plan does not hold them all."""
    return SINKHOLE - CLIENTS_FROM - n_clients - n_hidden


@functools.cache
def plan() -> tuple[AutonomousSystem, ...]:
    """All ASes, always the same."""
    starts = list(range(int(LAB_V4[0]), INFRASTRUCTURE, PREFIX_SIZE))
    order = np.random.default_rng(15).permutation(len(starts))
    taken = 0
    systems: list[AutonomousSystem] = []
    for kind, (n_systems, n_prefixes) in KINDS.items():
        for rank, share in enumerate(_sizes(n_systems, n_prefixes)):
            number = len(systems)
            prefixes = tuple(sorted(starts[place] for place in order[taken : taken + share]))
            taken += share
            systems.append(
                AutonomousSystem(
                    FIRST_ASN + number,
                    f"Lab {kind} network {rank + 1}",
                    COUNTRIES[(number * 7 + rank) % len(COUNTRIES)],
                    kind,
                    prefixes,
                    int(LAB_V6[0]) + (number + 1 << 80),
                )
            )
    return tuple(systems)


def _sizes(n: int, total: int) -> list[int]:
    """How many of `total` prefixes each of `n` ASes has; at least one."""
    weights = 1 / np.arange(1, n + 1) if n <= 10 else zipf_weights(n)
    sizes = np.maximum(1, np.floor(weights / weights.sum() * (total - n)).astype(int) + 1)
    sizes[0] += total - sizes.sum()
    return [int(size) for size in sizes]


@functools.cache
def zipf_weights(n: int) -> npt.NDArray[np.float64]:
    """Shares of `n` ASes, largest first, of which ten hold `TOP_TEN_SHARE`."""
    low, high = 0.0, 3.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        weights = 1 / np.arange(1, n + 1) ** middle
        if weights[:10].sum() / weights.sum() < TOP_TEN_SHARE:
            low = middle
        else:
            high = middle
    weights = 1 / np.arange(1, n + 1) ** high
    return np.asarray(weights / weights.sum())


def of_kind(*kinds: str) -> list[AutonomousSystem]:
    """The ASes of some kinds, largest first within each kind."""
    return [system for system in plan() if system.kind in kinds]


def write_tables(directory: Path) -> None:
    """Write ``asn.mmdb`` and ``country.mmdb``, for --asn-db and --country-db."""
    ranges: list[tuple[int, int, str, int, str]] = []
    for one in plan():
        for first in one.prefixes:
            last = first + PREFIX_SIZE - 1
            ranges.append((first, last, one.organisation, one.asn, one.country))
        ranges.append((one.v6, one.v6 + 2**80 - 1, one.organisation, one.asn, one.country))
    own = ("Lab infrastructure", FIRST_ASN + len(plan()), "DE")
    used = {first for one in plan() for first in one.prefixes}
    for first in range(int(LAB_V4[0]), int(LAB_V4[-1]) + 1, PREFIX_SIZE):
        if first not in used:
            ranges.append((first, first + PREFIX_SIZE - 1, *own))
    ranges.append((int(LAB_V6[0]), int(LAB_V6[0]) + 2**80 - 1, *own))
    ranges.sort()
    asn: list[mmdb.Range] = [
        (first, last, {"autonomous_system_number": number, "autonomous_system_organization": name})
        for first, last, name, number, _ in ranges
    ]
    countries: list[mmdb.Range] = [
        (first, last, {"country_code": country}) for first, last, *_, country in ranges
    ]
    mmdb.write(asn, directory / "asn.mmdb", kind="unflux-lab-asn", built_at_s=MADE_AT_S)
    mmdb.write(
        countries, directory / "country.mmdb", kind="unflux-lab-country", built_at_s=MADE_AT_S
    )


def is_v6(address: int) -> bool:
    """Which family a number is of: the lab has no IPv6 address as small as an IPv4 one."""
    return address >= 1 << 32


def of_family(host: int, other: int) -> int:
    """The address by which a host of the lab's own network is reached from another one."""
    return twin(host) if is_v6(other) else host


def twin(address: int) -> int:
    """The IPv6 address of a host of the lab's own network, by its IPv4 address."""
    return int(LAB_V6[0]) + address


def canonical(address: int) -> int:
    """A host by its IPv4 address, whichever of the two was used."""
    first = int(LAB_V6[0])
    return address - first if first <= address < first + (1 << 32) else address


@functools.lru_cache(1 << 18)
def text_of(address: int) -> str:
    """An address in presentation form."""
    return str(IPv6Address(address) if is_v6(address) else IPv4Address(address))
