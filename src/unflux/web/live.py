"""Follow the alerts of `unflux watch`: a file with one JSON object a line that grows."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL_S = 0.5
HEARTBEAT_S = 15.0
KEPT = 1000
"""Alerts that a page which comes later still gets."""
MAX_LINE_BYTES = 4 << 20
MAX_READ_BYTES = 16 << 20
"""Read at a time; of a longer file only the end is read at first."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One line."""

    number: int
    content: dict[str, Any]


class Feed:
    """The file as it grows, replaced and cut files too; lines that are no object are counted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode: int | None = None
        self._rest = b""
        self._number = 0
        self.kept: deque[Alert] = deque(maxlen=KEPT)
        self.n_malformed = 0
        self.stopping = False
        self._grew = asyncio.Condition()

    @property
    def number(self) -> int:
        """Of the last alert."""
        return self._number

    def poll(self) -> int:
        """Read what is new; how many alerts came."""
        try:
            status = self._path.stat()
        except OSError:
            return 0
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._inode, self._offset, self._rest = status.st_ino, 0, b""
            if status.st_size > MAX_READ_BYTES:
                self._offset = status.st_size - MAX_READ_BYTES
                self._rest = b"\0"  # the first line is a part of one: it will not parse
        if status.st_size == self._offset:
            return 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(MAX_READ_BYTES)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest = b"\0"
        return sum(self._take(line) for line in lines if line.strip())

    def _take(self, line: bytes) -> int:
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise ValueError("an alert is an object")
        except (ValueError, RecursionError):
            self.n_malformed += 1
            return 0
        self._number += 1
        self.kept.append(Alert(self._number, content))
        return 1

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            if await asyncio.to_thread(self.poll):
                async with self._grew:
                    self._grew.notify_all()
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End all streams."""
        self.stopping = True
        async with self._grew:
            self._grew.notify_all()

    async def events(self, after: int) -> AsyncIterator[bytes]:
        """Server-sent events of alerts after a number, and a heartbeat."""
        yield b"retry: 3000\n\n"
        while not self.stopping:
            fresh = [one for one in self.kept if one.number > after]
            for one in fresh:
                after = one.number
                yield b"id: %d\ndata: %s\n\n" % (one.number, json.dumps(one.content).encode())
            try:
                async with self._grew:
                    if self._number == after and not self.stopping:
                        await asyncio.wait_for(self._grew.wait(), HEARTBEAT_S)
            except TimeoutError:
                yield b": still here\n\n"
