"""What a running `unflux watch` says of itself: rates, drops, and what is blocked until when.

Asked are its `/metrics` and `/healthz`, on this machine only; blocks are in its state directory.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from unflux.errors import Unavailable
from unflux.watch.blocks import Block
from unflux.watch.store import BlockStore
from unflux.web.settings import is_loopback

EVERY_S = 2.0
KEPT = 900
"""Samples: half an hour."""
TIMEOUT_S = 3.0
MAX_BODY_BYTES = 1 << 20
COUNTED = ("items", "decoded", "dropped", "judged")
"""Counters of `/healthz` whose rates are drawn."""
MAX_BLOCKS = 500
MAX_SERIES = 200
METRICS_PREFIX = "unflux_watch_"
FORM = "--watch is http://127.0.0.1:PORT (the watch's --metrics) or its state directory, not"


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters of `COUNTED` at a time."""

    at_s: float
    """Seconds since the epoch."""
    counters: tuple[int, ...]


def parse_target(text: str) -> tuple[str, int] | Path:
    """Host and port of a watch's metrics, or its state directory.

    Raises
    ------
    ValueError
        When it is neither, or an address that others could answer from.
    """
    if "://" not in text:
        path = Path(text)
        if not path.is_dir():
            raise ValueError(f"{FORM} {text}")
        return path
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{FORM} {text}") from None
    if parts.scheme != "http" or port is None or parts.path not in ("", "/", "/metrics"):
        raise ValueError(f"{FORM} {text}")
    if parts.query or parts.username or not is_loopback(host):
        raise ValueError(f"{FORM} {text}: only this machine's loopback is asked")
    return host, port


class WatchRoom:
    """Samples of one watch while the site runs; what could not be read is said as a sentence."""

    def __init__(self, targets: tuple[str, ...]) -> None:
        parsed = [parse_target(one) for one in targets]
        self.address = next((one for one in parsed if isinstance(one, tuple)), None)
        self.state = next((one for one in parsed if isinstance(one, Path)), None)
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.health: dict[str, Any] | None = None
        self.numbers: dict[str, float] = {}
        self.trouble: str | None = None

    async def run(self) -> None:
        """Ask until cancelled."""
        while self.address is not None:
            await asyncio.to_thread(self.poll)
            await asyncio.sleep(EVERY_S)

    def poll(self) -> None:
        """Ask once."""
        try:
            health = json.loads(self._get("/healthz"))
            numbers = parse_numbers(self._get("/metrics").decode(errors="replace"))
            counters = tuple(int(health[name]) for name in COUNTED)
        except (OSError, http.client.HTTPException) as error:
            self.health, self.trouble = None, f"the watch does not answer: {error}"
            return
        except (ValueError, KeyError, TypeError, RecursionError):
            self.health, self.trouble = None, "what answers there is no unflux watch"
            return
        if self.samples and any(
            now < before for now, before in zip(counters, self.samples[-1].counters, strict=True)
        ):
            self.samples.clear()  # the watch was started anew
        self.samples.append(Sample(time.time(), counters))
        self.health, self.numbers, self.trouble = health, numbers, None

    def _get(self, path: str) -> bytes:
        """A page of the watch. No redirect is followed, and no proxy asked."""
        assert self.address is not None  # noqa: S101  for the type checker: run() sees to it
        connection = http.client.HTTPConnection(*self.address, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read(MAX_BODY_BYTES)
        finally:
            connection.close()
        if answer.status not in (200, 503):  # 503: it stalls, and says how
            raise OSError(f"status {answer.status}")
        return body

    def rates(self) -> list[dict[str, Any]]:
        """A second's worth of each counter, between samples."""
        found = []
        for before, now in zip(self.samples, list(self.samples)[1:], strict=False):
            took_s = max(now.at_s - before.at_s, 0.001)
            pairs = zip(COUNTED, now.counters, before.counters, strict=True)
            found.append(
                {"at_s": round(now.at_s, 1)}
                | {name: round((n - n_before) / took_s, 2) for name, n, n_before in pairs}
            )
        return found

    def blocks(self) -> tuple[int, list[Block], str | None]:
        """How many blocks are in force, those seen last, and what went wrong."""
        if self.state is None:
            return 0, [], None
        try:
            now_us = time.time_ns() // 1000
            held = [one for one in BlockStore(self.state).load() if one.until_us > now_us]
        except Unavailable as error:
            return 0, [], str(error)
        held.sort(key=lambda one: (-one.seen_us, one.kind, one.trigger))
        return len(held), held[:MAX_BLOCKS], None


def parse_numbers(text: str) -> dict[str, float]:
    """Series of the watch in Prometheus' text form, without the prefix; others are left out.

    >>> parse_numbers('# TYPE x counter\\nunflux_watch_blocks 3\\nother 1\\n')
    {'blocks': 3.0}
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if not name.startswith(METRICS_PREFIX) or len(found) >= MAX_SERIES:
            continue
        try:
            found[name.removeprefix(METRICS_PREFIX)] = float(value)
        except ValueError:
            continue
    return found
