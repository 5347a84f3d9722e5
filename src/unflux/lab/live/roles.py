"""Who is where: which lab address is a name server, an agent, a back end, or taken down."""

from __future__ import annotations

from dataclasses import dataclass, field

from unflux.lab.live.authority import Authority
from unflux.lab.model.plan import ROOT_SERVER, SINKHOLE, TLD_SERVER
from unflux.lab.model.world import World
from unflux.lab.scenarios import Scenario


@dataclass(slots=True)
class Network:
    """A flux network as its operator sees it."""

    service: int
    name: str
    mothership: int
    """Controller, authoritative DNS and the first back end; no answer ever holds it."""
    back_ends: list[int]
    """Content servers that agents are told to relay to, dead ones taken off by the controller."""
    apexes: set[str] = field(default_factory=set)


class Roles:
    """The address book of the running lab; the play renews the agents, take-downs take away."""

    def __init__(self, scenario: Scenario, world: World, authority: Authority) -> None:
        self.world, self.authority = world, authority
        self.down: set[int] = set()
        """Hosts that were taken down: silent for DNS, closed for HTTP."""
        self.served: dict[int, set[str]] = {ROOT_SERVER: {"."}}
        self.served.setdefault(TLD_SERVER, set()).update(world.tlds)
        self.networks: dict[int, Network] = {}
        self.all_back_ends: dict[int, list[int]] = {}
        self.agents: dict[int, set[tuple[int, int]]] = {}
        """Address → (service, sub-network) for which it relays."""
        self._held: dict[tuple[int, int], set[int]] = {}
        self.service_of_name = {one.name.removesuffix("."): one.service for one in world.named}
        self._place_networks(scenario)
        self._place_zones()

    def _place_networks(self, scenario: Scenario) -> None:
        for number, (name, _, settings) in enumerate(scenario.services):
            if not settings.flux:
                continue
            hidden = self.world.hidden[number]
            self.networks[number] = Network(number, name, hidden[0], list(hidden))
            self.all_back_ends[number] = list(hidden)

    def _place_zones(self) -> None:
        """Fixed name servers by address; behind agents, the mothership serves the zone."""
        world = self.world
        for apex, zone in self.authority.zones.items():
            if zone.kind in ("root", "tld"):
                continue
            home = zone.kind == "home"
            service = zone.number if home else int(world.zone_service[zone.number])
            for address in self.authority.fixed_servers(apex):
                self.served.setdefault(address, set()).add(apex)
            if service in self.networks:
                network = self.networks[service]
                network.apexes.add(apex)
                self.served.setdefault(network.mothership, set()).add(apex)

    def renew(self, service: int, group: int, addresses: list[int]) -> None:
        """The hosts of a sub-network that are up now."""
        key = (service, group)
        for address in self._held.get(key, ()):
            relays = self.agents[address]
            relays.discard(key)
            if not relays:
                del self.agents[address]
        for address in addresses:
            self.agents.setdefault(address, set()).add(key)
        self._held[key] = set(addresses)  # two hosts behind one address are one

    def back_ends_of(self, network: Network) -> list[int]:
        """All content servers of a network, dead ones too."""
        return self.all_back_ends[network.service]

    def listed(self, service: int, group: int) -> list[int]:
        """The live list that the controller publishes now."""
        return self.world.services[service].groups[group].lists[-1]

    def agent_for(self, address: int, name: str) -> Network | None:
        """The network that an agent relays a name for, None when it does not."""
        service = self.service_of_name.get(name)
        if service is None or address in self.down:
            return None
        relays = self.agents.get(address, ())
        return self.networks[service] if any(one == service for one, _ in relays) else None

    def forwards_to(self, address: int, name: str) -> Network | None:
        """The network whose DNS an agent forwards a question to."""
        if address in self.down:
            return None
        apex = self.authority.zone_of(name)
        for service, _ in self.agents.get(address, ()):
            network = self.networks[service]
            rotating = self.world.services[service].settings.ns == "rotating"
            if rotating and apex in network.apexes:
                return network
        return None

    def is_agent(self, address: int) -> bool:
        """Somebody's flux agent that is up."""
        return address in self.agents and address not in self.down

    def zones_at(self, address: int) -> set[str]:
        """Zones that a host serves itself."""
        if address in self.down:
            return set()
        if address == SINKHOLE:
            return self.authority.registry.seized
        return self.served.get(address, set())
