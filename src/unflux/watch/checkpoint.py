"""What was seen, on disk: a dataset of unflux that grows by a part an interval, and shrinks again.

The state directory can be scanned and explained like any dataset. A part holds what came since the
one before; because sightings are mergeable, the parts together are the window.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from unflux import sources
from unflux._native import Progress, Reducer, Window
from unflux.sightings import Dataset, History
from unflux.sightings.taken import TakenIn
from unflux.sources.base import ReadOptions

MAX_PARTS = 60
"""Parquet files from which the small ones are put together into one."""
Batches = tuple[list[pa.RecordBatch], list[pa.RecordBatch]]


class Checkpoints:
    """Saves what came, loads it again, and drops what is older than the window."""

    def __init__(self, directory: Path, window_s: int, formats: list[str]) -> None:
        self.dataset = Dataset.open(directory / "sightings")
        self.window_s = window_s
        self.formats = formats
        self.damaged: set[Path] = set()
        """Files that could not be read to their end: what they say until then counts."""

    def save(self, batches: Batches, now_s: int) -> None:
        """Add a part, and put many small ones together.

        Raises
        ------
        OSError
            When the disk is full: the dataset is as it was, and the part may be saved again.
        """
        history = History(*batches, [], set(self.formats), [])
        if len(self.dataset.manifest.parts) >= MAX_PARTS:
            self._compact(history, now_s)
            return
        self.dataset.add(history, self._taken_in(), replacing=self._outdated(now_s))

    def _taken_in(self) -> list[TakenIn]:
        missing = set(self.formats) - self.dataset.formats
        return [TakenIn("live", "", 0, name) for name in sorted(missing)]

    def _outdated(self, now_s: int) -> list[str]:
        """Parts of days that are wholly behind the window."""
        oldest = datetime.fromtimestamp(max(now_s - self.window_s, 0), UTC).strftime("%Y-%m-%d")
        return [part for part in self.dataset.manifest.parts if _day(part) < oldest]

    def _compact(self, history: History, now_s: int) -> None:
        """One part for all there is, the new one too."""
        options = ReadOptions(since_us=(now_s - self.window_s) * 1_000_000)
        whole = Window(plain=True)
        for reducer in self._read(self.dataset.files, options):
            whole.fold(reducer)
        new = Reducer()
        for table, add in (
            (history.sightings_table(), new.add_sightings),
            (history.activity_table(), new.add_activity),
        ):
            for batch in table.combine_chunks().to_batches():
                add(batch)
        whole.fold(new)
        damaged = {path.relative_to(self.dataset.directory).as_posix() for path in self.damaged}
        replaced = [part for part in self.dataset.manifest.parts if part not in damaged]
        merged = History(*whole.take(1), [], set(self.formats), [])
        self.dataset.add(merged, self._taken_in(), replacing=replaced)

    def load(self, window: Window, now_s: int) -> int:
        """Fold what is on disk into a window; returns the number of sightings read."""
        options = ReadOptions(since_us=(now_s - self.window_s) * 1_000_000)
        n_rows = 0
        for reducer in self._read(self.dataset.files, options):
            window.fold(reducer)
            n_rows = window.size()["rows"]
        window.judge_all()
        return n_rows

    def _read(self, files: list[Path], options: ReadOptions) -> Iterator[Reducer]:
        """One reducer a file; of a damaged one what can be read, and it stays for people."""
        for path in files:
            reducer = Reducer()
            source = sources.choose(path)
            if isinstance(source, str) or source.read(path, reducer, options, Progress()).error:
                self.damaged.add(path)
            yield reducer


def _day(part: str) -> str:
    """The day of ``sightings/day=2026-01-31/part-00000.parquet``."""
    return next((one[4:] for one in part.split("/") if one.startswith("day=")), "9999")
