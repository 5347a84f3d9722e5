"""A log that grows, read through its rotations."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

READ_BYTES = 1 << 18
HEAD_BYTES = 4096
POLL_S = 0.2
PATIENCE_S = 10.0
"""So long a log may be missing, empty or unknown without a word: rotations take a moment."""


class Tail(ABC):
    """Reads a file that grows; goes on in the new file when it is rotated or cut.

    Starts at the end of what is there (with `from_start`: at its beginning).
    """

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self.path, self.from_start = path, from_start
        self.n_rotations = 0
        self._waits: tuple[float, str] | None = None
        """Since when there is nothing to read, and why."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {path}", daemon=True)

    @abstractmethod
    def recognise(self, head: bytes) -> bool:
        """Do the first bytes of a file say what it is? Else it is asked again with more."""

    @abstractmethod
    def take(self, data: bytes, *, last: bool) -> None:
        """The next bytes; `last`: nothing follows, another file begins."""

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End, with what was read until now."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        is_first = True
        while not self._stop.is_set():
            try:
                handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                is_first = False  # a file that appears later is new from its beginning
                self._wait_because(error.strerror or str(error))
                continue
            try:
                self._read(handle, skip=is_first and not self.from_start)
            finally:
                os.close(handle)
            is_first = False
            self.n_rotations += not self._stop.is_set()

    def _read(self, handle: int, *, skip: bool) -> None:
        """One file, until another has its name."""
        if not self._begin(handle):
            return
        at = 0
        if skip:
            head = os.pread(handle, HEAD_BYTES, 0)
            self.take(_header_lines(head), last=False)
            at = _last_line_end(handle, os.fstat(handle).st_size)
        while True:
            data = os.pread(handle, READ_BYTES, at)
            at += len(data)
            if data:
                self.take(data, last=False)
                continue
            if self._stop.is_set() or self._is_gone(handle, at):
                self.take(b"", last=True)
                return
            self._stop.wait(POLL_S)

    def _begin(self, handle: int) -> bool:
        """Wait for enough to tell what it is; False when the file went before."""
        while not self._stop.is_set():
            head = os.pread(handle, HEAD_BYTES, 0)
            if head and self.recognise(head):
                self._waits = None
                return True
            if self._is_gone(handle, 0):
                return False
            self._wait_because("in no format that is known" if head else "empty so far")
        return False

    def _wait_because(self, why: str) -> None:
        since, known = self._waits or (time.monotonic(), why)
        self._waits = (since if known == why else time.monotonic(), why)
        self._stop.wait(POLL_S)

    def waits_for(self, now: float) -> str | None:
        """Why nothing is read since a while; `now` by the monotonic clock."""
        if self._waits is None or now - self._waits[0] < PATIENCE_S:
            return None
        return self._waits[1]

    def _is_gone(self, handle: int, at: int) -> bool:
        """Was the file replaced, or cut?"""
        mine = os.fstat(handle)
        try:
            now = self.path.stat()
        except OSError:
            return False  # between the two renames of a rotation
        return (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev) or mine.st_size < at


def _header_lines(head: bytes) -> bytes:
    lines = head.splitlines(keepends=True)
    return b"".join(line for line in lines if line.startswith(b"#") and line.endswith(b"\n"))


def _last_line_end(handle: int, size: int) -> int:
    """Offset behind the last whole line."""
    start = max(0, size - READ_BYTES)
    tail = os.pread(handle, size - start, start)
    return start + tail.rfind(b"\n") + 1
