"""What a dataset knows of a file that it took in: which content, and which part of it, how."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from unflux.sources.base import ANY_TIME_US, ReadOptions

BLOCK_BYTES = 1 << 20
Gap = tuple[int | None, int | None]


class Chosen(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which of a file's answers were asked for, and how."""

    since_us: int | None = None
    """None: from the beginning on. Otherwise microseconds since the epoch."""
    until_us: int | None = None
    """Before this time; None: to the end."""
    ports: tuple[int, ...] = ()
    """Of captures, which are searched by port; none for other formats."""
    vantage: str = "unknown"
    clients: str = "keep"

    @classmethod
    def of(cls, options: ReadOptions, *, on_ports: bool) -> Chosen:
        """What these options ask of a file, in a format that is searched `on_ports` or not."""
        since_us, until_us = options.since_us, options.until_us
        return cls(
            None if since_us <= ANY_TIME_US[0] else since_us,
            None if until_us >= ANY_TIME_US[1] else until_us,
            tuple(sorted(set(options.ports))) if on_ports else (),
            options.vantage,
            options.clients,
        )

    def applied(self, options: ReadOptions) -> ReadOptions:
        """Options that read this and nothing else."""
        since_us = ANY_TIME_US[0] if self.since_us is None else self.since_us
        until_us = ANY_TIME_US[1] if self.until_us is None else self.until_us
        ports = self.ports or options.ports
        return replace(options, since_us=since_us, until_us=until_us, ports=ports)

    def without(self, held: Iterable[Chosen]) -> list[Chosen]:
        """What of it is not in `held` yet: times that are left, each with its ports.

        An answer belongs to one time and (nearly always) to one of the ports, so that nothing is
        counted twice and nothing is left out when these are read too.

        >>> [one.since_us for one in Chosen(until_us=9).without([Chosen(until_us=5)])]
        [5]
        """
        held = list(held)
        by_gap: dict[Gap, list[int]] = {}
        for port in self.ports or (None,):
            covering = [one for one in held if port is None or not one.ports or port in one.ports]
            for gap in self._gaps(covering):
                by_gap.setdefault(gap, []).extend(() if port is None else (port,))
        return [
            msgspec.structs.replace(self, since_us=since, until_us=until, ports=tuple(ports))
            for (since, until), ports in by_gap.items()
        ]

    def _gaps(self, covering: list[Chosen]) -> list[Gap]:
        """Times of it that none of these covers."""
        at, end = self._range()
        gaps = []
        for since, until in sorted(one._range() for one in covering):
            if at < min(since, end):
                gaps.append((at, min(since, end)))
            at = max(at, until)
        if at < end:
            gaps.append((at, end))
        return [
            (
                None if since <= ANY_TIME_US[0] else since,
                None if until >= ANY_TIME_US[1] else until,
            )
            for since, until in gaps
        ]

    def _range(self) -> tuple[int, int]:
        return (
            ANY_TIME_US[0] if self.since_us is None else self.since_us,
            ANY_TIME_US[1] if self.until_us is None else self.until_us,
        )

    def narrower_than(self, whole: Chosen) -> str:
        """What tells this part from the whole, as options of the command line."""
        words = []
        if self.since_us is not None and self.since_us != whole.since_us:
            words.append(f"--since {shown_time(self.since_us)}")
        if self.until_us is not None and self.until_us != whole.until_us:
            words.append(f"--until {shown_time(self.until_us)}")
        if self.ports != whole.ports:
            words += [f"--port {port}" for port in self.ports]
        return " ".join(words)


class TakenIn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file, or a part of one, whose answers are in the dataset."""

    path: str
    """As it was named then."""
    blake2b: str
    """Of its bytes, 32 of them, in hexadecimal."""
    size_bytes: int
    format: str | None
    chosen: Chosen | None = None
    """None: an unflux that did not write it down took it in."""
    n_decoded: int | None = None
    """Items of it that were decoded."""
    n_records: int | None = None
    """Records in them."""
    time_first_us: int | None = None
    """When the first of its answers was seen."""
    time_last_us: int | None = None
    """When the latest of its answers was seen."""
    fault: str | None = None
    """Why it could not be read to its end: what lies before that is in the dataset."""


class Content(msgspec.Struct, frozen=True):
    """By what a file is known again."""

    blake2b: str
    size_bytes: int
    beginnings: dict[int, str]
    """The same hash of its first so many bytes, for each size that was asked for."""


def content_of(path: Path, sizes: Iterable[int] = ()) -> Content:
    """Hash a file, and each beginning of it that has one of these sizes.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    hashed, at = hashlib.blake2b(digest_size=32), 0
    beginnings: dict[int, str] = {}
    waiting = sorted(set(sizes), reverse=True)
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(buffer):
            start = 0
            while waiting and waiting[-1] <= at + n:
                stop = waiting[-1] - at
                hashed.update(buffer[start:stop])
                beginnings[waiting.pop()] = hashed.hexdigest()
                start = stop
            hashed.update(buffer[start:n])
            at += n
    beginnings.pop(at, None)  # that is the whole
    return Content(hashed.hexdigest(), at, beginnings)


def digest_of(path: Path) -> str:
    """The hash by which a file is known again."""
    return content_of(path).blake2b


def shown_time(time_us: int) -> str:
    """A time as ``--since`` takes it."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    fraction = f".{time_us % 1_000_000:06}" if time_us % 1_000_000 else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
