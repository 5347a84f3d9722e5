"""Hosts that come and go: flux agents, servers of a pool, subscribers with changing addresses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unflux.lab.model.hashing import below, mix, uniform
from unflux.lab.model.plan import PREFIX_SIZE, AutonomousSystem, of_kind, zipf_weights

I64 = npt.NDArray[np.int64]
DAY_S = 86_400.0
NEVER = 1e18


@dataclass(frozen=True, slots=True)
class Habits:
    """How the hosts of a population live."""

    size: int
    """Hosts that belong to it at any time (others take the place of those that left)."""
    kinds: tuple[str, ...]
    """Kinds of AS they are in (see `unflux.lab.model.plan.KINDS`)."""
    n_asns: int
    """Number of ASes; 0 means all of the kinds."""
    lifetime_h: float
    """Mean time until a host leaves for good (cleaned, taken down), exponential; 0: never."""
    lease_h: float
    """Time until a host gets another address of its AS; 0: never."""
    uptime: float
    """Share of time online, in (0, 1]; below 1 it follows the day of the host's country."""
    list_size: int
    """Hosts that the controller publishes at a time, the live list."""
    stay_h: float = 0.0
    """Mean time on the list until the controller spares a host, exponential; 0: while it is up."""
    v6: bool = False


class Population:
    """The hosts, advanced from tick to tick by its owner; nothing here knows the time itself.

    Bound: a few arrays of `size`, whatever the duration.
    """

    def __init__(self, habits: Habits, seed: int) -> None:
        self.habits, self.seed = habits, seed
        self.systems = self._choose_systems()
        prefixes = [one.prefixes for one in self.systems]
        self._prefixes = np.array([first for some in prefixes for first in some], np.int64)
        self._n_prefixes = np.array([len(some) for some in prefixes], np.int64)
        self._first_prefix = np.cumsum(self._n_prefixes) - self._n_prefixes
        n_systems = len(self.systems)
        weights = zipf_weights(n_systems) if n_systems > 10 else np.full(n_systems, 1 / n_systems)
        self._reach = np.cumsum(weights)
        """Which share of hosts is in the first so many ASes."""
        n = habits.size
        self.born = np.zeros(n, np.int64)
        """How many hosts this place had before: the identity of a host is (place, born)."""
        self.leaves_at = np.full(n, NEVER)
        self.members: I64 = np.zeros(0, np.int64)
        self.last_s: float | None = None

    def _choose_systems(self) -> list[AutonomousSystem]:
        candidates = of_kind(*self.habits.kinds)
        wanted = min(self.habits.n_asns or len(candidates), len(candidates))
        # Larger networks are met more often: a weighted draw without replacement (Efraimidis 2006).
        weights = np.array([len(one.prefixes) for one in candidates], float)
        keys = uniform(self.seed, 1, np.arange(len(candidates))) ** (1 / weights)
        order = np.argsort(-keys, kind="stable")[:wanted]
        return [candidates[place] for place in sorted(order)]

    def advance(self, now_s: float) -> None:
        """Let time pass until `now_s`: hosts leave and are replaced, the live list is renewed."""
        habits = self.habits
        places = np.arange(habits.size)
        if habits.lifetime_h and self.last_s is None:
            self.leaves_at = now_s + self._lifetimes(places)
        elif habits.lifetime_h:
            gone = np.flatnonzero(self.leaves_at <= now_s)
            self.born[gone] += 1
            self.leaves_at[gone] = now_s + self._lifetimes(gone)
            self.members = self.members[~np.isin(self.members, gone)]
        elapsed_s = 0.0 if self.last_s is None else now_s - self.last_s
        self.last_s = now_s
        self._renew_list(now_s, elapsed_s)

    def _lifetimes(self, places: I64) -> npt.NDArray[np.float64]:
        chance = uniform(self.seed, 2, places, self.born[places])
        return -np.log1p(-chance) * self.habits.lifetime_h * 3600

    def remove(self, places: I64) -> None:
        """Take hosts down: they leave now, and others come with the next `advance`."""
        self.leaves_at[places] = -1.0

    def _renew_list(self, now_s: float, elapsed_s: float) -> None:
        """Who is listed and online stays; free places go to others who are online."""
        online = self.online(now_s)
        stays = online[self.members]
        if self.habits.stay_h:
            spared = uniform(self.seed, 9, self.members, int(now_s))
            stays &= spared < np.exp(-elapsed_s / (self.habits.stay_h * 3600))
        resting = self.members[~stays]
        self.members = self.members[stays]
        missing = min(self.habits.list_size, self.habits.size) - len(self.members)
        if missing <= 0:
            return
        free = online.copy()
        free[self.members] = False
        if free.sum() - len(resting) >= missing:
            free[resting] = False
        candidates = np.flatnonzero(free)
        order = np.argsort(mix(self.seed, 3, candidates, int(now_s)), kind="stable")
        self.members = np.concatenate([self.members, candidates[order[:missing]]])

    def online(self, now_s: float) -> npt.NDArray[np.bool_]:
        """Who is up: the share `uptime` of the day, around the evening of where the host is."""
        if self.habits.uptime >= 1:
            return np.ones(self.habits.size, bool)
        places = np.arange(self.habits.size)
        evening = uniform(self.seed, 4, self._system_of(places))  # by AS: one time zone each
        jitter = (uniform(self.seed, 5, places, self.born) - 0.5) * 0.3
        phase = np.abs((now_s / DAY_S - evening - jitter + 0.5) % 1 - 0.5) * 2  # 0: in the middle
        return np.asarray(phase < self.habits.uptime)

    def _system_of(self, places: I64) -> I64:
        """The AS of each host: a Zipf-like draw (same botnet, same reach for all of them)."""
        chance = uniform(self.seed, 6, places, self.born[places])
        return np.minimum(np.searchsorted(self._reach, chance), len(self.systems) - 1)

    def addresses(self, places: I64, now_s: float) -> list[int]:
        """The address that each host has now, as a number."""
        habits = self.habits
        lease = np.zeros(len(places), np.int64)
        if habits.lease_h:
            offset = uniform(self.seed, 7, places) * habits.lease_h * 3600
            lease = ((now_s + offset) // (habits.lease_h * 3600)).astype(np.int64)
        numbers = below(1 << 30, self.seed, 8, places, self.born[places], lease)
        systems = self._system_of(places)
        if habits.v6:
            return [
                self.systems[system].v6 + int(number)
                for system, number in zip(systems, numbers, strict=True)
            ]
        # As `AutonomousSystem.v4`, for all of them at once.
        numbers %= self._n_prefixes[systems] * PREFIX_SIZE
        firsts = self._prefixes[self._first_prefix[systems] + numbers // PREFIX_SIZE]
        found: list[int] = (firsts + numbers % PREFIX_SIZE).tolist()
        return found
