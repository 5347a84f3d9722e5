"""Flux networks of a scan: what `unflux networks DATASET --json` says, worked out once and kept.

It runs in a process of its own: minutes of work and its memory stay out of the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

from unflux.web.settings import Settings
from unflux.web.store import Scan

TIMEOUT_S = 900.0
MAX_KEPT = 8
USAGE_ERROR = 2
NOT_HERE = "This install has no `unflux networks` command: networks are not available."


@dataclass(slots=True)
class Networks:
    """Of one scan."""

    state: Literal["working", "ready", "unavailable"]
    networks: list[dict[str, Any]] = field(default_factory=list)
    message: str | None = None
    """Why they are unavailable, as a sentence."""


class NetworkRoom:
    """Networks by scan; what is not known yet is worked out in the background."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[tuple[str, str | None, int | None], Networks] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Semaphore(1)

    async def of(self, scan: Scan) -> Networks:
        """What is known now; the first call starts the work."""
        key = (scan.id, scan.judged_from, scan.judged_at_us)
        known = self._known.get(key)
        if known is None:
            while len(self._known) >= MAX_KEPT:
                self._known.pop(next(iter(self._known)))
            known = self._known[key] = Networks("working")
            task = asyncio.create_task(self._work(scan, known))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return known

    async def _work(self, scan: Scan, into: Networks) -> None:
        async with self._one_at_a_time:
            try:
                code, out, err = await self._run(scan)
                into.networks = json.loads(out)["networks"] if code == 0 else []
                into.state = "ready" if code == 0 else "unavailable"
                if code == USAGE_ERROR:
                    into.message = NOT_HERE
                elif code:
                    said = err.decode(errors="replace").strip().splitlines()
                    into.message = said[-1] if said else "unflux networks failed"
            except TimeoutError:
                into.state, into.message = "unavailable", f"not done after {TIMEOUT_S:.0f} s"
            except (OSError, ValueError, KeyError) as error:
                into.state, into.message = "unavailable", f"unflux networks: {error}"

    async def _run(self, scan: Scan) -> tuple[int, bytes, bytes]:
        options = self._settings.scan
        tables = [
            word
            for flag, path in (("--asn-db", options.asn_db), ("--country-db", options.country_db))
            if path is not None
            for word in (flag, str(path))
        ]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "unflux", "networks", scan.dataset, "--json", *tables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, out, err

    async def stop(self) -> None:
        """End what runs."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
