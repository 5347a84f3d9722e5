"""What every input format is to the rest: `Source`, how it is asked, and what it reports."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from unflux._native import Progress, Reducer
from unflux.errors import Oddity

ANY_TIME_US = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How inputs are read."""

    ports: tuple[int, ...] = (53,)
    """UDP and TCP ports on which captures are searched for DNS."""
    vantage: str = "unknown"
    """Where the sensor stands: ``client`` (below a cache), ``upstream`` or ``unknown``."""
    since_us: int = ANY_TIME_US[0]
    """Only what was seen at or after this time, microseconds since the epoch."""
    until_us: int = ANY_TIME_US[1]
    """Only what was seen before this time."""
    threads: int = 1
    clients: str = "keep"
    """Addresses of clients: ``keep``, ``pseudonymise`` (with `client_key`) or ``drop``."""
    client_key: bytes | None = None
    """16 bytes: the same client under the same key has the same pseudonym."""


MIN_KEY_BYTES = 16


def client_key_of(path: Path | None) -> bytes:
    """The key for pseudonyms in a file, whatever its length; a new one without a file.

    Raises
    ------
    ValueError
        When the file cannot be read, or holds too little to be a secret.
    """
    if path is None:
        return secrets.token_bytes(16)
    try:
        content = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    if len(content) < MIN_KEY_BYTES:
        raise ValueError(f"{path} needs at least {MIN_KEY_BYTES} bytes (openssl rand -hex 32)")
    return hashlib.blake2b(content, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a kind of item was met, and where first (byte offset or line number)."""

    count: int
    first: int


@dataclass(frozen=True, slots=True)
class Books:
    """What became of every item (packet, line, row) of one input."""

    items: int = 0
    assembled: int = 0
    """Those of the items that were put together from others (fragments, TCP segments)."""
    decoded: int = 0
    records: int = 0
    skipped: dict[str, Tally] = field(default_factory=dict)
    malformed: dict[str, Tally] = field(default_factory=dict)
    oddities: dict[str, Tally] = field(default_factory=dict)
    records_left_out: dict[str, Tally] = field(default_factory=dict)
    time_first_us: int | None = None
    time_last_us: int | None = None
    error: str | None = None
    """One sentence when the input could not be read, or not to its end."""

    @classmethod
    def of(cls, native: dict[str, Any], error: str | None = None) -> Books:
        """From what the core returns."""
        tallies: dict[str, Any] = {
            kind: {name: Tally(**tally) for name, tally in native[kind].items()}
            for kind in _TALLIES
        }
        rest = {key: value for key, value in native.items() if key not in _TALLIES}
        return cls(**rest, **tallies, error=error)

    def plus(self, later: Books) -> Books:
        """Both parts of one input that was read in parts; places in the later one count on."""
        both = (self, later)
        firsts = [one.time_first_us for one in both if one.time_first_us is not None]
        lasts = [one.time_last_us for one in both if one.time_last_us is not None]
        tallies: dict[str, Any] = {
            kind: _sums(getattr(self, kind), getattr(later, kind), self.items) for kind in _TALLIES
        }
        return Books(
            items=self.items + later.items,
            assembled=self.assembled + later.assembled,
            decoded=self.decoded + later.decoded,
            records=self.records + later.records,
            **tallies,
            time_first_us=min(firsts, default=None),
            time_last_us=max(lasts, default=None),
            error=self.error or later.error,
        )

    @property
    def balanced(self) -> bool:
        """Counts in equal counts out."""
        passed_over = [*self.skipped.values(), *self.malformed.values()]
        return self.items == self.decoded + sum(tally.count for tally in passed_over)

    def first_fault(self, source: str) -> Oddity | None:
        """The malformed kind that comes first in the input."""
        faults = [
            Oddity(kind, source, tally.first, tally.count) for kind, tally in self.malformed.items()
        ]
        return min(faults, key=lambda fault: fault.position, default=None)


_TALLIES = ("skipped", "malformed", "oddities", "records_left_out")


def _sums(one: dict[str, Tally], later: dict[str, Tally], shift: int) -> dict[str, Tally]:
    sums = dict(one)
    for kind, tally in later.items():
        known = one.get(kind, Tally(0, shift + tally.first))
        sums[kind] = Tally(known.count + tally.count, known.first)
    return sums


PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"\x04\x22\x4d\x18")
"""How gzip, zstd, xz and lz4 files begin; the core unpacks them on the way."""


def is_packed(path: Path) -> bool:
    """Is a file packed?"""
    with path.open("rb") as file:
        return file.read(8).startswith(PACKED)


class Source(Protocol):
    """An input format. One module each; listed in `unflux.sources.SOURCES`."""

    name: ClassVar[str]
    """What ``--format`` takes."""
    title: ClassVar[str]
    """One line for people."""
    blind_spots: ClassVar[tuple[str, ...]]
    """What inputs of this format can never show, as sentences."""

    def sniff(self, head: bytes) -> bool:
        """Does a file with these first bytes (unpacked) have this format?"""
        ...

    def read(self, path: Path, into: Reducer, options: ReadOptions, progress: Progress) -> Books:
        """Take the whole file in. Faults in the data are counted, never raised."""
        ...


class AnswerSource(Source, Protocol):
    """A format that holds single responses, so that it can become an answers table."""

    def read_answers(
        self,
        path: Path,
        out: Callable[[pa.RecordBatch], None],
        first_response: int,
        options: ReadOptions,
        progress: Progress,
    ) -> tuple[Books, int]:
        """Hand batches of the answers table to `out`; returns the next response's number too."""
        ...
