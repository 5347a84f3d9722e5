"""Token buckets: how many requests somebody may still make. Time comes in, no clock inside."""

from __future__ import annotations

from collections import OrderedDict

MAX_KEYS = 10_000
"""Of those there are more, the one that was quiet for longest is forgotten (its bucket is full)."""


class Buckets:
    """One bucket a key, refilled at `rate_per_s` up to `burst`."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self.rate_per_s, self.burst = rate_per_s, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now_s: float, n: float = 1.0) -> float:
        """Take from a bucket; 0, or the seconds to wait until there is enough."""
        if self.rate_per_s <= 0:
            return 0.0
        left = self.left(key, now_s)
        enough = left >= n
        self._left[key] = (left - n if enough else left, now_s)
        self._left.move_to_end(key)
        if len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)
        return 0.0 if enough else (n - left) / self.rate_per_s

    def left(self, key: str, now_s: float) -> float:
        """How much is in a bucket."""
        left, at_s = self._left.get(key, (float(self.burst), now_s))
        return min(float(self.burst), left + max(0.0, now_s - at_s) * self.rate_per_s)
