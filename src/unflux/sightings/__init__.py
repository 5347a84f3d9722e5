"""Reduce inputs to mergeable history, and keep it: the tables `sightings` and `activity`."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unflux import sources, tables
from unflux._native import Progress, Reducer
from unflux.errors import MalformedInput, UnfluxError
from unflux.sources.base import Books, ReadOptions

Result = TypeVar("Result")
POLL_S = 0.1
OnProgress = Callable[[int, int], None]
"""Called with (bytes read, bytes in all)."""


@dataclass(frozen=True, slots=True)
class Input:
    """One file that was read, and what became of its items."""

    path: Path
    source: str | None
    """Name of the format, None when it is unknown."""
    books: Books


@dataclass(frozen=True, slots=True)
class History:
    """What the core reduced; all batches share their dictionaries."""

    sightings: list[pa.RecordBatch]
    activity: list[pa.RecordBatch]
    inputs: list[Input]

    @property
    def names(self) -> pa.Array[Any]:
        """Names by number (the dictionary of every `owner` column)."""
        return self.sightings[0].column("owner").dictionary

    @property
    def rdata(self) -> pa.Array[Any]:
        """Rdata by number (the dictionary of every `rdata` column)."""
        return self.sightings[0].column("rdata").dictionary

    def sightings_table(self) -> pa.Table:
        """The sightings as their public schema has them."""
        table = plain(pa.Table.from_batches(self.sightings))
        bucket = pc.floor_temporal(table.column("time_first"), unit="hour")
        count = _fresh(table, table.column("count_raw"))
        derived = table.append_column("bucket", bucket).append_column("count", count)
        return derived.select(tables.SIGHTINGS.names).cast(tables.SIGHTINGS)

    def activity_table(self) -> pa.Table:
        """The activity as its public schema has it."""
        table = plain(pa.Table.from_batches(self.activity))
        derived = table.append_column("fresh_responses", _fresh(table, table.column("responses")))
        return derived.select(tables.ACTIVITY.names).cast(tables.ACTIVITY)


def _fresh(table: pa.Table, of: pa.ChunkedArray) -> pa.ChunkedArray:
    """Fresh observations among `of`: a column that follows from others (see the core)."""
    bits = np.bitwise_count(table.column("fresh_minutes").to_numpy()).astype(np.int64)
    all_fresh = pc.is_in(table.column("vantage"), pa.array(["upstream", "history"]))
    return pc.if_else(all_fresh, of, pa.array(bits))


def plain(table: pa.Table) -> pa.Table:
    """Dictionaries, also inside lists, as plain strings."""
    types = [_plain_type(column.type) for column in table.columns]
    columns = [column.cast(kind) for column, kind in zip(table.columns, types, strict=True)]
    return pa.table(columns, names=table.column_names)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.list_(_plain_type(kind.value_type)) if pa.types.is_list(kind) else kind


def reduce(
    paths: Sequence[Path],
    options: ReadOptions | None = None,
    *,
    format_name: str | None = None,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> History:
    """Read files into one history.

    A file that cannot be read is reported in its `Input` and the others are still done; with
    `strict`, the first such file or malformed item raises `UnfluxError` instead.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, after reading has stopped cleanly.
    """
    options = options or ReadOptions(threads=os.cpu_count() or 1)
    files = list(sources.expand(paths))
    if not files:
        raise ValueError("name at least one file to read")
    reducer, progress = Reducer(options.keep_clients), Progress()
    total = sum(sources.size_of(path) for path in files)
    inputs = []
    for path in files:
        job = _Job(path, format_name, reducer, options, progress)
        inputs.append(run_interruptibly(job, progress, on_progress, total))
        if strict:
            raise_first_fault(inputs[-1])
    batches = run_interruptibly(lambda: reducer.finish(options.threads), progress, None, total)
    return History(*batches, inputs)


@dataclass(frozen=True, slots=True)
class _Job:
    """Read one file; called on a worker thread."""

    path: Path
    format_name: str | None
    reducer: Reducer
    options: ReadOptions
    progress: Progress

    def __call__(self) -> Input:
        source = sources.choose(self.path, self.format_name)
        if isinstance(source, str):
            return Input(self.path, None, Books(error=source))
        books = source.read(self.path, self.reducer, self.options, self.progress)
        return Input(self.path, source.name, books)


def raise_first_fault(done: Input) -> None:
    """What `strict` means: raise `UnfluxError` when a file, or an item in it, is wrong."""
    if done.books.error is not None:
        raise UnfluxError(f"{done.path}: {done.books.error}")
    fault = done.books.first_fault(str(done.path))
    if fault is not None:
        raise MalformedInput(fault)


def run_interruptibly(
    job: Callable[[], Result],
    progress: Progress,
    on_progress: OnProgress | None,
    total: int,
) -> Result:
    """Run `job` on a thread; Ctrl-C and SIGTERM cancel it, wait for it, and then raise."""
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(job())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="unflux-reader")
    with _sigterm_as_interrupt():
        thread.start()
        try:
            while thread.is_alive():
                thread.join(POLL_S if on_progress else None)
                if on_progress:
                    on_progress(progress.bytes, total)
        except KeyboardInterrupt:
            progress.cancel()
            thread.join()
            raise
    if failure:
        raise failure[0]
    return outcome[0]


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM means the same as Ctrl-C while a file is read (only on the main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place once everything went well."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_new_directory(directory: Path) -> None:
    """Raise `UnfluxError` when a directory to be written holds something already."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UnfluxError(f"{directory} is not empty; name a new directory")


def write_dataset(history: History, directory: Path) -> list[Path]:
    """Write both tables by day: ``sightings/day=2026-01-31/part-0.parquet`` and so on.

    Raises
    ------
    UnfluxError
        When the directory holds something already.
    """
    check_new_directory(directory)
    written = []
    for name, table in (
        ("sightings", history.sightings_table()),
        ("activity", history.activity_table()),
    ):
        for day, part in _by_day(table):
            path = directory / name / f"day={day}" / "part-0.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_table(part, path)
            written.append(path)
    return written


def _by_day(table: pa.Table) -> Iterable[tuple[str, pa.Table]]:
    days = table.column("bucket").cast(pa.date32())
    for day in sorted(days.unique().to_pylist()):
        yield day.isoformat(), table.filter(pc.equal(days, pa.scalar(day)))
