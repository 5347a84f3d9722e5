"""Versions of rrsets, as columns: what a server answered at some time, once for all who got it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

ANSWER, AUTHORITY, ADDITIONAL = 0, 1, 2
SECTIONS = ("answer", "authority", "additional")


class Words:
    """Texts by number."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text, given now if it is new."""
        number = self.numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


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
        self.section, self.owner, self.rdtype = array("q"), array("q"), array("q")
        self.ttl_s, self.rdata = array("q"), array("q")
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

    def add_rrset(
        self, section: int, owner: int, rdtype: int, ttl_s: int, rdata: list[int], cached_s: int
    ) -> int:
        """`add` of one rrset: most versions are that, and this costs a third."""
        n = len(rdata)
        self.section.extend([section] * n)
        self.owner.extend([owner] * n)
        self.rdtype.extend([rdtype] * n)
        self.ttl_s.extend([ttl_s] * n)
        self.rdata.extend(rdata)
        return self._close(n, cached_s)

    def add_referral(
        self, owner: int, hosts: list[int], rdtypes: tuple[int, int], ttl_s: int, rdata: list[int],
        cached_s: int,
    ) -> int:  # fmt: skip
        """`add` of NS records and the addresses of their hosts, in the order of `rdata`."""
        n = len(hosts)
        self.section.extend([AUTHORITY] * n + [ADDITIONAL] * n)
        self.owner.extend([owner] * n + hosts)
        self.rdtype.extend([rdtypes[0]] * n + [rdtypes[1]] * n)
        self.ttl_s.extend([ttl_s] * (2 * n))
        self.rdata.extend(rdata)
        return self._close(2 * n, cached_s)

    def _close(self, count: int, cached_s: int, rcode: int = 0, next_unit: int = -1) -> int:
        """Make a version of the last `count` records."""
        self.start.append(len(self.owner) - count)
        self.count.append(count)
        self.rcode.append(rcode)
        self.next_unit.append(next_unit)
        self.cached_s.append(cached_s)
        return len(self.start) - 1

    def column(self, name: str) -> I64:
        """One of the columns as an array of its own."""
        values: array[int] = getattr(self, name)
        return np.array(values, np.int64)

    def of(self, name: str, places: I64) -> I64:
        """Values of one of the columns at some places."""
        values: array[int] = getattr(self, name)
        return np.frombuffer(values, np.int64)[places] if len(values) else places[:0]

    def keep(self, numbers: I64) -> I64:
        """Drop all versions but `numbers` (ascending); returns the new number of each old one."""
        moved = np.full(len(self.start), -1, np.int64)
        moved[numbers] = np.arange(len(numbers))
        start, count = self.column("start")[numbers], self.column("count")[numbers]
        rows = rows_of(start, count)
        for name in ("section", "owner", "rdtype", "ttl_s", "rdata"):
            setattr(self, name, array("q", self.column(name)[rows].tobytes()))
        self.start = array("q", (np.cumsum(count) - count).tobytes())
        self.count = array("q", count.tobytes())
        for name in ("rcode", "next_unit", "cached_s"):
            setattr(self, name, array("q", self.column(name)[numbers].tobytes()))
        return moved


def rows_of(start: I64, count: I64) -> I64:
    """The row numbers of consecutive rows, for each start and count, one after the other."""
    if not len(start):
        return np.zeros(0, np.int64)
    ends = np.cumsum(count)
    return np.repeat(start - (ends - count), count) + np.arange(ends[-1])
