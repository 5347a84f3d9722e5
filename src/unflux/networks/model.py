"""What is said of a flux network: values, as `unflux networks --json` writes them."""

from __future__ import annotations

import msgspec

from unflux.networks.size import Size


class NetworkAgent(msgspec.Struct, frozen=True):
    """An address that a network answers with, or whose name servers have it."""

    address: str
    role: str
    """``web`` (answered for names), ``dns`` (address of a name server), or ``both``."""
    evidence: str
    """``shared``: more than one name has it; ``rotated``: one name's rotation has it."""
    n_names: int
    origin_asn: int | None
    organisation: str | None
    country: str | None
    first_seen: str
    last_seen: str
    count: int
    """Responses that held it."""


class NetworkName(msgspec.Struct, frozen=True):
    """A name of a network."""

    name: str
    verdict: str
    score: float
    sub_network: int
    """Place in the network's `sub_networks`."""
    first_seen: str | None
    last_seen: str | None


class SubNetwork(msgspec.Struct, frozen=True):
    """Names whose addresses come from one pool."""

    names: list[str]
    n_agents: int
    size: Size


class Layer(msgspec.Struct, frozen=True):
    """How one kind of link divides the names."""

    layer: str
    """``ip`` or ``ns``."""
    n_groups: int
    """Groups that this layer alone makes of the network's names."""
    n_addresses: int


class Growth(msgspec.Struct, frozen=True):
    """Addresses over time, one entry an hour from `from_s` on."""

    from_s: int
    hours: int
    seen: list[int]
    """Distinct addresses in each hour."""
    new: list[int]
    """Of these, never seen before."""
    total: list[int]
    """Distinct so far: the accumulation curve."""
    new_per_h: float | None
    """New addresses an hour in the second half: churn, once the pool itself is known."""
    by_hour_of_day: list[float] | None
    """Mean distinct addresses by hour of the day (UTC); None for less than a day."""


class Lifetime(msgspec.Struct, frozen=True):
    """How long addresses are in use, from first to last answer that has them (Kaplan-Meier).

    Those that were there in the first hour are left out: their beginning was not seen. Those that
    were seen lately count as still there. One that rests for long and comes back is not gone.
    """

    n: int
    """Addresses whose first answer was seen."""
    n_gone: int
    """Of these, those not seen any more at the end, for `quiet_h`."""
    quiet_h: float
    median_h: float | None
    """Hours after which half are gone; None where more than half stay as long as was watched."""
    survival: list[tuple[float, float]]
    """(hours, share still in use, 0…1), falling."""


class DelegationChange(msgspec.Struct, frozen=True):
    """A zone's name servers, or their addresses, became others within an hour."""

    zone: str
    at: str
    public_suffix: str
    ns_added: list[str]
    ns_removed: list[str]


class Delegations(msgspec.Struct, frozen=True):
    """What registries and registrars would see."""

    zones: int
    by_public_suffix: dict[str, int]
    ns_changes: int
    glue_addresses: int
    """Distinct addresses of its name servers."""
    changes: list[DelegationChange]
    """The first `MAX_CHANGES` of NS, by time."""


class Sleeper(msgspec.Struct, frozen=True):
    """A name that does not rotate (yet) but hangs on the network."""

    name: str
    verdict: str
    why: str


class Overlap(msgspec.Struct, frozen=True):
    """Addresses in common with another network."""

    network: str
    n_common: int
    share: float
    """Of this network's addresses, 0…1."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Names that draw from the same hosts."""

    id: str
    kind: str
    """``single_flux``, ``double_flux`` or ``ns_flux``."""
    names: list[NetworkName]
    agents: list[NetworkAgent]
    links: list[tuple[int, int, int]]
    """(place in `names`, place in `agents`, responses), most first: at most `MAX_LINKS`."""
    roles: dict[str, int]
    """Addresses by role."""
    layers: list[Layer]
    sub_networks: list[SubNetwork]
    size: Size
    growth: Growth
    lifetime: Lifetime
    rotation_s: float | None
    """Median time between two different answers of one name, as far as it was asked."""
    ns_rotation_s: float | None
    """The same for the addresses of name servers."""
    asns: dict[str, int]
    """Addresses by origin AS, most first."""
    countries: dict[str, int]
    delegations: Delegations
    sleepers: list[Sleeper]
    overlaps: list[Overlap]
    history: list[str]
    """What became of it since earlier runs: splits, merges, other names."""
    first_seen: str | None
    last_seen: str | None


class Networks(msgspec.Struct, frozen=True):
    """The result of `unflux networks`."""

    networks: list[Network]
    """Most names first."""
    unplaced: int
    """Ambiguous names that belong to no network."""
