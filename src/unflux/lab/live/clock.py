"""Time: the model's seconds run `speed` times as fast as those of the wall."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """From the model's time to the machine's and back; both in seconds since the epoch."""

    speed: float
    model_start_s: float
    wall_start_s: float

    def model_s(self, wall_s: float) -> float:
        """The model's time at a time of the wall."""
        return self.model_start_s + (wall_s - self.wall_start_s) * self.speed

    def wall_s(self, model_s: float) -> float:
        """The wall's time at a time of the model: what captures show."""
        return self.wall_start_s + (model_s - self.model_start_s) / self.speed

    def ttl_s(self, model_ttl_s: int) -> int:
        """A TTL on the wire: whole seconds of the wall, 0 only where the model has 0."""
        return max(round(model_ttl_s / self.speed), 1) if model_ttl_s else 0
