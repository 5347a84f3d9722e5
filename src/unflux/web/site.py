"""What a running site consists of, in one place: routes ask it, and nothing is global."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from pathlib import Path

import pyarrow as pa

from unflux import enrich
from unflux.web.buckets import Buckets
from unflux.web.history import HistoryReader
from unflux.web.lab import LabRoom
from unflux.web.live import Feed
from unflux.web.metrics import Metrics
from unflux.web.networks import NetworkRoom
from unflux.web.portrait import Place
from unflux.web.settings import Settings
from unflux.web.store import Scan, Store
from unflux.web.uploads import Uploads
from unflux.web.watching import WatchRoom

MAX_READERS = 16


class Site:
    """Store, datasets and background work of one `unflux serve`."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store = settings, store
        self.metrics = Metrics()
        self.uploads = Uploads(settings, store, self.metrics)
        self.networks = NetworkRoom(settings)
        self.feed = None if settings.alerts is None else Feed(settings.alerts)
        self.watch = WatchRoom(settings.watch) if settings.watch else None
        self.lab = None if settings.lab is None else LabRoom(settings.lab)
        self.exporting = threading.BoundedSemaphore(settings.limits.exports)
        self.failed_logins = Buckets(rate_per_s=1 / 6, burst=10)
        self.tables = enrich.load(settings.scan.asn_db, settings.scan.country_db)
        self._readers: OrderedDict[tuple[str, int | None], HistoryReader] = OrderedDict()
        self._lock = threading.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self.n_streams = 0

    async def start(self) -> None:
        """Begin what runs beside requests."""
        if self.feed is not None:
            self._tasks.append(asyncio.create_task(self.feed.run()))
        if self.watch is not None:
            self._tasks.append(asyncio.create_task(self.watch.run()))

    async def stop(self) -> None:
        """End it."""
        if self.feed is not None:
            await self.feed.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.uploads.stop()
        if self.lab is not None:
            await self.lab.stop()
        await self.networks.stop()

    def scan(self, scan_id: str | None) -> Scan | None:
        """The scan asked for, or the one that is served: its dataset, else the newest upload."""
        if scan_id is not None:
            return self.store.findings.scan(scan_id)
        judged = [one for one in self.store.findings.scans() if one.judged_at_us is not None]
        served = self.settings.dataset
        if served is not None:
            path = str(served.resolve())
            return next((one for one in judged if one.dataset == path), None)
        return judged[0] if judged else None

    def history(self, scan: Scan) -> HistoryReader:
        """The sightings of a scan."""
        key = (scan.id, scan.judged_at_us)
        with self._lock:
            reader = self._readers.pop(key, None) or HistoryReader(
                Path(scan.dataset), scan.id, self.settings.indexes
            )
            self._readers[key] = reader
            while len(self._readers) > MAX_READERS:
                self._readers.popitem(last=False)
        return reader

    def places(self, addresses: list[str]) -> dict[str, Place]:
        """Where addresses belong."""
        found = self.tables.locate(pa.array(addresses, pa.string()))
        columns = (found.column(name) for name in ("origin_asn", "organisation", "country"))
        plain = [
            (
                column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
            ).to_pylist()
            for column in columns
        ]
        return dict(zip(addresses, zip(*plain, strict=True), strict=True))
