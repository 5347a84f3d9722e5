"""Single answers out of sightings: which addresses came together, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

I64 = npt.NDArray[np.int64]
MINUTE_US = 60_000_000
HOUR_MINUTES = 60
SLOTS = 64
"""Bits of `fresh_minutes` (see the sightings table)."""
VANTAGES = ("upstream", "unknown", "client")
"""Best first: what is seen above a cache is not repeated."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Slots of answers: row i says that answer `answer[i]` held address `code[i]`."""

    answer: I64
    """Number of the answer, ascending; answers are in order of time."""
    code: I64
    minute: I64
    """Minute since the epoch, of each answer (not of each slot)."""
    name: I64
    """Number of the name, of each answer."""

    @property
    def n(self) -> int:
        """Number of answers."""
        return len(self.minute)

    def between(self, from_minute: int, to_minute: int) -> Answers:
        """Answers of a window, numbered from 0."""
        first, last = np.searchsorted(self.minute, [from_minute, to_minute])
        rows = slice(*np.searchsorted(self.answer, [first, last]))
        return Answers(
            self.answer[rows] - first,
            self.code[rows],
            self.minute[first:last],
            self.name[first:last],
        )


def answers_of(rows: pa.Table) -> Answers:
    """Answers in rows of `unflux.features.hosts.address_rows`, repeated ones left out.

    Only one side of the caches is used, because both sides see the same answers. Of one name,
    answers with the same addresses one after the other are one answer that was asked for again.
    History (passive DNS) has no single answers.
    """
    rows = _one_side(rows)
    bits = rows.column("minutes").to_numpy()
    hour = rows.column("first_us").to_numpy() // (HOUR_MINUTES * MINUTE_US) * HOUR_MINUTES
    row, minute = _spread(bits, hour)
    name = rows.column("name_id").to_numpy().astype(np.int64)[row]
    code = rows.column("code").to_numpy().astype(np.int64)[row]
    order = np.lexsort((code, minute, name))
    name, minute, code = name[order], minute[order], code[order]
    same = np.zeros(len(name), bool)
    same[1:] = (name[1:] == name[:-1]) & (minute[1:] == minute[:-1])
    again = np.zeros(len(name), bool)
    again[1:] = same[1:] & (code[1:] == code[:-1])
    name, minute, code, same = name[~again], minute[~again], code[~again], same[~again]
    answer = np.cumsum(~same) - 1
    return _in_time(_without_repeats(answer, code, minute[~same], name[~same]))


def _one_side(rows: pa.Table) -> pa.Table:
    """Rows of the best vantage that has any."""
    for vantage in VANTAGES:
        part = rows.filter(pc.equal(rows.column("vantage"), vantage))
        if part.num_rows:
            return part
    return rows.slice(0, 0)


def _spread(bits: npt.NDArray[np.uint64], hour: I64) -> tuple[I64, I64]:
    """(row, minute) of every bit: the first minute from the hour on that leaves the same rest."""
    as_bytes = np.ascontiguousarray(bits.astype("<u8")).view(np.uint8).reshape(-1, 8)
    row, bit = np.nonzero(np.unpackbits(as_bytes, axis=1, bitorder="little"))
    start = hour[row]
    return row.astype(np.int64), start + (bit - start) % SLOTS


def _without_repeats(answer: I64, code: I64, minute: I64, name: I64) -> Answers:
    n = len(minute)
    mixed = (code.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    starts = np.searchsorted(answer, np.arange(n))
    content = np.bitwise_xor.reduceat(mixed, starts) if n else mixed[:0]
    repeat = np.zeros(n, bool)
    repeat[1:] = (name[1:] == name[:-1]) & (content[1:] == content[:-1])
    kept = ~repeat[answer]
    number = np.cumsum(~repeat) - 1
    return Answers(number[answer[kept]], code[kept], minute[~repeat], name[~repeat])


def _in_time(one: Answers) -> Answers:
    order = np.argsort(one.minute, kind="stable")
    rank = np.empty(one.n, np.int64)
    rank[order] = np.arange(one.n)
    answer = rank[one.answer]
    by_answer = np.argsort(answer, kind="stable")
    return Answers(answer[by_answer], one.code[by_answer], one.minute[order], one.name[order])
