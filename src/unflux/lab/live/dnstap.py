"""Receives unbound's dnstap (Frame Streams, bidirectional) and writes it to a file as it comes."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import IO

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"
ACCEPT, START, STOP, READY, FINISH = 1, 2, 3, 4, 5
MAX_FRAME = 1 << 20


def control(kind: int, *, with_type: bool = True) -> bytes:
    """A control frame of Frame Streams."""
    body = struct.pack(">I", kind)
    if with_type:
        body += struct.pack(">II", 1, len(CONTENT_TYPE)) + CONTENT_TYPE
    return struct.pack(">II", 0, len(body)) + body


class DnstapFile:
    """A unix socket that a resolver connects to; data frames go to the file behind one START."""

    def __init__(self, socket: Path, file: Path) -> None:
        self.socket, self.path = socket, file
        self.n_frames = 0
        self.server: asyncio.Server | None = None
        self._file: IO[bytes] = file.open("wb")
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._file.write(control(START))
        self.server = await asyncio.start_unix_server(self._receive, self.socket)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(4))
                if length > MAX_FRAME:
                    return
                if length:
                    self._file.write(length.to_bytes(4) + await reader.readexactly(length))
                    self.n_frames += 1
                elif not await self._control(reader, writer):
                    return
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            return
        finally:
            writer.close()
            if task:
                self._tasks.discard(task)

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a control frame; False when the sender stops."""
        length = int.from_bytes(await reader.readexactly(4))
        kind = int.from_bytes((await reader.readexactly(min(length, MAX_FRAME)))[:4])
        if kind == READY:
            writer.write(control(ACCEPT))
        elif kind == STOP:
            writer.write(control(FINISH, with_type=False))
        await writer.drain()
        return kind != STOP

    async def stop(self) -> None:
        """Take what is still coming, then end the file."""
        if self.server:
            self.server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        for task in self._tasks:
            task.cancel()
        self._file.write(control(STOP, with_type=False))
        self._file.close()
        self.socket.unlink(missing_ok=True)
