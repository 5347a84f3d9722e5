"""Times as the store keeps them: microseconds since the epoch."""

from __future__ import annotations

import time
from datetime import datetime


def now_us() -> int:
    """Now."""
    return time.time_ns() // 1000


def iso_us(text: str | None) -> int | None:
    """ISO 8601 as in findings."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond
