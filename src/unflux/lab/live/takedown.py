"""Take-downs, and what they cost the network: measured by asking as a victim would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unflux.lab.live import schedule
from unflux.lab.live.controller import Tell
from unflux.lab.live.roles import Network
from unflux.lab.live.sockets import number_of
from unflux.lab.live.stage import Stage
from unflux.lab.live.web import fetch
from unflux.lab.model.plan import CLIENTS_FROM, text_of

PROBE_EVERY_S = 0.1
PROBE_TIMEOUT_S = 1.0
WINDOW = 10
"""Probes in a row that tell whether the content is there."""
MAX_WATCH_S = 600.0
PATIENCE_S = 15.0
"""How long to wait for an answer that names an agent which is up: agents come and go."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One look-up and fetch."""

    at_s: float
    came: bool


class Takedowns:
    """What defenders can take down in this lab."""

    def __init__(self, stage: Stage, tell: Tell) -> None:
        self.stage, self.tell = stage, tell
        self.kinds: dict[str, Callable[[Network, str], list[str]]] = {
            "agent": self._agent,
            "agent-dns": self._agent_dns,
            "name-servers": self._name_servers,
            "back-end": self._back_end,
            "mothership": self._mothership,
            "delegation": self._delegation,
            "domain": self._domain,
        }

    def network(self, what: str, name: str | None) -> Network:
        """The network that a take-down is for; the first one without a name.

        Raises
        ------
        ValueError
            When there is no such network or take-down, or it has nothing of that kind.
        """
        known = schedule.choose(schedule.networks_of(self.stage.scenario), what, name)
        return next(one for one in self.stage.roles.networks.values() if one.name == known)

    async def measure(self, what: str, name: str | None, watch_s: float) -> dict[str, Any]:
        """Watch, take down, watch on.

        Returns
        -------
        dict
            ``failed_before`` and ``failed_after`` (shares of fetches, in [0, 1]), ``back_after_s``
            (wall seconds; 0: never gone, None: not back within `watch_s`), and what was taken down.

        Raises
        ------
        ValueError
            When there is no such network or take-down, or nothing of it came up in time.
        """
        if not 1 <= watch_s <= MAX_WATCH_S:
            raise ValueError(f"a take-down is watched for 1 to {MAX_WATCH_S:g} s")
        network = self.network(what, name)
        named = next(one for one in self.stage.world.named if one.service == network.service)
        rdtype = self.stage.world.services[network.service].settings.rdtype
        rdtype = "AAAA" if rdtype == "AAAA" else "A"  # with HTTPS hints come addresses, too
        before = await self._watch(named.name, rdtype, schedule.BEFORE_S)
        targets = await self._take(what, network, named.name)
        at_s = time.time()
        event = {"event": "takedown", "network": network.name, "what": what, "targets": targets}
        self.tell(event)
        after = await self._watch(named.name, rdtype, watch_s)
        back_s = back_after(after, at_s)
        self.tell({
            "event": "recovered" if back_s is not None else "gone",
            "network": network.name, "what": what, "after_s": back_s,
        })  # fmt: skip
        return {
            "what": what,
            "network": network.name,
            "name": named.name.rstrip("."),
            "targets": targets,
            "speed": self.stage.clock.speed,
            "watched_s": watch_s,
            "probes": len(after),
            "failed_before": _failed(before),
            "failed_after": _failed(after),
            "back_after_s": back_s,
        }

    async def _take(self, what: str, network: Network, name: str) -> list[str]:
        """Take down what is up; wait for it while the current answer names none."""
        until = time.time() + PATIENCE_S
        while not (targets := self.kinds[what](network, name)):
            if time.time() > until:
                raise ValueError(
                    f"{name} had nothing that is up for the take-down {what} in {PATIENCE_S:g} s"
                )
            await asyncio.sleep(PROBE_EVERY_S)
        return targets

    async def _watch(self, name: str, rdtype: str, seconds: float) -> list[Probe]:
        """Ask again and again, each time as another client; slow failures do not stop the clock."""
        until, tasks, number = time.time() + seconds, [], 0
        while time.time() < until:
            tasks.append(
                asyncio.create_task(self._probe(name, rdtype, CLIENTS_FROM + 7_000 + number % 900))
            )
            number += 1
            await asyncio.sleep(PROBE_EVERY_S)
        return list(await asyncio.gather(*tasks))

    async def _probe(self, name: str, rdtype: str, client: int) -> Probe:
        at_s = time.time()
        answer = await self.stage.stub.resolve(name, client, rdtype, PROBE_TIMEOUT_S)
        if not answer.addresses:
            return Probe(at_s, False)
        got = await fetch(answer.addresses[0], name, "/", client, PROBE_TIMEOUT_S)
        return Probe(at_s, got.status == 200)

    # What is taken down

    def _down(self, addresses: list[int]) -> list[str]:
        self.stage.roles.down.update(addresses)
        return [text_of(one) for one in addresses]

    def _apex(self, name: str) -> str:
        return self.stage.authority.zone_of(name) or name

    def _servers(self, name: str) -> list[int]:
        """Name servers as they are registered now."""
        glue = self.stage.authority.glue(self._apex(name), self.stage.now())
        return [number_of(one) for one in glue]

    def _agent(self, network: Network, name: str) -> list[str]:
        """One of those that the current answer names."""
        addresses = self.stage.authority.addresses(name, self.stage.now())
        return self._down([one for one in addresses if self.stage.roles.is_agent(one)][:1])

    def _agent_dns(self, network: Network, name: str) -> list[str]:
        """One agent that is registered as a name server."""
        servers = self._servers(name)
        return self._down([one for one in servers if self.stage.roles.is_agent(one)][:1])

    def _name_servers(self, network: Network, name: str) -> list[str]:
        """All name servers that are registered now: fixed ones, or agents."""
        return self._down(self._servers(name))

    def _back_end(self, network: Network, name: str) -> list[str]:
        """One content server behind the controller."""
        return self._down([one for one in network.back_ends if one != network.mothership][:1])

    def _mothership(self, network: Network, name: str) -> list[str]:
        """Controller, authoritative DNS and all back ends."""
        return self._down(self.stage.roles.back_ends_of(network))

    def _delegation(self, network: Network, name: str) -> list[str]:
        """The registrar removes the name servers; whoever has the account may register new ones."""
        apex = self._apex(name)
        self.stage.authority.registry.removed.add(apex)
        return [apex.rstrip(".")]

    def _domain(self, network: Network, name: str) -> list[str]:
        """The registry locks the domain and delegates it to the defenders' sinkhole."""
        apex = self._apex(name)
        self.stage.authority.registry.seized.add(apex)
        return [apex.rstrip(".")]


def _failed(probes: list[Probe]) -> float:
    return round(sum(not one.came for one in probes) / max(len(probes), 1), 3)


def back_after(probes: list[Probe], at_s: float) -> float | None:
    """Seconds from a take-down until the content was back.

    It is gone while most of `WINDOW` probes in a row fail: single failures are normal for agents,
    which come and go. 0 when it never was gone, None when it still is at the end.

    >>> back_after([Probe(1.0, True)] * 20, 1.0)
    0.0
    """
    gone = [_is_gone(probes[place:]) for place in range(max(len(probes) - WINDOW + 1, 1))]
    if not any(gone):
        return 0.0
    last = max(place for place, one in enumerate(gone) if one)
    if last == len(gone) - 1:
        return None
    back = next(one for one in probes[last:] if one.came)
    return round(back.at_s - at_s, 2)


def _is_gone(following: list[Probe]) -> bool:
    window = following[:WINDOW]
    return sum(one.came for one in window) * 2 < len(window)
