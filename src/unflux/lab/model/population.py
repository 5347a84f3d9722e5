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
        self._evening = uniform(seed, 4, np.arange(n_systems))
        """When the day of each AS is at its height, as a share of a day."""
        self._systems = np.zeros(n, np.int32)
        self._wakes = np.zeros(n)
        """The AS of the host in each place, and when it goes online, as a share of a day."""
        self._renewals = uniform(seed, 7, np.arange(n))
        """When in its lease each place is at the epoch, as a share of the lease."""
        self._settle(np.arange(n))

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
        if habits.lifetime_h and self.last_s is None:
            self.leaves_at = now_s + self._lifetimes(np.arange(habits.size))
        elif habits.lifetime_h:
            is_gone = self.leaves_at <= now_s
            gone = np.flatnonzero(is_gone)
            if len(gone):
                self.members = self.members[~is_gone[self.members]]
                self.born[gone] += 1
                self.leaves_at[gone] = now_s + self._lifetimes(gone)
                self._settle(gone)
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
        online[self.members] = False  # what is left of them are free
        n_free = np.count_nonzero(online)
        if n_free - len(resting) >= missing:
            online[resting] = False
        candidates = np.flatnonzero(online)
        chance = mix(self.seed, 3, candidates, int(now_s))
        if missing < len(candidates):  # sorting all of them would cost most of a tick
            best = np.argpartition(chance, missing)[:missing]
            candidates, chance = candidates[best], chance[best]
        order = np.argsort(chance, kind="stable")
        self.members = np.concatenate([self.members, candidates[order]])

    def online(self, now_s: float) -> npt.NDArray[np.bool_]:
        """Who is up: the share `uptime` of the day, around the evening of where the host is."""
        if self.habits.uptime >= 1:
            return np.ones(self.habits.size, bool)
        awake = np.float64(now_s / DAY_S % 1) - self._wakes
        awake += awake < 0
        return np.asarray(awake < self.habits.uptime)

    def _settle(self, places: I64) -> None:
        """Find the AS and the day of new hosts.

        The AS is a Zipf-like draw (same botnet, same reach for all of them); all hosts of an AS
        are in one time zone, more or less.
        """
        born = self.born[places]
        chance = uniform(self.seed, 6, places, born)
        systems = np.minimum(np.searchsorted(self._reach, chance), len(self.systems) - 1)
        self._systems[places] = systems
        jitter = (uniform(self.seed, 5, places, born) - 0.5) * 0.3
        self._wakes[places] = (self._evening[systems] + jitter - self.habits.uptime / 2) % 1

    def addresses(self, places: I64, now_s: float) -> list[int]:
        """The address that each host has now, as a number."""
        habits = self.habits
        lease = np.zeros(len(places), np.int64)
        if habits.lease_h:
            lease = (now_s / (habits.lease_h * 3600) + self._renewals[places]).astype(np.int64)
        numbers = below(1 << 30, self.seed, 8, places, self.born[places], lease)
        systems = self._systems[places]
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
