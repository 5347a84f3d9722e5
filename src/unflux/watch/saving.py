"""State on its way to disk, off the judging path: no round waits for a disk."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from unflux._native import Reducer, Window
from unflux.errors import Unavailable, UnfluxError
from unflux.watch.blocks import Block
from unflux.watch.checkpoint import Batches, Checkpoints
from unflux.watch.log import Log
from unflux.watch.store import BlockStore

MAX_PENDING = 5
"""Parts that could not be saved and are kept to be tried again; beyond, the oldest is given up, and
counted (`checkpoints_lost`)."""
MAX_WAITING = 32
"""Rounds whose sightings wait to be merged: then the round waits, or memory would have no bound,
which is counted (`rounds_held_up`)."""


class Saver:
    """Two threads: one merges what came since the last checkpoint, one writes parts and blocks."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        store: BlockStore,
        counts: Counter[str],
        log: Log,
        spools: Callable[[], None],
    ) -> None:
        self.checkpoints, self.store = checkpoints, store
        self.counts, self.log, self.spools = counts, log, spools
        self.pending: list[Batches] = []
        self.is_saved = True
        """The blocks on disk are those in force."""
        self.delta_bytes = 0
        """What was merged and not written yet takes about so much memory."""
        self._delta = Window(plain=True)
        self._blocks: list[Block] | None = None
        """Blocks to be written; what is newer replaces what was not written yet."""
        self._lock = threading.Lock()
        """Held while `_blocks` is looked at and set: the loop puts there what the writer takes."""
        self._merged: deque[Future[None]] = deque()
        self._saving: Future[None] | None = None
        self._merger = ThreadPoolExecutor(1, "unflux-merger")
        self._writer = ThreadPoolExecutor(1, "unflux-writer")

    def take(self, young: Reducer) -> None:
        """Merge this in; nobody else may use it from now on."""
        self._merged.append(self._merger.submit(self._merge, young))
        while self._merged and (self._merged[0].done() or len(self._merged) > MAX_WAITING):
            self.counts["rounds_held_up"] += not self._merged[0].done()
            self._merged.popleft().result()

    def _merge(self, young: Reducer) -> None:
        self._delta.fold(young)
        self.delta_bytes = self._delta.size()["bytes"]

    def _swap(self) -> Window:
        delta, self._delta = self._delta, Window(plain=True)
        self.delta_bytes = 0
        return delta

    def save_blocks(self, blocks: Iterable[Block]) -> None:
        """Write these blocks as soon as the writer comes to it."""
        wanted = list(blocks)
        with self._lock:
            is_queued, self._blocks = self._blocks is not None, wanted
        if not is_queued:
            self._writer.submit(self._write_blocks)

    def _write_blocks(self) -> None:
        with self._lock:
            blocks, self._blocks = self._blocks, None
        if blocks is None:
            return
        try:
            self.store.save(blocks)
            self.is_saved = True
        except Unavailable as error:
            self.is_saved = False
            self.counts["store_failures"] += 1
            self.log.trouble("blocks_not_saved", str(error), n=self.counts["store_failures"])

    def save(self, now_s: int, blocks: Iterable[Block], *, wait: bool = False) -> None:
        """Write what came since the last time, unless that is still being written."""
        if self._saving is not None and not (wait or self._saving.done()):
            return
        if self._saving is not None:
            self._saving.result()
        merged = self._merger.submit(self._swap)
        self._saving = self._writer.submit(self._save, merged, list(blocks), now_s)
        if wait:
            self._saving.result()

    def _save(self, merged: Future[Window], blocks: list[Block], now_s: int) -> None:
        if not self.is_saved:  # tried again
            with self._lock:
                self._blocks = blocks if self._blocks is None else self._blocks
            self._write_blocks()
        delta = merged.result()
        if delta.size()["rows"] or delta.size()["names"]:
            self.pending.append(delta.take(1))
        try:
            self.spools()
        except OSError:
            self.counts["spool_failures"] += 1
        while self.pending:
            try:
                self.checkpoints.save(self.pending[0], now_s)
            except (OSError, UnfluxError) as error:
                self._keep(error)
                return
            del self.pending[0]
            self.counts["checkpoints"] += 1

    def _keep(self, error: Exception) -> None:
        self.counts["checkpoint_failures"] += 1
        self.log.trouble("checkpoint_failed", str(error), n=self.counts["checkpoint_failures"])
        while len(self.pending) > MAX_PENDING:
            del self.pending[0]
            self.counts["checkpoints_lost"] += 1

    def close(self) -> None:
        """When everything was written."""
        self._merger.shutdown()
        self._writer.shutdown()
