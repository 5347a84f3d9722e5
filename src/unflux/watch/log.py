"""Lines on standard error: an event and its fields; repeated trouble is one line a minute."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from typing import IO, Any

TROUBLE_EVERY_S = 60.0


class Log:
    """``2026-01-31T12:00:00Z event key=value``, safe from any thread."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self.out = out or sys.stderr
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}

    def say(self, event: str, **fields: Any) -> None:
        """One line."""
        words = "".join(f" {key}={_quoted(value)}" for key, value in fields.items())
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {event}{words}\n"
        with self._lock:
            try:
                self.out.write(line)
                self.out.flush()
            except (OSError, ValueError):
                return  # nobody reads our log; that is no reason to stop

    def trouble(self, event: str, says: str, *, n: int | None = None, **fields: Any) -> bool:
        """The same at most once a minute for each event and fields; `n` is how often in all, where
        it is counted.

        Returns whether it was said. What the fields may be has to be bounded: it is remembered.
        """
        key = f"{event}{fields}"
        now = time.monotonic()
        if now - self._said.get(key, -TROUBLE_EVERY_S) < TROUBLE_EVERY_S:
            return False
        self._said[key] = now
        self.say(event, says=says, **({} if n is None else {"n": n}), **fields)
        return True


def _quoted(value: Any) -> str:
    text = "".join(sign if sign.isprintable() else "?" for sign in str(value))
    return f'"{text}"' if " " in text or not text else text
