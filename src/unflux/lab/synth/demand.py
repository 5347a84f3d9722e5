"""Who asks for what, and when: ordinary clients with days and nights, infected ones on a timer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unflux.lab.model.hashing import below, mix, uniform
from unflux.lab.model.world import World

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

SECOND_QUESTION = 0.3
"""Share of visits that ask the other type (AAAA beside A) as well: half of hosts have IPv6, and
caches of clients keep some."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries of one slice of time, by time."""

    times: F64
    clients: I64
    """Numbers of clients, from 0."""
    questions: I64
    """Numbers in `World.questions`."""
    is_poll: npt.NDArray[np.bool_]
    """Asked by an infected host on its timer, not by a visitor."""


def joined(blocks: list[Queries]) -> Queries:
    """Queries of several blocks of time as one, by time."""
    if len(blocks) == 1:
        return blocks[0]
    times = np.concatenate([one.times for one in blocks])
    order = np.argsort(times, kind="stable")  # blocks overlap by the second questions of visits
    return Queries(
        times[order],
        np.concatenate([one.clients for one in blocks])[order],
        np.concatenate([one.questions for one in blocks])[order],
        np.concatenate([one.is_poll for one in blocks])[order],
    )


class Shares:
    """Which of many is met at each number in [0, 1), when each has its share of them."""

    N_STARTS = 1 << 18

    def __init__(self, weights: F64) -> None:
        self._ends = np.cumsum(weights) / max(weights.sum(), 1e-300)
        # Where to begin looking: most of a binary search would go through memory at random.
        self._starts = np.searchsorted(self._ends, np.arange(self.N_STARTS + 1) / self.N_STARTS)

    def at(self, chances: F64) -> I64:
        """As `np.searchsorted` among the ends of the shares."""
        place = (chances * self.N_STARTS).astype(np.int64)
        low, high = self._starts[place], self._starts[place + 1]
        while (low < high).any():
            middle = (low + high) // 2
            is_behind = (self._ends[np.minimum(middle, len(self._ends) - 1)] < chances) & (
                low < high
            )
            low, high = np.where(is_behind, middle + 1, low), np.where(is_behind, high, middle)
        found: I64 = np.minimum(low, len(self._ends) - 1)
        return found


class Demand:
    """What the clients of a scenario ask."""

    def __init__(self, world: World, n_clients: int, seed: int) -> None:
        self.world, self.n_clients, self.seed = world, n_clients, seed
        rates, first, second = self._rates()
        self.per_second = rates.sum() / 3600
        self.shares = Shares(rates)
        self.first, self.second = first, second
        """Questions of each name: the main one, and the other type (-1: none)."""
        weights = 1 / (np.arange(n_clients) + 5.0) ** 0.8
        self.client_weights = np.cumsum(weights) / weights.sum()
        self.of_service = np.array([one.service for one in world.named])
        self.infected = self._infect()

    def _rates(self) -> tuple[F64, I64, I64]:
        """Visits an hour of each name, and its questions."""
        n = len(self.world.named)
        first, second = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
        for number, (named, _, _) in enumerate(self.world.questions):
            if first[named] < 0:
                first[named] = number
            else:
                second[named] = number
        rates = np.zeros(n)
        of_service = np.array([one.service for one in self.world.named])
        for number, service in enumerate(self.world.services):
            mine = np.flatnonzero(of_service == number)
            one = service.settings
            ranks = np.argsort(mix(self.seed, 1, mine), kind="stable") + 1.0
            weights = ranks**-one.popularity if one.popularity else np.ones(len(mine))
            rates[mine] = weights / weights.sum() * one.visits_per_h * len(mine)
        return rates, first, second

    def _infect(self) -> list[tuple[int, I64, float]]:
        """(service, its clients, seconds between polls) of each network with infected hosts."""
        found = []
        for number, service in enumerate(self.world.services):
            one = service.settings
            if one.infected:
                order = np.argsort(mix(self.seed, 2, number, np.arange(self.n_clients)))
                found.append((number, order[: one.infected].astype(np.int64), one.poll_s))
        return found

    def queries(self, from_s: float, to_s: float) -> Queries:
        """Everything that is asked in a slice; a function of the slice alone."""
        # The fraction tells apart the short slices of the live lab; 0 is as if it were not there.
        entropy = [self.seed & 0xFFFFFFFF, int(from_s), int(from_s % 1 * 1e6)]
        rng = np.random.default_rng(entropy)
        hour = (from_s + to_s) / 2 / 3600 % 24
        # People: least at 4 o'clock, most at 16 (the shape, not the height, of resolver traffic).
        diurnal = 0.65 + 0.35 * np.cos((hour - 16) / 24 * 2 * np.pi)
        n = rng.poisson(self.per_second * diurnal * (to_s - from_s))
        names = self.shares.at(rng.random(n))
        times = rng.uniform(from_s, to_s, n)
        clients = np.searchsorted(self.client_weights, rng.random(n))
        also = (rng.random(n) < SECOND_QUESTION) & (self.second[names] >= 0)
        parts = [
            (times, clients, self.first[names]),
            (times[also] + 0.000_5, clients[also], self.second[names[also]]),
            *self._polls(from_s, to_s),
        ]
        all_times = np.concatenate([part[0] for part in parts])
        order = np.argsort(all_times, kind="stable")
        n_visits = len(parts[0][0]) + len(parts[1][0])
        return Queries(
            all_times[order],
            np.concatenate([part[1] for part in parts])[order].astype(np.int64),
            np.concatenate([part[2] for part in parts])[order],
            order >= n_visits,
        )

    def _polls(self, from_s: float, to_s: float) -> list[tuple[F64, I64, I64]]:
        """Infected hosts ask for one name of their network after the other, on a jittered timer."""
        parts = []
        for number, clients, poll_s in self.infected:
            names = np.flatnonzero(self.of_service == number)
            first, last = int(from_s // poll_s) - 1, int(to_s // poll_s) + 1
            rounds = np.arange(first, last + 1)
            who = np.repeat(np.arange(len(clients)), len(rounds))
            when = np.tile(rounds, len(clients))
            offset = uniform(self.seed, 3, number, clients[who])
            jitter = (uniform(self.seed, 4, number, clients[who], when) - 0.5) * 0.2
            times = (when + offset + jitter) * poll_s
            inside = (times >= from_s) & (times < to_s)
            who, when, times = who[inside], when[inside], times[inside]
            # Mostly the same few names, as a bot's list has them in order.
            reach = np.minimum(len(names), 3)
            chosen = names[below(reach, self.seed, 5, number, clients[who], when)]
            parts.append((times, clients[who], self.first[chosen]))
        return parts

    def resolver_of(self, clients: I64, n_resolvers: int) -> I64:
        """The resolver that each client uses."""
        return below(n_resolvers, self.seed, 6, clients)
