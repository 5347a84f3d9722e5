"""Rate limits: token buckets. In any span of t seconds at most burst + rate · t queries pass.

What a microsecond gives (`CLOCK_STEP_S`) is lent, and taken off the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

CLOCK_STEP_S = 1e-6
"""Shorter waits count as none: seconds since the epoch in 64 bits are about 2.4e-7 apart, so that
a clock can stand still in the middle of such a wait, and who waits for it would never be due."""
MAX_BUCKETS = 200_000
"""At this many, full buckets are dropped: a full one and a new one are the same."""


class Rate(NamedTuple):
    """Queries per second, and how many may come at once."""

    per_s: float
    burst: float


@dataclass(slots=True)
class Bucket:
    """Tokens at a time; a query takes one."""

    rate: Rate
    tokens: float
    at_s: float
    reserved_s: float = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until a token is there; 0 when one is."""
        left_s = (1.0 - self._level(now)) / self.rate.per_s
        return left_s if left_s > CLOCK_STEP_S else 0.0

    def take(self, now: float) -> None:
        """Use a token; call it only when `wait_s` is 0."""
        self.tokens, self.at_s = self._level(now) - 1.0, max(now, self.at_s)

    def reserve(self, now: float) -> float:
        """A time at which to come back: each caller gets one of its own, a token apart."""
        self.reserved_s = max(self.reserved_s, now + self.wait_s(now))
        mine = self.reserved_s
        self.reserved_s += 1 / self.rate.per_s
        return mine

    def is_full(self, now: float) -> bool:
        """Nothing was taken that has not come back."""
        return self._level(now) >= self.rate.burst

    def _level(self, now: float) -> float:
        grown = self.tokens + max(now - self.at_s, 0.0) * self.rate.per_s
        return min(grown, self.rate.burst)


class Paces:
    """One bucket for each thing that has a limit, made when it is first asked for.

    After a restart (`emptied_s` is known) buckets count as empty at the time of the last query
    before it, and have filled since: what was sent before a crash and after it together keeps to
    the limit, and whoever was away for long, or restarts often, is not held up.
    """

    def __init__(self, emptied_s: float | None = None) -> None:
        self.emptied_s = emptied_s
        self.buckets: dict[tuple[str, str], Bucket] = {}

    def bucket(self, kind: str, key: str, rate: Rate, now: float) -> Bucket:
        """The bucket of something."""
        found = self.buckets.get((kind, key))
        if found is None:
            if len(self.buckets) >= MAX_BUCKETS:
                self._drop_full(now)
            tokens = rate.burst
            if self.emptied_s is not None:
                tokens = min((now - self.emptied_s) * rate.per_s, rate.burst)
            found = self.buckets[kind, key] = Bucket(rate, tokens, now)
        return found

    def _drop_full(self, now: float) -> None:
        self.buckets = {key: one for key, one in self.buckets.items() if not one.is_full(now)}

    def shift(self, seconds: float) -> None:
        """All times move."""
        if self.emptied_s is not None:
            self.emptied_s += seconds
        for bucket in self.buckets.values():
            bucket.at_s += seconds
            bucket.reserved_s += seconds
