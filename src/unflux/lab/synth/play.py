"""Slice by slice: queries go to the resolvers' caches, misses to the authoritative side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unflux import tables
from unflux.lab.model import plan
from unflux.lab.model.cache import Caches
from unflux.lab.model.store import SECTIONS, rows_of
from unflux.lab.model.world import RCODES, World
from unflux.lab.synth.demand import CLIENTS_FROM, Demand, Queries

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

SLICE_S = 900.0
"""Fixed, so that the first hour of a day is the same as an hour of the same scenario."""
MAX_CHAIN = 5
"""CNAMEs that are followed; resolvers stop at about twice as many."""
RESOLVERS_FROM = plan.INFRASTRUCTURE + (1 << 13) + 8_100
TLD_SERVER = plan.INFRASTRUCTURE + 53
UPSTREAM_DELAY_S = 0.000_3
"""A resolver answers its client this long after it has the answer itself."""


@dataclass(slots=True)
class Parts:
    """Responses as lists of versions: one column entry per (response, version)."""

    response: list[I64]
    place: list[I64]
    version: list[I64]
    age_s: list[I64]

    def add(self, response: I64, place: int, version: I64, age_s: I64) -> None:
        """Let some responses hold a version each, aged by some seconds."""
        self.response.append(response)
        self.place.append(np.full(len(response), place, np.int64))
        self.version.append(version)
        self.age_s.append(age_s)


@dataclass(frozen=True, slots=True)
class Responses:
    """Responses of one slice before they are written out."""

    ts_s: F64
    client: I64
    server: I64
    """Addresses; in `server`, -1 - n stands for number n of the world's rdata."""
    question: I64
    upstream: npt.NDArray[np.bool_]
    parts: Parts


class Player:
    """A world, its clients and its resolvers, on a virtual clock."""

    def __init__(self, world: World, demand: Demand, n_resolvers: int) -> None:
        self.world, self.demand, self.n_resolvers = world, demand, n_resolvers
        n_units = len(world.unit_kind)
        self.caches = Caches(n_resolvers, n_units)
        self.n_responses = 0
        questions = np.array(world.questions, np.int64).reshape(-1, 3)
        self.q_named, self.q_unit, self.q_type = questions[:, 0], questions[:, 1], questions[:, 2]
        self.q_name = np.array([world.names.number(one.name) for one in world.named], np.int64)

    def slices(self, hours: float) -> Iterator[tuple[float, float, list[pa.Table]]]:
        """(from, to, answers tables of the clients' and of the upstream side) slice by slice."""
        end_s = self.world.start_s + hours * 3600
        from_s = self.world.start_s
        while from_s < end_s:
            to_s = min(from_s + SLICE_S, end_s)
            self.world.advance(from_s, to_s)
            queries = self.demand.queries(from_s, to_s)
            sides = self._answer(queries)
            yield from_s, to_s, [self._table(side) for side in sides]
            self._forget(to_s)
            from_s = to_s

    def _answer(self, queries: Queries) -> list[Responses]:
        n = len(queries.times)
        resolver = self.demand.resolver_of(queries.clients, self.n_resolvers)
        below_cache = Parts([], [], [], [])
        fetched: list[tuple[I64, I64, I64, F64, I64]] = []
        rows = np.arange(n)
        units = self.q_unit[queries.questions]
        for place in range(MAX_CHAIN):
            if place and not len(rows):  # the first place is there even if nobody asks
                break
            times = queries.times[rows]
            versions, since, missed = self.caches.answer(
                resolver[rows], units, times, self.world.fetch
            )
            below_cache.add(rows, place, versions, np.floor(times - since).astype(np.int64))
            fetched.append(
                (resolver[rows][missed], queries.questions[rows][missed], units[missed],
                 times[missed], versions[missed])
            )  # fmt: skip
            following = self.world.versions.of("next_unit", versions)
            rows, units = rows[following >= 0], following[following >= 0]
        client_side = Responses(
            queries.times,
            CLIENTS_FROM + queries.clients,
            RESOLVERS_FROM + resolver,
            queries.questions,
            np.zeros(n, bool),
            below_cache,
        )
        return [client_side, self._upstream(fetched)]

    def _upstream(self, fetched: list[tuple[I64, I64, I64, F64, I64]]) -> Responses:
        """What the resolvers got: the answer with its name servers, and the TLD's referrals."""
        resolver, question, unit, times, version = (
            np.concatenate([part[column] for part in fetched]) for column in range(5)
        )
        order = np.argsort(times, kind="stable")
        resolver, question, unit = resolver[order], question[order], unit[order]
        times, version = times[order].astype(float), version[order]
        world = self.world
        delegation = world.zone_delegation[world.unit_zone[unit]]
        has_zone = np.flatnonzero(delegation >= 0)
        zone_now = np.full(len(times), -1, np.int64)
        zone_now[has_zone], _ = world.fetch(delegation[has_zone], times[has_zone])
        referral, _, asked_tld = self.caches.answer(
            resolver[has_zone], delegation[has_zone], times[has_zone], world.fetch
        )
        tld = has_zone[asked_tld]
        n, m = len(times), len(tld)
        parts = Parts([], [], [], [])
        parts.add(np.arange(n), 0, version, np.zeros(n, np.int64))
        positive = has_zone[world.versions.of("rcode", version[has_zone]) == 0]
        no_data = world.unit_kind[unit[positive]] == 2
        positive = positive[~no_data]
        zeros = np.zeros(len(positive), np.int64)
        parts.add(positive, 1, zone_now[positive], zeros)
        parts.add(n + np.arange(m), 0, referral[asked_tld], np.zeros(m, np.int64))
        server = self._servers(zone_now)
        return Responses(
            np.concatenate([times - UPSTREAM_DELAY_S, times[tld] - 2 * UPSTREAM_DELAY_S]),
            RESOLVERS_FROM + np.concatenate([resolver, resolver[tld]]),
            np.concatenate([server, np.full(m, TLD_SERVER)]),
            np.concatenate([question, question[tld]]),
            np.ones(n + m, bool),
            parts,
        )

    def _servers(self, zone_versions: I64) -> I64:
        """Who answers for a zone: the host of its last glue record; the TLD where there is none."""
        versions = self.world.versions
        found = np.full(len(zone_versions), TLD_SERVER, np.int64)
        has = zone_versions >= 0
        zones = zone_versions[has]
        last = versions.of("start", zones) + versions.of("count", zones) - 1
        found[has] = -1 - versions.of("rdata", last)
        return found

    def _table(self, responses: Responses) -> pa.Table:
        """Rows of the answers table, responses by time."""
        versions = self.world.versions
        n = len(responses.ts_s)
        order = np.argsort(responses.ts_s, kind="stable")
        rank = np.empty(n, np.int64)
        rank[order] = np.arange(n)
        parts = responses.parts
        response = np.concatenate(parts.response) if parts.response else np.zeros(0, np.int64)
        place, version = np.concatenate(parts.place), np.concatenate(parts.version)
        age_s = np.concatenate(parts.age_s)
        by_response = np.lexsort((place, rank[response]))
        response, version, age_s = response[by_response], version[by_response], age_s[by_response]
        count = versions.of("count", version)
        rows = rows_of(versions.of("start", version), count)
        owner_of_row = np.repeat(response, count)
        ttl = versions.of("ttl_s", rows) - np.repeat(age_s, count)
        # Sections of a response stand together: answers of all its versions first.
        section = versions.of("section", rows)
        sorted_rows = np.lexsort((section, rank[owner_of_row]))
        rows, owner_of_row, ttl = rows[sorted_rows], owner_of_row[sorted_rows], ttl[sorted_rows]
        rcode = np.zeros(n, np.int64)
        np.maximum.at(rcode, response, versions.of("rcode", version))
        is_empty = np.ones(n, bool)
        is_empty[owner_of_row] = False
        empty = np.flatnonzero(is_empty)
        return self._columns(responses, rank, rcode, rows, owner_of_row, ttl, empty)

    def _columns(
        self, responses: Responses, rank: I64, rcode: I64, rows: I64, of: I64, ttl: I64, empty: I64
    ) -> pa.Table:
        world, versions = self.world, self.world.versions
        all_of = np.concatenate([of, empty])
        order = np.argsort(rank[all_of], kind="stable")
        all_of = all_of[order]
        record = np.concatenate([rows, np.full(len(empty), -1, np.int64)])[order]
        seconds = np.concatenate([ttl, np.zeros(len(empty), np.int64)])[order]
        missing = record < 0

        def column(name: str, texts: list[str]) -> pa.Array:
            return words(versions.of(name, record), texts, missing)

        question = responses.question[all_of]
        first = self.n_responses
        self.n_responses += len(responses.ts_s)
        upstream = responses.upstream[all_of].astype(np.int64)
        columns = {
            "ts": pa.array((responses.ts_s[all_of] * 1e6).astype(np.int64)).cast(tables.TIME),
            "sensor": words(upstream, ["clients", "upstream"]),
            "client": self._addresses(responses.client, all_of),
            "server": self._addresses(responses.server, all_of),
            "vantage": words(upstream, ["client", "upstream"]),
            "response": pa.array((first + rank[all_of]).astype(np.uint64)),
            "qname": words(self.q_name[self.q_named[question]], world.names.texts),
            "qtype": words(self.q_type[question], world.rdtypes.texts),
            "rcode": words(rcode[all_of], list(RCODES)),
            "section": column("section", list(SECTIONS)),
            "owner": column("owner", world.names.texts),
            "rdtype": column("rdtype", world.rdtypes.texts),
            "ttl": pa.array(seconds.astype(np.uint32), mask=missing),
            "rdata": column("rdata", world.rdata.texts),
        }
        return pa.table(columns)

    def _addresses(self, numbers: I64, response: I64) -> pa.Array:
        """Addresses of the responses, each in all rows of the response."""
        known, inverse = np.unique(numbers, return_inverse=True)
        texts = [
            plan.text_of(int(number)) if number >= 0 else self.world.rdata.texts[-1 - int(number)]
            for number in known
        ]
        return pa.DictionaryArray.from_arrays(
            inverse.astype(np.int32)[response], pa.array(texts, pa.string())
        )

    def _forget(self, now_s: float) -> None:
        """Drop versions that no cache can serve any more."""
        caches, world = self.caches, self.world
        held = caches.held(now_s)
        serving = caches.version[held]
        moved = world.drop_all_but(serving)
        caches.version[:], caches.until_s[:] = (
            -1,
            np.where(caches.until_s > now_s, caches.until_s, -1),
        )
        caches.version[held] = moved[serving]


def words(numbers: I64, texts: list[str], missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Texts by number as a dictionary of those that occur; null where `missing`."""
    if missing is not None:
        numbers = np.where(missing, 0, numbers)
    used = np.zeros(len(texts), bool)  # marking is cheaper than sorting: numbers are dense
    used[numbers] = True
    known = np.flatnonzero(used)
    inverse = (np.cumsum(used) - 1)[numbers]
    chosen = pa.array([texts[number] for number in known.tolist()], pa.string())
    indices = pa.array(inverse.astype(np.int32), mask=missing)
    return pa.DictionaryArray.from_arrays(indices, chosen)
