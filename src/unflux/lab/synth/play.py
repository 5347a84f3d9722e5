"""Slice by slice: queries go to the resolvers' caches, misses to the authoritative side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unflux.lab.model import plan
from unflux.lab.model.cache import Caches
from unflux.lab.model.world import NO_DATA, World
from unflux.lab.scenarios import DEFAULT_TAPS
from unflux.lab.synth.columns import Columns, Part, Responses
from unflux.lab.synth.demand import Demand, Queries, joined

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

BLOCK_S = 900.0
"""What clients ask is drawn for so long at a time, whatever is played at once."""
SLICES = (4, 2, 1)
"""Blocks that are played at once, at most: divisors of an hour, so that the first hour of a day is
the same as an hour of the same scenario."""
SLICE_QUERIES = 600_000
"""Queries of a slice of several blocks, about: enough for columns to be worth their while."""
MAX_CHAIN = 5
"""CNAMEs that are followed; resolvers stop at about twice as many."""
UPSTREAM_DELAY_S = 0.000_3
"""A resolver answers its client this long after it has the answer itself, and has it this long
after a server of the top level referred it."""
TLD_DELAY_S = 0.000_1
"""A referral left the server so long before the resolver has it."""
FORGET_FROM = 10_000
"""Versions that are kept before it is looked which of them caches may still serve."""


class Fetched(NamedTuple):
    """What resolvers asked the authoritative side."""

    resolver: I64
    question: I64
    unit: I64
    time_s: F64
    version: I64


class Player:
    """A world, its clients and its resolvers, on a virtual clock."""

    def __init__(
        self, world: World, demand: Demand, n_resolvers: int, taps: Sequence[str] = DEFAULT_TAPS
    ) -> None:
        self.world, self.demand, self.n_resolvers = world, demand, n_resolvers
        self.taps = taps
        self.caches = Caches(n_resolvers, len(world.unit_kind))
        self.columns = Columns(world)
        self._q_unit = np.array(world.questions, np.int64).reshape(-1, 3)[:, 1]
        self._clients = world.numbers_of(plan.CLIENTS_FROM + np.arange(demand.n_clients))
        self._resolvers = world.numbers_of(plan.RESOLVERS_FROM + np.arange(n_resolvers))
        self._tld_server = int(world.numbers_of(np.array([plan.TLD_SERVER]))[0])
        self._resolver_of = demand.resolver_of(np.arange(demand.n_clients), n_resolvers)
        self._n_kept = 0

    @property
    def n_responses(self) -> int:
        """Responses so far, at all taps."""
        return sum(self.columns.n_responses.values())

    def slices(self, hours: float) -> Iterator[tuple[float, float, dict[str, pa.Table]]]:
        """(from, to, answers table of each tap) slice by slice."""
        end_s = self.world.start_s + hours * 3600
        from_s = self.world.start_s
        expected = self.demand.per_second * BLOCK_S
        n_blocks = next((n for n in SLICES if n * expected <= SLICE_QUERIES), 1)
        while from_s < end_s:
            to_s = min(from_s + n_blocks * BLOCK_S, end_s)
            self.world.advance(from_s, to_s)
            starts = np.arange(from_s, to_s, BLOCK_S).tolist()
            blocks = [self.demand.queries(one, min(one + BLOCK_S, to_s)) for one in starts]
            seen = self._answer(joined(blocks))
            yield from_s, to_s, {tap: self.columns.table(tap, seen[tap]) for tap in self.taps}
            self._forget(to_s)
            from_s = to_s

    def _answer(self, queries: Queries) -> dict[str, Responses]:
        """What clients get, what their resolvers got, and what of that the top level sent."""
        resolver = self._resolver_of[queries.clients]
        below_cache = Responses(
            queries.times,
            self._clients[queries.clients],
            self._resolvers[resolver],
            queries.questions,
        )
        fetched: list[Fetched] = []
        rows, units = np.arange(len(queries.times)), self._q_unit[queries.questions]
        for place in range(MAX_CHAIN):
            if place and not len(rows):  # the first place is there even if nobody asks
                break
            times = queries.times[rows]
            versions, since, missed = self._cached(resolver[rows], units, times)
            age_s = np.floor(times - since).astype(np.int64)
            below_cache.parts.append(Part(rows, versions, age_s))
            asked = rows[missed]
            fetched.append(
                Fetched(resolver[asked], queries.questions[asked], units[missed], times[missed],
                        versions[missed])
            )  # fmt: skip
            following = self.world.versions.of("next_unit", versions)
            rows, units = rows[following >= 0], following[following >= 0]
        upstream = self._upstream(fetched)
        return {"clients": below_cache, "upstream": upstream, "tld": self._at_tld(upstream)}

    def _cached(
        self, resolver: I64, units: I64, times: F64
    ) -> tuple[I64, F64, npt.NDArray[np.bool_]]:
        return self.caches.answer(
            resolver, units, times, lambda *asked: self.world.fetch(*asked)[0], self.world.keep_s
        )

    def _upstream(self, fetched: list[Fetched]) -> Responses:
        """What the resolvers got: the answer with its name servers, and the TLD's referrals."""
        times = np.concatenate([one.time_s for one in fetched])
        order = np.argsort(times, kind="stable")
        times = times[order].astype(float)
        resolver, question, unit, version = (
            np.concatenate([one[column] for one in fetched])[order] for column in (0, 1, 2, 4)
        )
        world = self.world
        delegation = world.zone_delegation[world.unit_zone[unit]]
        has_zone = np.flatnonzero(delegation >= 0)
        zone_now = np.full(len(times), -1, np.int64)
        zone_now[has_zone], _ = world.fetch(delegation[has_zone], times[has_zone])
        referral, _, asked_tld = self._cached(
            resolver[has_zone], delegation[has_zone], times[has_zone]
        )
        tld = has_zone[asked_tld]
        n, m = len(times), len(tld)
        none = np.zeros(n + m, np.int64)
        with_zone = has_zone[world.versions.of("rcode", version[has_zone]) == 0]
        with_zone = with_zone[world.unit_kind[unit[with_zone]] != NO_DATA]
        return Responses(
            np.concatenate([times - UPSTREAM_DELAY_S, times[tld] - 2 * UPSTREAM_DELAY_S]),
            self._resolvers[np.concatenate([resolver, resolver[tld]])],
            np.concatenate([self._servers(zone_now), np.full(m, self._tld_server)]),
            np.concatenate([question, question[tld]]),
            [
                Part(np.arange(n), version, none[:n]),
                Part(with_zone, zone_now[with_zone], none[: len(with_zone)]),
                Part(n + np.arange(m), referral[asked_tld], none[:m]),
            ],
        )

    def _at_tld(self, upstream: Responses) -> Responses:
        """What the servers of the top level answered: referrals, and that there is no such name."""
        is_theirs = upstream.server == self._tld_server
        moved = np.cumsum(is_theirs) - 1
        parts = []
        for part in upstream.parts:
            kept = is_theirs[part.response]
            parts.append(Part(moved[part.response[kept]], part.version[kept], part.age_s[kept]))
        return Responses(
            upstream.ts_s[is_theirs] - TLD_DELAY_S, upstream.client[is_theirs],
            upstream.server[is_theirs], upstream.question[is_theirs], parts,
        )  # fmt: skip

    def _servers(self, zone_versions: I64) -> I64:
        """Who answers for a zone: the host of its last glue record; the TLD where there is none."""
        versions = self.world.versions
        found = np.full(len(zone_versions), self._tld_server, np.int64)
        has = np.flatnonzero(zone_versions >= 0)
        has = has[versions.of("count", zone_versions[has]) > 0]
        zones = zone_versions[has]
        last = versions.of("start", zones) + versions.of("count", zones) - 1
        found[has] = versions.records("rdata", last)
        return found

    def _forget(self, now_s: float) -> None:
        """Drop versions that no cache can serve any more, once they are many."""
        caches, world = self.caches, self.world
        if len(world.versions.start) < 2 * self._n_kept + FORGET_FROM:
            return
        held = caches.held(now_s)
        serving = caches.version[held]
        moved = world.drop_all_but(serving)
        caches.version[:], caches.until_s[caches.until_s <= now_s] = -1, -1.0
        caches.version[held] = moved[serving]
        self._n_kept = len(world.versions.start)
