"""The lab's control socket: one JSON object per line in, one out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from unflux.errors import UnfluxError

MAX_REQUEST = 65_536
Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Control:
    """A unix socket in the lab's own directory, which only its user may enter."""

    def __init__(self, path: Path, handlers: dict[str, Handler]) -> None:
        self.path, self.handlers = path, handlers
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self.server = await asyncio.start_unix_server(self._serve, self.path, limit=MAX_REQUEST)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            answer = await self._answer(reader)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            request = json.loads(await reader.readline())
            handler = self.handlers[request["do"]]
        except (ValueError, KeyError, TypeError):
            return {"error": f"a request is JSON with `do`: {', '.join(self.handlers)}"}
        try:
            return await handler(request)
        except (UnfluxError, ValueError) as error:
            return {"error": str(error)}

    def close(self) -> None:
        """Stop listening."""
        if self.server:
            self.server.close()
        self.path.unlink(missing_ok=True)
