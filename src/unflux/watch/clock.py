"""The one clock of a watch, and how it notices that somebody set it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

STEP_S = 5.0
"""Smaller corrections (NTP slews) are no steps."""


@dataclass(slots=True)
class Clock:
    """Wall time (or the stream's), and whether somebody set it."""

    kind: str
    stream_us: int = 0
    _wall_s: float = field(default_factory=time.time)
    _boot_s: float = field(default_factory=lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    steady_s: float = field(default_factory=time.time)
    """Wall time at the start and what has passed since, whatever was set meanwhile."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self.stream_us if self.kind == "stream" else time.time_ns() // 1000

    def step_s(self) -> float:
        """By how much the clock was set since the last call, 0 if it was not."""
        wall_s, boot_s = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        passed_s = boot_s - self._boot_s
        step_s = (wall_s - self._wall_s) - passed_s
        self._wall_s, self._boot_s = wall_s, boot_s
        self.steady_s += passed_s
        return step_s if abs(step_s) >= STEP_S else 0.0
