"""A whole lab inside its namespace: the stage with its people, until its time is over."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import time
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import msgspec

from unflux.errors import UnfluxError
from unflux.lab import scenarios
from unflux.lab.live import schedule, seal
from unflux.lab.live.control import Control
from unflux.lab.live.controller import Controller, Registrar
from unflux.lab.live.people import People
from unflux.lab.live.resolver import RELOAD, RESOLVER
from unflux.lab.live.roles import Network
from unflux.lab.live.sockets import number_of
from unflux.lab.live.stage import Options, Stage, supervise
from unflux.lab.live.takedown import Takedowns
from unflux.lab.model import plan
from unflux.lab.model.plan import text_of
from unflux.lab.synth.truth import iso, labels

WATCH_S = 10.0
"""Wall seconds for which a scheduled take-down is watched."""
MAX_DOWN = 200
"""Hosts that were taken down of which the status tells."""


def main(
    scenario: str, options: dict[str, Any], out: str, runtime: str, alive: int
) -> dict[str, Any]:
    """Play a scenario; called inside the namespace. Returns the summary.

    `alive` is a pipe that closes when the process outside is gone.

    Raises
    ------
    UnfluxError
        When an actor fails, with its name; when the seal does not hold.
    """
    seal.check()
    return asyncio.run(_Run(scenario, options, Path(out), Path(runtime)).run(alive))


class _Run:
    """Everything of one lab."""

    def __init__(self, name: str, options: dict[str, Any], out: Path, runtime: Path) -> None:
        self.options, self.out, self.runtime = options, out, runtime
        out.mkdir(exist_ok=True)
        self.scenario = scenarios.load(name, seed=options["seed"])
        self.stage = Stage(
            self.scenario,
            Options(
                out=out,
                runtime=runtime,
                speed=options["speed"],
                dnstap=Path(options["dnstap"]) if options["dnstap"] else None,
                rpz=Path(options["rpz"]).resolve() if options["rpz"] else None,
                whole=options["whole"],
            ),
        )
        self.people = People(self.stage)
        self.takedowns = Takedowns(self.stage, self.tell)
        self.scheduled: list[dict[str, Any]] = []
        """Take-downs of the schedule with what they cost, or why they `failed`."""
        self.stop = asyncio.Event()
        self.truth: IO[bytes] = (out / "truth.ndjson").open("wb", buffering=0)
        self.control = Control(
            runtime / "control.sock",
            {
                "status": self._status, "takedown": self._takedown, "stop": self._stop,
                "reload_policy": self._reload_policy,
            },
        )  # fmt: skip
        self.started_s = time.time()

    def tell(self, event: dict[str, Any]) -> None:
        """Write an event of now into the truth."""
        self.truth.write(msgspec.json.encode({"t": iso(time.time()), **event}) + b"\n")

    async def run(self, alive: int) -> dict[str, Any]:
        """From start to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        loop.add_reader(alive, self.stop.set)
        self._write_card()
        try:
            self.stage.recorder.plan["agents"] = self._agents_to_capture()
            await self.stage.start()
            for event in self.stage.events.opening():
                self._write(self._with_back_ends(event))
            self.stage.on_slice = self._on_slice
            await self.control.start()
            self._say_ready()
            await supervise(self._actors(), self.stop)
        finally:
            loop.remove_reader(alive)
            await self.people.stop()
            await self.stage.stop()
            self.control.close()
            self.truth.close()
        return {**self.summary(), "takedowns": self.scheduled}

    def _actors(self) -> dict[str, Coroutine[Any, Any, None]]:
        actors = self.stage.actors()
        for network in self.stage.roles.networks.values():
            controller = Controller(self.stage, network, self.tell)
            actors[f"controller of {network.name}"] = controller.run()
        if self.options["rpz"]:
            actors["policy"] = self.stage.resolver.follow_policy()
        actors["registrar"] = Registrar(self.stage, self.tell).run()
        if self.options["duration_s"] is not None:
            actors["timer"] = asyncio.sleep(self.options["duration_s"])
        for what, at_s, network_name in self.options["takedowns"]:
            actors[f"take-down of {what} at {at_s:g} s"] = self._later(what, at_s, network_name)
        return actors

    async def _later(self, what: str, at_s: float, network: str | None) -> None:
        """A scheduled take-down; what comes of it is told, and the lab goes on either way."""
        told: dict[str, Any] = {"what": what, "network": network, "at_s": at_s}
        self.scheduled.append(told)
        told["failed"] = "the lab ended before it was measured"
        await asyncio.sleep(at_s)
        try:
            measured = await self.takedowns.measure(what, network, watch_s=WATCH_S)
        except ValueError as error:
            told["failed"] = str(error)
            self.tell({"event": "takedown_failed", **told})
        else:
            del told["failed"]
            told.update(measured)
        await asyncio.Event().wait()

    def _with_back_ends(self, event: dict[str, Any]) -> dict[str, Any]:
        """Agents relay pages to any of a network's back ends: all belong to its truth."""
        if event["event"] != "network":
            return event
        network = next(
            one for one in self.stage.roles.networks.values() if one.name == event["network"]
        )
        return {**event, "back_ends": [text_of(one) for one in network.back_ends]}

    def _write(self, event: dict[str, Any]) -> None:
        self.truth.write(msgspec.json.encode(event) + b"\n")

    def _on_slice(self, from_s: float, to_s: float) -> None:
        for event in self.stage.events.of_slice(from_s, to_s):
            self._write(event)
        if self.options["people"]:
            self.people.on_slice(from_s, to_s)

    def _agents_to_capture(self) -> list[str]:
        """Addresses that were asked for; "first" is the first listed agent of each network."""
        wanted: list[str] = []
        for one in self.options["agents"]:
            if one != schedule.FIRST:
                wanted.append(one)
                continue
            self.stage.advance()
            for service in self.stage.roles.networks:
                wanted.append(text_of(self.stage.roles.listed(service, 0)[0]))
        return wanted

    def _write_card(self) -> None:
        """Tables, labels and parameters, as the virtual clock writes them."""
        plan.write_tables(self.out)
        known = labels(self.scenario, self.stage.world, self.stage.clock.wall_s)
        (self.out / "labels.json").write_bytes(_pretty(known))
        card = {
            **self.scenario.origin(),
            "clock": "real",
            "speed": self.options["speed"],
            "resolver": text_of(RESOLVER),
            "services": [
                {"name": name, "preset": preset, **asdict(settings)}
                for name, preset, settings in self.scenario.services
            ],
        }
        (self.out / "card.json").write_bytes(_pretty(card))

    def _say_ready(self) -> None:
        ready = {
            "resolver": text_of(RESOLVER),
            "scenario": self.scenario.name,
            "speed": self.options["speed"],
            "out": str(self.out),
            "networks": [one.name for one in self.stage.roles.networks.values()],
            "start_s": round(time.time() - self.started_s, 2),
        }
        temporary = self.runtime / ".ready"
        temporary.write_text(json.dumps(ready))
        temporary.replace(self.runtime / "ready.json")

    async def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "speed": self.options["speed"],
            "resolver": text_of(RESOLVER),
            "out": str(self.out),
            "networks": {
                one.name: self._now_of(one)
                | {
                    "mothership": text_of(one.mothership),
                    "back_ends": [text_of(address) for address in one.back_ends],
                    "names": [
                        named.name.rstrip(".")
                        for named in self.stage.world.named
                        if named.service == one.service
                    ][:20],
                    "listed": [
                        [
                            text_of(address)
                            for address in self.stage.roles.listed(one.service, group)
                        ]
                        for group in range(len(self.stage.world.services[one.service].groups))
                    ],
                }
                for one in self.stage.roles.networks.values()
            },
            **self.summary(),
        }

    def _now_of(self, network: Network) -> dict[str, Any]:
        """What the first name of a network is answered with now, and what of it is down."""
        authority, roles, now = self.stage.authority, self.stage.roles, self.stage.now()
        named = next(one for one in self.stage.world.named if one.service == network.service)
        apex = authority.zone_of(named.name) or named.name
        servers = authority.glue(apex, now)
        return {
            "answer": [text_of(one) for one in authority.addresses(named.name, now)],
            "name_servers": servers,
            "name_servers_are_agents": any(number_of(one) in roles.agents for one in servers),
            "down": [text_of(one) for one in sorted(roles.down)][:MAX_DOWN],
        }

    async def _takedown(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self.takedowns.measure(
            str(request.get("what")), request.get("network"), float(request.get("watch_s", 10.0))
        )

    async def _stop(self, _request: dict[str, Any]) -> dict[str, Any]:
        self.stop.set()
        return {"stopping": True}

    async def _reload_policy(self, _request: dict[str, Any]) -> dict[str, Any]:
        if not self.options["rpz"]:
            raise UnfluxError("this lab has no response policy zone: start it with --rpz FILE")
        await self.stage.resolver.control(*RELOAD)
        await self.stage.resolver.control("flush_zone", ".")
        return {"reloaded": True}

    def summary(self) -> dict[str, Any]:
        """Counts of everything so far."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "seconds": round(time.time() - self.started_s, 1),
            "agents_up": len(self.stage.roles.agents),
            "people": dict(self.people.counts),
            "dns": dict(self.stage.dns.counts),
            "web": dict(self.stage.web.counts),
            "capture": self.stage.recorder.counts,
            "dnstap_frames": self.stage.dnstap.n_frames if self.stage.dnstap else None,
            "peak_mib": usage.ru_maxrss // 1024,
            "now_mib": _resident_mib(),
            "open_files": len(list(Path("/proc/self/fd").iterdir())),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        }


def _resident_mib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def _pretty(content: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
