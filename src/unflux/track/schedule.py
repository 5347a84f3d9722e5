"""Which targets are due, within all budgets: a heap by time, and a line before each busy server."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator

from unflux.track.pace import Bucket, Paces, Rate
from unflux.track.settings import Settings
from unflux.track.targets import Key, Target

BURST_S = 300.0
"""Budgets per hour may be used for so long at once, and for twenty queries at least."""


class Schedule:
    """Due times of all targets.

    Bound: one live entry per target; entries left behind by changed times are swept once they are
    the most.
    """

    def __init__(
        self,
        settings: Settings,
        paces: Paces,
        targets: dict[Key, Target],
        server_for: Callable[[Target], str | None],
        zone_of: Callable[[str], str | None],
        is_resolver: Callable[[str], bool],
    ) -> None:
        self.settings, self.paces, self.targets = settings, paces, targets
        self._server_for, self._zone_of, self._is_resolver = server_for, zone_of, is_resolver
        self._heap: list[tuple[float, int, Key]] = []
        self._lines: dict[str, deque[Key]] = {}
        self._serial = 0

    def push(self, target: Target) -> None:
        """A target's due time is new."""
        self._serial += 1
        heapq.heappush(self._heap, (target.due_s, self._serial, target.key))
        if len(self._heap) > 1000 + 4 * len(self.targets):
            self._heap = [
                entry
                for entry in self._heap
                if (one := self.targets.get(entry[2])) is not None and one.due_s == entry[0]
            ]
            heapq.heapify(self._heap)

    def take(self, now: float, limit: int) -> Iterator[tuple[Target, str | None]]:
        """Targets to ask now and whom; None where there is nobody to ask, or nothing any more."""
        left = limit
        while left > 0 and self.overall(now).wait_s(now) <= 0:
            found = self._from_lines(now) or self._from_heap(now)
            if found is None:
                return
            if found[1] is not None:
                left -= 1
            yield found

    def next_s(self, now: float) -> float | None:
        """When `take` may have something; None when there is nothing to wait for."""
        times = [self._heap[0][0]] if self._heap else []
        times += [
            now + self.server(server, now).wait_s(now)
            for server, line in self._lines.items()
            if line
        ]
        if not times:
            return None
        return max(min(times), now + self.overall(now).wait_s(now))

    def shift(self, seconds: float) -> None:
        """All times move."""
        self._heap = [(when + seconds, serial, key) for when, serial, key in self._heap]
        self.paces.shift(seconds)

    def _from_lines(self, now: float) -> tuple[Target, str | None] | None:
        for server, line in list(self._lines.items()):
            while line and self.server(server, now).wait_s(now) <= 0:
                target = self.targets.get(line.popleft())
                if target is None or target.in_flight:
                    continue
                if target.is_retired:
                    return target, None
                if self._pay(target, server, now):
                    return target, server
            if not line:
                del self._lines[server]
        return None

    def _from_heap(self, now: float) -> tuple[Target, str | None] | None:
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            target = self.targets.get(key)
            if target is None or target.in_flight or target.due_s != when:
                continue
            server = None if target.is_retired else self._server_for(target)
            if server is None:
                return target, None
            if self._lines.get(server) or self.server(server, now).wait_s(now) > 0:
                self._lines.setdefault(server, deque()).append(key)
            elif self._pay(target, server, now):
                return target, server
        return None

    def _pay(self, target: Target, server: str, now: float) -> bool:
        """Take one token of each budget, or let the target wait for the one that is used up."""
        own = self._per_hour("name", target.name, self.settings.per_name_h, now)
        zone = self._zone_of(target.name)
        buckets = [own]
        if zone is not None:
            buckets.append(self._per_hour("zone", zone, self.settings.per_zone_h, now))
        lacking = [bucket for bucket in buckets if bucket.wait_s(now) > 0]
        if lacking:
            target.due_s = max(bucket.reserve(now) for bucket in lacking)
            self.push(target)
            return False
        for bucket in (*buckets, self.server(server, now), self.overall(now)):
            bucket.take(now)
        return True

    def _per_hour(self, kind: str, key: str, per_h: float, now: float) -> Bucket:
        per_s = per_h / 3600
        return self.paces.bucket(kind, key, Rate(per_s, max(per_s * BURST_S, 20)), now)

    def server(self, server: str, now: float) -> Bucket:
        """The budget of a resolver or of one address of a name server."""
        settings = self.settings
        is_resolver = self._is_resolver(server)
        per_s = settings.per_server_s if is_resolver else settings.per_name_server_s
        return self.paces.bucket("server", server, Rate(per_s, max(per_s, 1)), now)

    def overall(self, now: float) -> Bucket:
        """The budget of everything."""
        per_s = self.settings.overall_s
        return self.paces.bucket("overall", "", Rate(per_s, max(per_s, 1)), now)
