"""Versions of rrsets, as columns: what a server answered at some time, once for all who got it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

ANSWER, AUTHORITY, ADDITIONAL = 0, 1, 2
SECTIONS = ("answer", "authority", "additional")


class Words:
    """Texts by number."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.numbers: dict[str, int] = {}
        self._free: list[int] = []
        self.n_releases = 0
        """How often numbers were given back, to stand for other texts."""

    def number(self, text: str) -> int:
        """The number of a text, given now if it is new."""
        number = self.numbers.get(text)
        if number is None:
            if self._free:
                number = self._free.pop()
                self.texts[number] = text
            else:
                number = len(self.texts)
                self.texts.append(text)
            self.numbers[text] = number
        return number

    def release(self, numbers: Iterable[int]) -> None:
        """Nobody holds these numbers any more."""
        for number in numbers:
            del self.numbers[self.texts[number]]
            self._free.append(number)
        self.n_releases += 1


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record of a version; owner and rdata by their numbers."""

    section: int
    owner: int
    rdtype: int
    ttl_s: int
    rdata: int


class Versions:
    """All versions that somebody may still serve.

    Bound: what was fetched in a slice of time, and what caches hold; `keep` drops the rest.
    """

    def __init__(self) -> None:
        self.section, self.owner, self.rdtype = array("i"), array("i"), array("i")
        self.ttl_s, self.rdata = array("i"), array("i")
        self.start, self.count = array("q"), array("q")
        self.rcode, self.next_unit, self.cached_s = array("q"), array("q"), array("q")

    def add(self, records: list[Record], cached_s: int, rcode: int = 0, next_unit: int = -1) -> int:
        """Store a version that caches keep for `cached_s`; returns its number.

        `next_unit` is what its CNAME leads to, -1 when it leads nowhere.
        """
        for one in records:
            self.section.append(one.section)
            self.owner.append(one.owner)
            self.rdtype.append(one.rdtype)
            self.ttl_s.append(one.ttl_s)
            self.rdata.append(one.rdata)
        return self._close(len(records), cached_s, rcode, next_unit)

    def add_many(
        self,
        count: I64,
        cached_s: npt.ArrayLike,
        *,
        section: npt.ArrayLike,
        owner: npt.ArrayLike,
        rdtype: npt.ArrayLike,
        ttl_s: npt.ArrayLike,
        rdata: I64,
        rcode: int = 0,
    ) -> I64:
        """`add` of many at once; returns their numbers.

        `count` and `cached_s` have a value for each version, the others one for each record, or
        one for all.
        """
        first, n = len(self.start), len(rdata)
        for column, values in (
            (self.section, section), (self.owner, owner), (self.rdtype, rdtype),
            (self.ttl_s, ttl_s), (self.rdata, rdata),
        ):  # fmt: skip
            column.frombytes(_repeated(values, n, np.int32))
        self.start.frombytes((len(self.owner) - n + np.cumsum(count) - count).tobytes())
        self.count.frombytes(count.tobytes())
        for column, values in (
            (self.rcode, rcode), (self.next_unit, -1), (self.cached_s, cached_s)
        ):  # fmt: skip
            column.frombytes(_repeated(values, len(count), np.int64))
        return np.arange(first, len(self.start))

    def _close(self, count: int, cached_s: int, rcode: int = 0, next_unit: int = -1) -> int:
        """Make a version of the last `count` records."""
        self.start.append(len(self.owner) - count)
        self.count.append(count)
        self.rcode.append(rcode)
        self.next_unit.append(next_unit)
        self.cached_s.append(cached_s)
        return len(self.start) - 1

    def of(self, name: str, places: I64) -> I64:
        """Values of one of the columns at some places."""
        return self._column(name)[places].astype(np.int64, copy=False)

    def records(self, name: str, rows: I64) -> I32:
        """Values of one of the columns of records at some rows."""
        found: I32 = self._column(name)[rows]
        return found

    def _column(self, name: str) -> npt.NDArray[Any]:
        """One of the columns; nothing may be added while it is held."""
        values: array[int] = getattr(self, name)
        return np.frombuffer(values, values.typecode) if len(values) else np.zeros(0, np.int64)

    def keep(self, numbers: I64) -> I64:
        """Drop all versions but `numbers` (ascending); returns the new number of each old one."""
        moved = np.full(len(self.start), -1, np.int64)
        moved[numbers] = np.arange(len(numbers))
        start, count = self.of("start", numbers), self.of("count", numbers)
        rows = rows_of(start, count)
        for name in ("section", "owner", "rdtype", "ttl_s", "rdata"):
            setattr(self, name, array("i", self._column(name)[rows].tobytes()))
        self.start = array("q", (np.cumsum(count) - count).tobytes())
        self.count = array("q", count.tobytes())
        for name in ("rcode", "next_unit", "cached_s"):
            setattr(self, name, array("q", self.of(name, numbers).tobytes()))
        return moved


def _repeated(values: npt.ArrayLike, n: int, kind: type) -> bytes:
    """Bytes of `n` values, or of the same value `n` times."""
    given: npt.NDArray[Any] = np.asarray(values, kind)
    return given.tobytes() if given.ndim else given.tobytes() * n


def rows_of(start: I64, count: I64) -> I64:
    """The row numbers of consecutive rows, for each start and count, one after the other."""
    if not len(start):
        return np.zeros(0, np.int64)
    ends = np.cumsum(count)
    found = np.repeat(start - (ends - count), count)
    found += np.arange(ends[-1])
    return found
