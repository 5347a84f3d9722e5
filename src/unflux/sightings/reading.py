"""Read files into one history: in parallel, interruptibly, and into a dataset in steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from unflux import sources
from unflux._native import Progress, Reducer
from unflux.errors import MalformedInput, UnfluxError
from unflux.sightings.dataset import Dataset
from unflux.sightings.history import History, Input
from unflux.sightings.intake import Intake, by_options, told
from unflux.sightings.selection import select
from unflux.sources.base import Books, ReadOptions

if TYPE_CHECKING:
    import pyarrow as pa

Result = TypeVar("Result")
POLL_S = 0.1
OnProgress = Callable[[int, int], None]
"""Called with (bytes read, bytes in all)."""

LARGE_BYTES = 16 << 20
"""Files from here on are read one after the other on all threads; smaller ones in parallel."""
SAVE_EVERY_BYTES = 1 << 30
"""A dataset gets a part after so many bytes of input: what an interrupted run has done is kept."""


def reduce(
    paths: Sequence[Path],
    options: ReadOptions | None = None,
    *,
    format_name: str | None = None,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> History:
    """Read files, directories and datasets into one history.

    A file that cannot be read is reported in its `Input` and the others are still done; with
    `strict`, the first such file or malformed item raises `UnfluxError` instead.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, after reading has stopped cleanly.
    """
    options = options or ReadOptions(threads=os.cpu_count() or 1)
    if not paths:
        raise ValueError("name at least one file to read")
    selection = select(paths)
    total = sum(sources.size_of(path) for path in selection.files)
    progress = Progress()
    job = _Job(selection.files, format_name, strict, options, progress)
    sightings, activity, inputs = run_interruptibly(job, progress, on_progress, total)
    return History(
        sightings,
        activity,
        inputs,
        selection.formats | {one.source for one in inputs if one.source is not None},
        selection.passed_over,
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """Read files and finish their history; called on a worker thread."""

    files: list[Path]
    format_name: str | None
    strict: bool
    options: ReadOptions
    progress: Progress

    def __call__(self) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch], list[Input]]:
        reducer = self._reducer()
        small = [path for path in self.files if sources.size_of(path) < LARGE_BYTES]
        done: dict[Path, Input] = {}
        if self.strict or self.options.threads < 2 or len(small) < 2:
            small = []
        for path in self.files:
            if path not in small:
                done[path] = self._read(path, reducer, self.options)
        if small:
            done |= self._read_in_parallel(small, reducer)
        sightings, activity = reducer.finish(self.options.threads)
        return sightings, activity, [done[path] for path in self.files]

    def _reducer(self) -> Reducer:
        return Reducer(self.options.clients, self.options.client_key)

    def _read_in_parallel(self, paths: list[Path], reducer: Reducer) -> dict[Path, Input]:
        """Each thread takes the next file and keeps what it reads in a reducer of its own."""
        waiting, alone = iter(paths), replace(self.options, threads=1)
        lock = threading.Lock()

        def work() -> tuple[Reducer, dict[Path, Input]]:
            mine = self._reducer()
            done: dict[Path, Input] = {}
            while True:
                with lock:
                    path = next(waiting, None)
                if path is None or self.progress.cancelled:
                    return mine, done
                done[path] = self._read(path, mine, alone)

        done: dict[Path, Input] = {}
        with ThreadPoolExecutor(self.options.threads) as pool:
            futures = [pool.submit(work) for _ in range(min(self.options.threads, len(paths)))]
            for future in futures:
                mine, some = future.result()
                reducer.absorb(mine)
                done |= some
        return {path: done.get(path, Input(path, None, Books(), 0)) for path in paths}

    def _read(self, path: Path, into: Reducer, options: ReadOptions) -> Input:
        size = sources.size_of(path)
        source = sources.choose(path, self.format_name)
        if isinstance(source, str):
            done = Input(path, None, Books(error=source), size)
        else:
            books = source.read(path, into, options, self.progress)
            done = Input(path, source.name, books, size)
        if self.strict:
            raise_first_fault(done)
        return done


def add_to(
    dataset: Dataset,
    paths: Sequence[Path],
    options: ReadOptions,
    *,
    format_name: str | None = None,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> History:
    """Take files into a dataset, each content once, and give the whole history of it.

    The dataset grows in steps: after Ctrl-C it holds the steps that were done, and the same command
    goes on from there.

    Raises
    ------
    UnfluxError
        When another process adds to the dataset; otherwise as `reduce` does.
    """
    with dataset.locked():
        selection = select(paths, taking_into=dataset.directory)
        intake = Intake(dataset, options, format_name)
        inputs: list[Input] = []
        total = sum(map(sources.size_of, selection.files))
        for step in _steps(selection.files):
            wanted, said = intake.look_at_all(step)
            inputs += said
            for how, some in by_options(wanted):
                before = sum(one.size_bytes for one in inputs)
                part = reduce(
                    [one.path for one in some],
                    how,
                    format_name=format_name,
                    strict=strict,
                    on_progress=_of_all(on_progress, before, total),
                )
                done, entries = intake.remembered(some, part.inputs)
                inputs += done
                dataset.add(part, entries)
    history = reduce([dataset.directory], options)
    unread = [one for one in history.inputs if one.books.error is not None]  # parts of its own
    inputs = told(inputs, selection)
    return replace(history, inputs=inputs + unread, passed_over=selection.passed_over)


def _of_all(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    """Progress of a step as progress of all steps."""
    if on_progress is None:
        return None
    return lambda done, _: on_progress(min(before + done, total), total)


def _steps(files: list[Path]) -> Iterator[list[Path]]:
    """Files in groups of about `SAVE_EVERY_BYTES`."""
    step: list[Path] = []
    size = 0
    for path in files:
        step.append(path)
        size += sources.size_of(path)
        if size >= SAVE_EVERY_BYTES:
            yield step
            step, size = [], 0
    if step:
        yield step


def raise_first_fault(done: Input) -> None:
    """What `strict` means: raise `UnfluxError` when a file, or an item in it, is wrong."""
    if done.books.error is not None:
        raise UnfluxError(f"{sources.name_of(done.path)}: {done.books.error}")
    fault = done.books.first_fault(sources.name_of(done.path))
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
    with sigterm_as_interrupt():
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
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM means the same as Ctrl-C (only on the main thread)."""
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
