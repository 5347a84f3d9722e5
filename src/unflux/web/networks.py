"""Flux networks of a scan: what the room `networks` finds, worked out once and kept.

A process of its own does it, with limits of time and memory: the server stays as quick as it was.
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
MAX_WAITING = 4
TOO_MUCH = "the networks need more time or memory than the page may have: use `unflux networks`"
BUSY = "networks of other scans are being worked out; try again later"


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
            if len(self._tasks) >= MAX_WAITING:
                return Networks("unavailable", message=BUSY)
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
                told = await self._run(scan)
                into.networks, into.message = told.get("networks", []), told.get("error")
            except (TimeoutError, ValueError):  # no word from it: a limit ended it
                into.message = TOO_MUCH
            except OSError as error:
                into.message = f"networks cannot be worked out: {error.strerror or error}"
            into.state = "ready" if into.message is None else "unavailable"

    async def _run(self, scan: Scan) -> dict[str, Any]:
        options, limits = self._settings.scan, self._settings.limits
        job = {
            "dataset": scan.dataset,
            "asn_db": None if options.asn_db is None else str(options.asn_db),
            "country_db": None if options.country_db is None else str(options.country_db),
            "detector": options.detector_id,
            "cpu_s": limits.scan_cpu_s,
            "memory_bytes": limits.scan_memory_bytes,
            "file_bytes": 1 << 30,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "unflux.web.network_worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            told_it = process.communicate(json.dumps(job).encode())
            out, _ = await asyncio.wait_for(told_it, TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        told: dict[str, Any] = json.loads(out)
        return told

    async def stop(self) -> None:
        """End what runs."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
