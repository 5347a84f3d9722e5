"""Starts and stops the capture process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from unflux.errors import Unavailable
from unflux.lab.live import namespace


class Recorder:
    """The lab's own capture, running beside it."""

    def __init__(
        self,
        directory: Path,
        resolver: list[str],
        agents: list[str] | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.directory = directory
        self.plan = {
            "directory": str(directory), "resolver": resolver, "agents": agents or [], "all": whole,
        }  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None
        self.counts: dict[str, Any] = {}
        """After the end: packets by view, and how many the kernel had to drop."""

    async def start(self) -> None:
        """Start, and wait until nothing can be missed any more."""
        path = self.directory / ".capture.json"
        path.write_text(json.dumps(self.plan))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "unflux.lab.live.capture", str(path),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=_die_with_us,
        )  # fmt: skip
        self._process = process
        line = await _output(process).readline()
        path.unlink(missing_ok=True)
        if line.strip() != b"ready":
            raise Unavailable("the capture did not start")

    async def watch(self) -> None:
        """Returns only when the capture ends.

        Raises
        ------
        Unavailable
            Because it should not.
        """
        code = await self._process.wait() if self._process else None
        raise Unavailable(f"it ended with code {code}")

    async def stop(self) -> None:
        """Stop, and take over what was counted."""
        process = self._process
        if not process:
            return
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(5):
                told = await _output(process).read()
                await process.wait()
        except TimeoutError:
            process.kill()
            return
        if told.strip():
            self.counts = json.loads(told)


def _die_with_us() -> None:
    import signal

    namespace.signal_at_parents_death(signal.SIGTERM)


def _output(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise RuntimeError("the capture was started without a pipe")
    return process.stdout
