"""The tracker's clock: seconds since the epoch that never jump, and what to do when others' do."""

from __future__ import annotations

import time
from collections.abc import Callable

STEP_S = 2.0
"""A difference to the system's clock from here on is a step; smaller ones are drift."""


class Clock:
    """Wall time at the start plus time that really passed, sleep of the machine included."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        passed: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._wall, self._passed = wall, passed
        self._offset = wall() - passed()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._passed() + self._offset

    def step(self) -> float:
        """Seconds by which the system's clock was set since the last call; 0 when it was not.

        From then on `now` follows the new clock: whoever keeps times has to shift them as well.
        """
        difference = self._wall() - self.now()
        if abs(difference) < STEP_S:
            return 0.0
        self._offset += difference
        return difference
