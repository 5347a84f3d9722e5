"""The edge: one event loop that asks what is due, stores what was heard, and sleeps.

Order matters for a crash: queries are marked as asked on disk, then sent; a response is stored
together with the state that follows from it. See `unflux.track.store`.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from unflux.track.ask import NoAnswer
from unflux.track.clock import Clock
from unflux.track.facts import Event, Query, Response, Sample
from unflux.track.machine import Tracker
from unflux.track.record import Heard, heard
from unflux.track.store import Store

TICK_S = 0.02
"""Queries and responses of so long are stored together."""
IDLE_S = 1.0
"""Longest sleep: names that were added meanwhile, and a clock that was set, are noticed then."""
MAX_OUT = 2_000
"""Queries that may be out at once; beyond that, what is due waits."""

OnEvents = Callable[[list[Event]], None]


class Asks(Protocol):
    """Who sends a query and waits for the response; see `unflux.track.ask.Asker`."""

    async def ask(self, query: Query) -> Response:
        """The response, or `NoAnswer`."""
        ...


@dataclass(slots=True)
class Done:
    """A query that came back."""

    query: Query
    response: Response | None
    why: str
    at_s: float


class Runner:
    """Tracks the names of a store until it is stopped."""

    def __init__(
        self,
        store: Store,
        tracker: Tracker,
        asker: Asks,
        clock: Clock,
        *,
        flush: Callable[[], list[Event]],
        flush_every_s: float,
        on_events: OnEvents = lambda _events: None,
    ) -> None:
        self.store, self.tracker, self.asker, self.clock = store, tracker, asker, clock
        self.flush, self.flush_every_s, self.on_events = flush, flush_every_s, on_events
        self.stopping = asyncio.Event()
        self.n_out = 0
        self._done: list[Done] = []
        self._came = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._revision = -1

    async def run(self, until_s: float | None = None) -> None:
        """Track until `until_s`, `stop`, Ctrl-C or SIGTERM; then bring everything to disk."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread
                loop.add_signal_handler(number, self.stop)
        flushing: asyncio.Task[None] | None = None
        flushed_s = self.clock.now()
        while not self.stopping.is_set():
            now = self.clock.now()
            if until_s is not None and now >= until_s:
                break
            self._step(now)
            if now - flushed_s >= self.flush_every_s and (flushing is None or flushing.done()):
                flushed_s = now
                flushing = asyncio.create_task(self._flush())
            await self._sleep(until_s)
        await self._end(flushing)

    def stop(self) -> None:
        """Ask for nothing more, and end."""
        self.stopping.set()
        self._came.set()

    def _step(self, now: float) -> None:
        """One round: what came back, what was listed meanwhile, what is due."""
        shifted = self.clock.step()
        if shifted:
            self.tracker.shift(shifted)
            now = self.clock.now()
        self._follow_list(now)
        events, samples, kept, totals = self._take_in()
        queries = self.tracker.due(now, max(MAX_OUT - self.n_out, 0))
        samples += self.tracker.take_samples()
        totals.update(f"asked {query.kind}" for query in queries)
        self._store(events, samples, kept, totals)
        for query in queries:
            self.n_out += 1
            task = asyncio.create_task(self._ask(query))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take_in(self) -> tuple[list[Event], list[Sample], list[Heard], Counter[str]]:
        done, self._done = self._done, []
        self._came.clear()
        events: list[Event] = []
        kept: list[Heard] = []
        totals: Counter[str] = Counter()
        for one in done:
            self.n_out -= 1
            if one.response is None:
                totals[f"no answer: {one.why}"] += 1
                events += self.tracker.on_failure(one.query, one.why, one.at_s)
                continue
            totals[f"answered {one.response.rcode}"] += 1
            events += self.tracker.on_response(one.query, one.response, one.at_s)
            row = heard(one.query, one.response, round(one.at_s * 1e6))
            kept += [row] if row is not None else []
        return events, self.tracker.take_samples(), kept, totals

    def _store(
        self, events: list[Event], samples: list[Sample], kept: list[Heard], totals: Counter[str]
    ) -> None:
        listed, targets, dropped = self.tracker.take_dirty()
        if not (events or samples or kept or listed or targets or dropped or totals):
            return
        with self.store.transaction():
            self.store.put(listed, targets, dropped)
            self.store.put_heard(kept, events, samples)
            self.store.count(totals)
        if events:
            self.on_events(events)

    def _follow_list(self, now: float) -> None:
        """Take over names that `unflux track add` and `remove` changed meanwhile."""
        revision = self.store.revision()
        if revision == self._revision:
            return
        self._revision = revision
        listed = {one.name: one for one in self.store.names()}
        for name in self.tracker.names.keys() - listed.keys():
            self.tracker.remove(name)
        for name in listed.keys() - self.tracker.names.keys():
            self.tracker.add(name, now, listed[name].source)

    async def _ask(self, query: Query) -> None:
        try:
            response = await self.asker.ask(query)
            done = Done(query, response, "", self.clock.now())
        except NoAnswer as why:
            done = Done(query, None, str(why), self.clock.now())
        self._done.append(done)
        self._came.set()

    async def _sleep(self, until_s: float | None) -> None:
        await asyncio.sleep(TICK_S)
        if self._came.is_set():
            return
        now = self.clock.now()
        next_s = self.tracker.next_due_s()
        wake_s = min([now + IDLE_S, *(one for one in (next_s, until_s) if one is not None)])
        if self.n_out >= MAX_OUT:
            wake_s = now + IDLE_S
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), max(wake_s - now, 0.0))

    async def _flush(self) -> None:
        """Into the dataset and to new verdicts, on a thread: asking goes on meanwhile."""
        events = await asyncio.to_thread(self.flush)
        if events:
            with self.store.transaction():
                self.store.put_heard([], events, [])
            self.on_events(events)
        self.store.trim()

    async def _end(self, flushing: asyncio.Task[None] | None) -> None:
        """Wait for what is out (its time-out is short), store it, and write the history."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        events, samples, kept, totals = self._take_in()
        self._store(events, samples, kept, totals)
        if flushing is not None:
            await flushing
        await self._flush()
