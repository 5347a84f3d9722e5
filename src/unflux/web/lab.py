"""A running lab (`unflux lab run`): what goes on in it, and take-downs inside of it.

Only the control socket of a lab of this user is asked. The lab itself is sealed: nothing that is
asked for here can touch anything outside of its namespace.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any

from unflux.errors import Unavailable, UnfluxError
from unflux.lab.live import session

RUNNING = "running"
"""Stands for the one lab that runs."""
KEPT = 20
"""Take-downs that are remembered."""
TIMEOUT_S = 5.0
MAX_LISTED = 120
"""Agents of a network that are told."""


class LabRoom:
    """One lab, found anew for each question: it may be started again meanwhile."""

    def __init__(self, which: str) -> None:
        self._which = which
        self.takedowns: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._n = 0
        self._task: asyncio.Task[None] | None = None

    def directory(self) -> Path:
        """The lab's directory.

        Raises
        ------
        UnfluxError
            When none runs, several do, or it is not one of this user's labs.
        """
        labs = session.running()
        if self._which != RUNNING:
            wanted = Path(self._which).resolve()
            if wanted not in [one.resolve() for one in labs]:
                raise Unavailable(f"no lab runs in {wanted}: see `unflux lab status`")
            return wanted
        if not labs:
            raise Unavailable("no lab is running: start one with `unflux lab run SCENARIO`")
        if len(labs) > 1:
            known = ", ".join(map(str, labs))
            raise UnfluxError(
                f"several labs run: choose one with `unflux serve --lab DIR` ({known})"
            )
        return labs[0]

    def status(self) -> dict[str, Any]:
        """What the lab says of itself, long lists cut.

        Raises
        ------
        UnfluxError
            When it does not answer.
        """
        told = session.ask(self.directory(), {"do": "status"}, TIMEOUT_S)
        for network in told.get("networks", {}).values():
            network["n_listed"] = sum(map(len, network["listed"]))
            network["listed"] = [group[:MAX_LISTED] for group in network["listed"]]
        return told

    def take_down(self, what: str, network: str, watch_s: float) -> dict[str, Any]:
        """Begin a take-down; its result comes with the next statuses.

        Raises
        ------
        UnfluxError
            When no lab runs, or the one before is still being measured.
        """
        if self._task is not None and not self._task.done():
            raise UnfluxError("a take-down is being measured: wait for its end")
        directory = self.directory()
        self._n += 1
        entry: dict[str, Any] = {
            "id": self._n, "what": what, "network": network, "state": "measuring",
        }  # fmt: skip
        self.takedowns.append(entry)
        self._task = asyncio.create_task(self._measure(directory, entry, watch_s))
        return entry

    async def _measure(self, directory: Path, entry: dict[str, Any], watch_s: float) -> None:
        what, network = entry["what"], entry["network"]
        request = {"do": "takedown", "what": what, "network": network, "watch_s": watch_s}
        try:
            told = await asyncio.to_thread(session.ask, directory, request, watch_s * 2 + 60)
            entry.update(told, state="done")
        except UnfluxError as error:
            entry.update(state="failed", error=str(error))

    async def stop(self) -> None:
        """Wait for nothing: the lab ends what it measures by itself."""
        if self._task is not None:
            self._task.cancel()
