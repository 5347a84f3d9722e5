"""The two classic walks, `c2.mother.ship.` as single and as double flux, played and captured.

Runs inside a sealed namespace (the only place where .ship exists); the story told from what was
captured is in `story`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unflux.errors import UnfluxError
from unflux.lab.live import story
from unflux.lab.live.resolver import RESOLVER
from unflux.lab.live.stage import Options, Stage, supervise
from unflux.lab.live.web import Fetched, fetch
from unflux.lab.model.plan import SEALED_SUFFIXES, text_of
from unflux.lab.model.services import Settings
from unflux.lab.scenarios import START, Scenario

NAME, APEX = "c2.mother.ship.", "mother.ship."
SPEED = 90.0
PERIOD_S = 180
"""Seconds of the story until addresses (and, for double flux, name servers) change: TTL, too."""
CACHE_SLACK_S = 1.2
"""Caches count whole seconds: an answer may live for up to one more."""
KINDS = ("single", "double")


def scenario(kind: str, seed: int) -> Scenario:
    """A network with one name, one infected host, and five dozen agents."""
    settings = Settings(
        flux=True, verdict=f"{kind}_flux", apex=APEX, labels=("c2",), domains=1,
        k=4, ttl_s=PERIOD_S, rotation_s=PERIOD_S, population=60, list_size=24, refresh_s=60.0,
        stay_h=0.2, ns_shared=False, infected=1, visits_per_h=0.0, back_ends=1,
        ns="rotating" if kind == "double" else "static", ns_count=2 if kind == "single" else 4,
        ns_period_s=PERIOD_S if kind == "double" else 0.0,
        ns_ttl_s=PERIOD_S if kind == "double" else 86_400,
        delegation_ttl_s=PERIOD_S if kind == "double" else 86_400,
    )  # fmt: skip
    return Scenario(
        name=f"walk-{kind}", title=f"the classic example of {kind} flux", hours=1.0, clients=20,
        resolvers=1, services=[("mother-1-1", kind, settings)], seed=seed,
        start_s=START.timestamp(), split=None, given_seed=seed,
    )  # fmt: skip


@dataclass(slots=True)
class Visit:
    """One look-up and request of the infected host."""

    at_s: float
    addresses: list[str]
    agent: str
    got: Fetched
    registered: dict[str, list[str]]
    """Name servers' addresses at the registry, and addresses of the name, at that time."""


def play(kind: str, out: str, runtime: str, seed: int = 1) -> dict[str, Any]:
    """Play a walk to its end; called inside the namespace.

    Returns
    -------
    dict
        What `unflux lab walk --json` prints.
    """
    return asyncio.run(_play(kind, Path(out), Path(runtime), seed))


async def _play(kind: str, out: Path, runtime: Path, seed: int) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    options = Options(out=out, runtime=runtime, speed=SPEED, whole=True)
    stage = Stage(scenario(kind, seed), options, suffixes=SEALED_SUFFIXES)
    started_s = time.time()
    done = asyncio.Event()
    visits: list[Visit] = []
    try:
        await stage.start()

        async def host() -> None:
            visits.append(await _visit(stage))
            await asyncio.sleep(PERIOD_S / SPEED + CACHE_SLACK_S)
            stage.advance()
            visits.append(await _visit(stage))
            done.set()
            await asyncio.sleep(60)

        await supervise({**stage.actors(), "infected host": host()}, done)
    finally:
        await stage.stop()
    if len(visits) < 2 or not all(one.got.status == 200 for one in visits):
        raise UnfluxError(
            "the walk did not come through: a look-up or a page failed (is the machine too busy?); "
            "with --out DIR the capture is kept that tells which"
        )
    network = stage.roles.networks[0]
    cast = story.Cast(
        infected=text_of(stage.infected(0)),
        resolver=text_of(RESOLVER),
        mothership=text_of(network.mothership),
        name_servers=[text_of(one) for one in stage.authority.fixed_servers(APEX)],
    )
    told = story.tell(kind, NAME, cast, visits, out / "all.pcap")
    knew = stage.web.relayed_last
    told["agent_knew"] = {text_of(agent): target for agent, target in knew.items()}
    told["period_s"], told["speed"] = PERIOD_S, SPEED
    told["seconds"] = round(time.time() - started_s, 1)
    told["dropped"] = stage.recorder.counts.get("dropped")
    return told


async def _visit(stage: Stage) -> Visit:
    """What the infected host does: look the name up, ask the first address."""
    host = stage.infected(0)
    at_s = time.time()
    answer = await stage.stub.resolve(NAME, host)
    registered = {
        "name_servers": stage.authority.glue(APEX, stage.now()),
        "addresses": answer.addresses,
    }
    if not answer.addresses:
        return Visit(at_s, [], "", Fetched(0, 0), registered)
    agent = answer.addresses[0]
    got = await fetch(agent, NAME, "/", host)
    return Visit(at_s, answer.addresses, agent, got, registered)
