"""Responses as rows of the answers table: whole columns at once, texts as dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unflux import tables
from unflux.lab.model.store import SECTIONS, Words, rows_of
from unflux.lab.model.world import RCODES, World
from unflux.lab.scenarios import TAPS

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


VANTAGES = {"clients": "client", "upstream": "upstream", "tld": "upstream"}
"""The vantage of each tap."""


@dataclass(frozen=True, slots=True)
class Part:
    """A version in each of some responses, aged by some seconds."""

    response: I64
    version: I64
    age_s: I64


@dataclass(slots=True)
class Responses:
    """Responses of one slice at one tap before they are written out."""

    ts_s: F64
    client: I64
    server: I64
    """Addresses, as numbers in the world's rdata."""
    question: I64
    parts: list[Part] = field(default_factory=list)
    """What they hold, in the order of sections."""

    def __len__(self) -> int:
        return len(self.ts_s)


class Texts:
    """Texts as an Arrow array; of what grows, only what is new is read."""

    def __init__(self, words: Words) -> None:
        self._words, self._n_releases = words, words.n_releases
        self._array = pa.array(words.texts, pa.string())

    def column(self, numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], pa.Array]:
        """Numbers that are dense, and the texts that they stand for: only those that occur."""
        texts = self._words.texts
        if self._n_releases != self._words.n_releases:
            self._n_releases, self._array = self._words.n_releases, self._array[:0]
        if len(texts) > len(self._array):
            new = pa.array(texts[len(self._array) :], pa.string())
            self._array = pa.concat_arrays([self._array, new])
        is_used = np.zeros(len(texts), bool)  # marking is cheaper than sorting
        is_used[numbers] = True
        dense = np.cumsum(is_used, dtype=np.int32) - np.int32(1)
        return dense[numbers], self._array.take(pa.array(np.flatnonzero(is_used)))


class Columns:
    """Makes the table of each slice and tap."""

    def __init__(self, world: World) -> None:
        self.world = world
        questions = np.array(world.questions, np.int64).reshape(-1, 3)
        self._qname = world.unit_owner[questions[:, 1]]
        self._qtype = questions[:, 2].astype(np.int32)
        self._names, self._rdata = Texts(world.names), Texts(world.rdata)
        self.n_responses = dict.fromkeys(TAPS, 0)
        self._has_mail = any(one.settings.rdtype == "MX" for one in world.services)

    def table(self, tap: str, responses: Responses) -> pa.Table:
        """Rows of the responses at a tap, by time."""
        order = np.argsort(responses.ts_s, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        n_rows, record, age_s = self._layout(rank, responses.parts)
        columns = self._heads(tap, responses, order, n_rows) | self._records(record, age_s)
        columns["rcode"] = _words(np.repeat(self._rcodes(rank, responses.parts), n_rows), RCODES)
        return pa.table({name: columns[name] for name in tables.ANSWERS.names})

    def _layout(self, rank: I64, parts: list[Part]) -> tuple[I64, I64, I32]:
        """(Rows of each response by its rank, record of each row or -1, its age in seconds)."""
        counts = [self.world.versions.of("count", part.version) for part in parts]
        n_records = np.zeros(len(rank), np.int64)
        for part, count in zip(parts, counts, strict=True):
            n_records[rank[part.response]] += count
        n_rows = np.maximum(n_records, 1)  # a response without records has a row, too
        ends = np.cumsum(n_rows)
        record = np.full(ends[-1] if len(ends) else 0, -1, np.int64)
        age_s = np.zeros(len(record), np.int32)
        free = ends - n_rows
        for part, count in zip(parts, counts, strict=True):
            at = rank[part.response]
            rows = rows_of(free[at], count)
            record[rows] = rows_of(self.world.versions.of("start", part.version), count)
            age_s[rows] = np.repeat(part.age_s, count)
            free[at] += count
        if self._has_mail:  # addresses of exchanges come behind the name servers
            section = self.world.versions.records("section", np.maximum(record, 0))
            by_section = np.lexsort((section, np.repeat(np.arange(len(rank)), n_rows)))
            record, age_s = record[by_section], age_s[by_section]
        return n_rows, record, age_s

    def _rcodes(self, rank: I64, parts: list[Part]) -> I32:
        found = np.zeros(len(rank), np.int32)
        for part in parts:
            at = rank[part.response]
            found[at] = np.maximum(found[at], self.world.versions.of("rcode", part.version))
        return found

    def _heads(
        self, tap: str, responses: Responses, order: I64, n_rows: I64
    ) -> dict[str, pa.Array]:
        """What is the same in all rows of a response."""
        ts_us = (responses.ts_s[order] * 1e6).astype(np.int64)
        question = responses.question[order]
        # Numbers of several taps never meet, however long the slices are.
        first = np.uint64(self.n_responses[tap])
        number = first + np.arange(len(order), dtype=np.uint64)
        number = number * np.uint64(len(TAPS)) + np.uint64(TAPS.index(tap))
        self.n_responses[tap] += len(order)
        same = np.zeros(int(n_rows.sum()), np.int8)

        def words(texts: Texts, numbers: I64) -> pa.Array:
            dense, known = texts.column(numbers)
            return pa.DictionaryArray.from_arrays(np.repeat(dense, n_rows), known)

        return {
            "ts": pa.array(np.repeat(ts_us, n_rows)).view(tables.TIME),
            "sensor": _words(same, [tap]),
            "client": words(self._rdata, responses.client[order]),
            "server": words(self._rdata, responses.server[order]),
            "vantage": _words(same, [VANTAGES[tap]]),
            "response": pa.array(np.repeat(number, n_rows)),
            "qname": words(self._names, self._qname[question]),
            "qtype": _words(np.repeat(self._qtype[question], n_rows), self.world.rdtypes.texts),
        }

    def _records(self, record: I64, age_s: I32) -> dict[str, pa.Array]:
        """What each record has of its own."""
        missing: npt.NDArray[np.bool_] | None = record < 0
        record = np.maximum(record, 0)
        if missing is None or not missing.any():
            missing = None
        world = self.world

        def numbers(name: str) -> I32:
            return world.versions.records(name, record)

        def words(name: str, texts: Texts) -> pa.Array:
            dense, known = texts.column(numbers(name))
            return _words(dense, known, missing)

        ttl_s = (numbers("ttl_s") - age_s).astype(np.uint32)
        return {
            "section": _words(numbers("section"), SECTIONS, missing),
            "owner": words("owner", self._names),
            "rdtype": _words(numbers("rdtype"), world.rdtypes.texts, missing),
            "ttl": pa.array(ttl_s, mask=missing),
            "rdata": words("rdata", self._rdata),
        }


def _words(
    numbers: npt.NDArray[Any], texts: Any, missing: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    """Texts by number, null where `missing`."""
    indices = pa.array(numbers.astype(np.int32, copy=False), mask=missing)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))
