"""The stage: everything of a lab but its people. Model, servers, resolver, capture, in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unflux.errors import UnfluxError
from unflux.lab.live import seal
from unflux.lab.live.authority import Authority
from unflux.lab.live.clock import Clock
from unflux.lab.live.dns_server import DnsServers
from unflux.lab.live.dnstap import DnstapFile
from unflux.lab.live.recorder import Recorder
from unflux.lab.live.resolver import RESOLVER, Resolver, ResolverFiles, write_files
from unflux.lab.live.roles import Roles
from unflux.lab.live.stub import Stub
from unflux.lab.live.tls import TlsServers
from unflux.lab.live.web import WebServers
from unflux.lab.model import plan
from unflux.lab.model.plan import CLIENTS_FROM, text_of
from unflux.lab.model.world import World
from unflux.lab.scenarios import Scenario
from unflux.lab.synth.demand import Demand
from unflux.lab.synth.truth import Events

TICK_S = 0.1
"""Wall seconds between two looks at the model's clock."""
SEAL_CHECK_S = 1.0
MAX_ZONES = 60_000
"""Zones that one lab serves; larger scenarios are for the virtual clock."""


class ActorFailed(UnfluxError):
    """Somebody in the lab stopped who should not have; the message names them."""


@dataclass(slots=True)
class Options:
    """How a lab is played."""

    out: Path
    """Directory for captures, dnstap and truth; it exists and is empty."""
    runtime: Path
    """Directory for sockets and the resolver's files; gone when the lab is."""
    speed: float = 1.0
    dnstap: Path | None = None
    """Socket of somebody who listens for dnstap; without one, it goes to `dnstap.fstrm`."""
    rpz: Path | None = None
    """Response policy zone that the resolver follows."""
    agents: list[str] = field(default_factory=list)
    """Addresses whose own view is captured, too."""
    whole: bool = False
    """Capture everything into `all.pcap` as well."""


class Stage:
    """A lab without visitors."""

    def __init__(
        self,
        scenario: Scenario,
        options: Options,
        *,
        suffixes: tuple[str, ...] = plan.LAB_SUFFIXES,
    ) -> None:
        self.scenario, self.options = scenario, options
        services = [(name, settings) for name, _, settings in scenario.services]
        self.world = World(services, scenario.seed, scenario.start_s, suffixes=suffixes)
        if len(self.world.zone_name) > MAX_ZONES:
            raise UnfluxError(
                f"the scenario has {len(self.world.zone_name)} zones, a live lab at most "
                f"{MAX_ZONES}: `unflux lab synth` plays it"
            )
        self.demand = Demand(self.world, scenario.clients, scenario.seed)
        self.clock = Clock(options.speed, scenario.start_s, time.time())
        self.events = Events(scenario, self.world, self.demand, self.clock.wall_s)
        self.authority = Authority(self.world, self.clock)
        self.roles = Roles(scenario, self.world, self.authority)
        self.dns = DnsServers(self.authority, self.roles, self.now)
        self.web = WebServers(self.roles)
        self.tls = TlsServers(self.roles, self.web, options.runtime)
        self.visitors_trust: ssl.SSLContext | None = None
        """For pages over TLS; None where the scenario has none."""
        self.resolver = Resolver(ResolverFiles(options.runtime, self.dnstap_socket, options.rpz))
        self.dnstap = (
            None if options.dnstap else DnstapFile(self.dnstap_socket, options.out / "dnstap.fstrm")
        )
        self.recorder = Recorder(
            options.out,
            [text_of(RESOLVER), text_of(plan.twin(RESOLVER))],
            options.agents,
            whole=options.whole,
        )
        self._stub: Stub | None = None
        self.on_slice: Callable[[float, float], None] = lambda _from_s, _to_s: None
        """Called with every slice of the model's time that was played."""
        self.failed: ActorFailed | None = None
        self._last_s = scenario.start_s
        self._ticks: dict[tuple[int, int], float] = {}

    @property
    def dnstap_socket(self) -> Path:
        """Where the resolver sends its dnstap."""
        return self.options.dnstap or self.options.runtime / "dnstap.sock"

    @property
    def stub(self) -> Stub:
        """The clients' way to the resolver.

        Raises
        ------
        RuntimeError
            Before `start`.
        """
        if self._stub is None:
            raise RuntimeError("the stage has not started")
        return self._stub

    def now(self) -> float:
        """The model's time."""
        return self.clock.model_s(time.time())

    def infected(self, place: int) -> int:
        """The address of an infected host: that many in the row of the first network's."""
        return CLIENTS_FROM + int(self.demand.infected[0][1][place])

    async def start(self) -> None:
        """Open everything, in the order in which one needs the other."""
        seal.check()
        # Building the world took a while: the story begins now.
        self.clock = Clock(self.options.speed, self.scenario.start_s, time.time())
        self.authority.clock = self.clock
        self.events.clock = self.clock.wall_s
        self.advance()
        await self.recorder.start()
        await self.dns.start()
        await self.web.start()
        self.visitors_trust = await self.tls.start()
        if self.dnstap:
            await self.dnstap.start()
        write_files(
            self.resolver.files, self.world.tlds, self.options.speed, v6=self.authority.has_v6
        )
        await self.resolver.start()
        self._stub = Stub(text_of(RESOLVER))

    async def stop(self) -> None:
        """Close everything; also after a start that failed half-way."""
        if self._stub:
            self._stub.close()
        await self.resolver.stop()
        if self.dnstap:
            await self.dnstap.stop()
        await self.tls.close()
        await self.web.close()
        self.dns.close()
        await self.recorder.stop()

    def advance(self) -> None:
        """Let the model's time pass up to now; who is up and who is listed follows."""
        now_s = self.now()
        if now_s <= self._last_s and self._ticks:
            return
        # The model plays slices up to, not including, their end.
        now_s = max(now_s, self._last_s + 1e-3)
        self.world.advance(self._last_s, now_s)
        self.renew_agents(now_s)
        self.on_slice(self._last_s, now_s)
        self._last_s = now_s

    def renew_agents(self, now_s: float) -> None:
        """Tell who is up, for the sub-networks whose list was renewed."""
        for service in self.roles.networks:
            for number, group in enumerate(self.world.services[service].groups):
                tick = float(group.ticks[-1])
                if self._ticks.get((service, number)) != tick:
                    self._ticks[service, number] = tick
                    hosts = self.world.services[service].hosts(number, now_s)
                    self.roles.renew(service, number, hosts)

    def actors(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Who works until the end."""
        return {
            "clock": self._play(),
            "seal": self._watch_seal(),
            "resolver (unbound)": self.resolver.watch(),
            "capture": self.recorder.watch(),
        }

    async def _play(self) -> None:
        while True:
            self.advance()
            await asyncio.sleep(TICK_S)

    async def _watch_seal(self) -> None:
        while True:
            seal.check()
            await asyncio.sleep(SEAL_CHECK_S)


async def supervise(actors: dict[str, Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
    """Let actors work until one is done, one fails, or `stop` is set; then end all of them.

    Raises
    ------
    ActorFailed
        With the name of the one that failed, and why.
    """
    tasks = {asyncio.create_task(work, name=name) for name, work in actors.items()}
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            error = task.exception()
            if error is not None:
                what = str(error) if isinstance(error, UnfluxError) else repr(error)
                raise ActorFailed(f"{task.get_name()} failed: {what}") from error
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
