"""The truth of a played world: labels of names, and every event that a detector could have seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from unflux.lab.model import plan
from unflux.lab.model.plan import CLIENTS_FROM
from unflux.lab.model.services import Service
from unflux.lab.model.world import World
from unflux.lab.scenarios import Scenario
from unflux.lab.synth.demand import Demand
from unflux.lab.synth.published import Published


def labels(
    scenario: Scenario, world: World, clock: Callable[[float], float] = float
) -> dict[str, Any]:
    """What each name is: the file that `unflux eval --labels` reads.

    `clock` leads from the model's time to the time that captures of it show.
    """
    names = {}
    kinds = {
        number: Published(world, number, {})
        for number, (_, _, settings) in enumerate(scenario.services)
        if settings.flux
    }
    for one in world.named:
        service, preset, settings = scenario.services[one.service]
        if not settings.exists:
            continue
        entry: dict[str, Any] = {
            "flux": settings.flux,
            "kind": preset,
            "verdict": settings.verdict,
            "network": service,
        }
        if one.service in kinds and "changes" in (turns := kinds[one.service].turns()):
            entry["verdict_before"] = kinds[one.service].kind_at(turns["changes"] - 1)
            entry["changes"] = iso(clock(turns["changes"]))
        if settings.sub_networks > 1:
            entry["sub_network"] = f"{service}/{one.group + 1}"
        if scenario.split:
            entry["split"] = scenario.split
        names[one.name.removesuffix(".")] = entry
    return {"names": names}


def iso(time_s: float) -> str:
    """A time for people, to the millisecond."""
    return isos([time_s])[0]


def isos(times_s: Sequence[float]) -> list[str]:
    """`iso` of many times."""
    rest, whole = np.modf(np.array(times_s, np.float64))
    since_epoch_ms = (whole * 1e6 + np.rint(rest * 1e6)).astype(np.int64) // 1000
    texts: list[str] = np.datetime_as_string(since_epoch_ms.view("datetime64[ms]")).tolist()
    return [f"{text}Z" for text in texts]


class Events:
    """Lines of `truth.ndjson`, slice by slice. Only flux networks have any."""

    def __init__(
        self,
        scenario: Scenario,
        world: World,
        demand: Demand,
        clock: Callable[[float], float] = float,
    ) -> None:
        self.scenario, self.world, self.demand = scenario, world, demand
        self.clock = clock
        """From the model's time to the time that captures of it show."""
        self.before: dict[tuple[int, int], set[int]] = {}
        self.domains: dict[int, list[tuple[int, str]]] = {}
        for number, one in enumerate(world.named):
            if self._is_flux(one.service):
                self.domains.setdefault(one.service, []).append((number, one.name))
        self.published = {
            number: Published(
                world,
                number,
                {world.named[place].domain: name.removesuffix(".") for place, name in domains},
            )
            for number, domains in self.domains.items()
        }

    def _is_flux(self, service: int) -> bool:
        return self.scenario.services[service][2].flux

    def opening(self) -> Iterator[dict[str, Any]]:
        """What there is from the start: networks, their motherships, their infected clients."""
        at = iso(self.clock(self.scenario.start_s))
        for number, domains in self.domains.items():
            name, preset, settings = self.scenario.services[number]
            yield {
                "t": at,
                "event": "network",
                "network": name,
                "preset": preset,
                "verdict": settings.verdict,
                "verdict_at_start": self.published[number].kind_at(self.scenario.start_s),
                "per_query": self.published[number].is_per_query,
                "mothership": plan.text_of(self.mothership(number)),
                "sub_networks": settings.sub_networks,
                "names": [
                    {
                        "name": domain.removesuffix("."),
                        "sub_network": self.world.named[place].group + 1,
                    }
                    for place, domain in domains
                ],
            }
        for number, clients, poll_s in self.demand.infected:
            if self._is_flux(number):
                yield {
                    "t": at,
                    "event": "infected",
                    "network": self.scenario.services[number][0],
                    "poll_s": poll_s,
                    "clients": [plan.text_of(CLIENTS_FROM + int(one)) for one in clients],
                }

    def mothership(self, service: int) -> int:
        """The hidden back end: an address that no answer ever holds."""
        return self.world.hidden[service][0]

    def of_slice(self, from_s: float, to_s: float) -> Iterator[dict[str, Any]]:
        """What changed in a slice, by time."""
        found: list[tuple[float, dict[str, Any]]] = []
        for number in self.domains:
            service = self.world.services[number]
            found += self._agents(number, service, from_s)
            found += self._takedowns(number, service, from_s)
            found += self.published[number].changes(from_s, to_s)
        found.sort(key=lambda item: item[0])
        stamps = isos([self.clock(time_s) for time_s, _ in found])
        for stamp, (_, event) in zip(stamps, found, strict=True):
            yield {"t": stamp, **event}

    def _agents(
        self, number: int, service: Service, from_s: float
    ) -> Iterator[tuple[float, dict[str, Any]]]:
        """Agents that the controller put on a live list, or took off."""
        name = self.scenario.services[number][0]
        for group, one in enumerate(service.groups):
            for tick, addresses in zip(one.ticks.tolist(), one.lists, strict=True):
                if tick < from_s and (number, group) in self.before:
                    continue
                now, old = set(addresses), self.before.get((number, group), set())
                if now != old:
                    event = {
                        "event": "agents",
                        "network": name,
                        "sub_network": group + 1,
                        "added": sorted(map(plan.text_of, now - old)),
                        "removed": sorted(map(plan.text_of, old - now)),
                    }
                    # Lists from before the beginning still serve at the beginning.
                    yield max(tick, self.scenario.start_s), event
                self.before[number, group] = now

    def _takedowns(
        self, number: int, service: Service, from_s: float
    ) -> Iterator[tuple[float, dict[str, Any]]]:
        name = self.scenario.services[number][0]
        for time_s, address in service.takedowns:
            if time_s >= from_s:  # a world has lived for a while when it begins to be played
                agent = plan.text_of(address)
                yield time_s, {"event": "takedown", "network": name, "agent": agent}
