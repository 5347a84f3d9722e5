"""The operators' controllers: watch agents and back ends, publish the live list, keep registering.

Each checks its hosts from its mothership's address, as often as the model renews the list; what
does not answer twice is taken off and replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from unflux.lab.live.roles import Network
from unflux.lab.live.stage import Stage
from unflux.lab.live.web import fetch
from unflux.lab.model.plan import text_of

CHECK_TIMEOUT_S = 1.0
MIN_INTERVAL_S = 1.0
"""Wall seconds between two rounds, however fast the model's time runs."""
MAX_CHECKS_AT_ONCE = 16
MAX_CHECKS_PER_ROUND = 100
"""Of longer lists, a part is checked in each round, one part after the other."""

Tell = Callable[[dict[str, Any]], None]
"""Writes an event of the truth."""


class Controller:
    """The controller of one flux network."""

    def __init__(self, stage: Stage, network: Network, tell: Tell) -> None:
        self.stage, self.network, self.tell = stage, network, tell
        self.service = stage.world.services[network.service]
        self.name = next(one.name for one in stage.world.named if one.service == network.service)
        self._limit = asyncio.Semaphore(MAX_CHECKS_AT_ONCE)
        self._next = 0

    @property
    def interval_s(self) -> float:
        """Wall seconds between two rounds."""
        return max(self.service.settings.refresh_s / self.stage.clock.speed, MIN_INTERVAL_S)

    async def run(self) -> None:
        """Round after round."""
        while True:
            await asyncio.sleep(self.interval_s)
            await self._check_back_ends()
            for group in range(len(self.service.groups)):
                await self._check_agents(group)

    async def _alive(self, address: int, path: str) -> bool:
        """Whether a host answers, at the first or second try."""
        async with self._limit:
            for _ in range(2):
                got = await fetch(
                    text_of(address), self.name, path, self.network.mothership, CHECK_TIMEOUT_S
                )
                if got.status == 200:
                    return True
        return False

    async def _check_back_ends(self) -> None:
        hosts = self.stage.roles.back_ends_of(self.network)
        alive = await asyncio.gather(*(self._alive(one, "/") for one in hosts))
        now = [one for one, up in zip(hosts, alive, strict=True) if up]
        if now != self.network.back_ends:
            self.network.back_ends = now
            self.tell({
                "event": "back_ends", "network": self.network.name,
                "alive": [text_of(one) for one in now],
            })  # fmt: skip

    async def _check_agents(self, group: int) -> None:
        """Some of the live list; who is dead is replaced at once."""
        listed = self.stage.roles.listed(self.network.service, group)
        first = self._next % max(len(listed), 1)
        some = (listed[first:] + listed[:first])[:MAX_CHECKS_PER_ROUND]
        self._next += MAX_CHECKS_PER_ROUND
        alive = await asyncio.gather(*(self._alive(one, "/health") for one in some))
        dead = {one for one, up in zip(some, alive, strict=True) if not up}
        dead &= set(self.stage.roles.listed(self.network.service, group))
        if dead:
            self.stage.advance()
            now_s = self.stage.now()
            self.service.drop(group, dead, now_s)
            self.stage.renew_agents(now_s)
            self.tell({
                "event": "replaced", "network": self.network.name, "sub_network": group + 1,
                "agents": sorted(text_of(one) for one in dead),
            })  # fmt: skip


class Registrar:
    """Registers double-flux networks' name servers anew in each period, as their operators do.

    A delegation that was removed comes back that way, unless the domain is locked.
    """

    def __init__(self, stage: Stage, tell: Tell) -> None:
        self.stage, self.tell = stage, tell

    async def run(self) -> None:
        """Look once a tick whose period is over."""
        steps: dict[str, int] = {}
        while True:
            await asyncio.sleep(0.2)
            now_s = self.stage.now()
            for network in self.stage.roles.networks.values():
                settings = self.stage.world.services[network.service].settings
                if settings.ns != "rotating":
                    continue
                for apex in network.apexes:
                    self._renew(network, apex, int(now_s // settings.ns_period_s), steps)

    def _renew(self, network: Network, apex: str, step: int, steps: dict[str, int]) -> None:
        registry = self.stage.authority.registry
        if steps.get(apex, step) != step and apex in registry.removed:
            registry.removed.discard(apex)
            self.tell({
                "event": "registered_again", "network": network.name, "name": apex.rstrip("."),
            })  # fmt: skip
        steps[apex] = step
