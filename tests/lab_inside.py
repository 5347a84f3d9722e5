"""What tests run inside a sealed namespace (see `unflux.lab.live.session.run_inside`)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unflux.lab.live import run, takedown, walk
from unflux.lab.live.stage import Options, Stage
from unflux.lab.live.stub import Stub
from unflux.lab.live.web import fetch
from unflux.lab.model.plan import SEALED_SUFFIXES, text_of


def resolve_the_walks_name_with_kresd(
    program: str, config: str, address: str, kind: str, runtime: str, out: str
) -> dict[str, Any]:
    """Play a walk's stage, ask knot-resolver for its name, and get the page from what it says."""

    async def play() -> dict[str, Any]:
        options = Options(out=Path(out), runtime=Path(runtime), speed=10.0)
        options.out.mkdir(exist_ok=True)
        stage = Stage(walk.scenario(kind, 1), options, suffixes=SEALED_SUFFIXES)
        (Path(runtime) / "kresd.conf").write_text(config)
        try:
            await stage.start()
            with subprocess.Popen(
                [program, "-n", "-c", str(Path(runtime) / "kresd.conf"), runtime],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ) as kresd:  # fmt: skip
                try:
                    return await _look(stage, address)
                finally:
                    kresd.kill()
        finally:
            await stage.stop()

    return asyncio.run(play())


async def _look(stage: Stage, address: str) -> dict[str, Any]:
    stub, host = Stub(address), stage.infected(0)
    try:
        answer = await _until(lambda: stub.resolve(walk.NAME, host, timeout_s=1.0))
    finally:
        stub.close()
    pages = [await fetch(one, walk.NAME, "/", host) for one in answer.addresses]
    return {
        "rcode": answer.rcode, "addresses": answer.addresses,
        "agents": [text_of(one) for one in stage.roles.agents],
        "statuses": [page.status for page in pages],
    }  # fmt: skip


async def _until(ask: Callable[[], Any], tries: int = 40) -> Any:
    """Ask until there is an answer: the resolver may still be starting."""
    for _ in range(tries):
        answer = await ask()
        if answer.rcode != "TIMEOUT":
            break
        await asyncio.sleep(0.1)
    return answer


def run_with_little_patience(alive: int, **arguments: Any) -> dict[str, Any]:
    """Play a lab whose take-downs wait for a quarter of a second until something is up."""
    takedown.PATIENCE_S = 0.25
    return run.main(**arguments, alive=alive)
