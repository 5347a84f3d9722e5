"""What one operator answers: a flux network, a delivery network, a pool, plain hosting.

All of them are the same machine with other settings, which is the point: whoever rotates addresses
out of a list looks alike, and only *which* list, how it changes and how it is spread differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unflux.lab.model.hashing import below, below_one, mix, mix_one, uniform, uniform_one
from unflux.lab.model.population import Habits, Population
from unflux.lab.model.store import rows_of

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Addresses = npt.NDArray[Any]
"""Addresses as numbers: 64 bits where they are IPv4, Python integers where they are IPv6."""
MAX_EXHAUSTIVE = 96
"""Live lists up to this long are shuffled whole; from longer ones places are drawn."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a preset or a scenario can say about a service; `docs/lab/synth.md` explains.

    Ranges ``[low, high]`` in a scenario are drawn once per service, so that no number is a label.
    """

    flux: bool = False
    verdict: str = "not_flux"
    domains: int = 1
    sub_networks: int = 1
    # Addresses
    rdtype: str = "A"
    k: int = 1
    ttl_s: int = 300
    rotation_s: float = 300.0
    selection: str = "random"
    step: int = 1
    population: int = 1000
    list_size: int = 40
    refresh_s: float = 300.0
    stay_h: float = 0.0
    lifetime_h: float = 0.0
    lease_h: float = 0.0
    uptime: float = 1.0
    asns: int = 0
    networks: tuple[str, ...] = ("access",)
    bogon_ratio: float = 0.0
    failure_ratio: float = 0.0
    # Names
    chain: tuple[int, ...] = ()
    targets: int = 1
    switch_s: float = 0.0
    shared_zone: str = ""
    apex: str = ""
    """Registered domain of the first name; drawn when empty."""
    labels: tuple[str, ...] = ()
    exists: bool = True
    # Name servers
    ns: str = "static"
    ns_count: int = 2
    ns_ttl_s: int = 86_400
    ns_period_s: float = 0.0
    ns_rename: bool = False
    ns_shared: bool = True
    ns_from_h: float = 0.0
    delegation_ttl_s: int = 86_400
    # Life
    start_h: float = 0.0
    end_h: float = 0.0
    takedowns_per_day: float = 0.0
    # Hidden servers (only seen by the live lab)
    hops: int = 1
    """Agents in a row between a visitor and the mothership."""
    back_ends: int = 2
    tls: bool = False
    """Pages are fetched over TLS, which agents pass through unread."""
    # Demand
    visits_per_h: float = 10.0
    infected: int = 0
    poll_s: float = 600.0
    popularity: float = 0.0


SETTING_NAMES = frozenset(one.name for one in fields(Settings))
SELECTIONS = ("random", "slide", "fixed")
NS_KINDS = ("static", "rotating")
RDTYPES = ("A", "AAAA", "HTTPS", "MX")
BOGONS = ("10.0.0.0/8", "192.168.0.0/16", "100.64.0.0/10")


@dataclass(slots=True)
class Group:
    """A sub-network: hosts of its own, and the live lists of the slice of time at hand."""

    population: Population
    ticks: F64 = field(default_factory=lambda: np.zeros(0))
    """Times at which the list was renewed, ascending; the first is at or before the slice."""
    lists: list[list[int]] = field(default_factory=list)
    """Addresses published from each tick on."""
    first: list[int] = field(default_factory=list)
    """The very first list: what never changes is taken from it."""
    regular_s: float | None = None
    """The last tick that came by the clock; others come from `Service.drop`."""


class Picked(NamedTuple):
    """Addresses of several answers."""

    counts: I64
    """How many each has."""
    addresses: Addresses
    """Those of all answers, one after the other."""

    def lists(self) -> list[list[int]]:
        """The addresses of each answer."""
        ends = np.cumsum(self.counts)
        every = self.addresses.tolist()
        rows = zip((ends - self.counts).tolist(), ends.tolist(), strict=True)
        return [every[start:end] for start, end in rows]


class Book(NamedTuple):
    """All lists of a service at hand, one after the other, so that many are read at once."""

    addresses: Addresses
    start: I64
    length: I64
    first: list[int]
    """By sub-network: the number of its very first list; those of its ticks follow."""


class Service:
    """One operator with its hosts: advanced slice by slice, asked for its answers in between."""

    def __init__(self, name: str, settings: Settings, seed: int) -> None:
        self.name, self.settings, self.seed = name, settings, seed
        self.groups = [
            Group(Population(self._habits(), mix_one(seed, 100, number) >> 1))
            for number in range(max(settings.sub_networks, settings.targets))
        ]
        self.takedowns: list[tuple[float, int]] = []
        """(time, address) of the hosts taken down in the slice at hand."""
        self._book: Book | None = None

    def _habits(self) -> Habits:
        one = self.settings
        return Habits(
            size=one.population,
            kinds=one.networks,
            n_asns=one.asns,
            lifetime_h=one.lifetime_h,
            lease_h=one.lease_h,
            uptime=one.uptime,
            list_size=one.list_size,
            stay_h=one.stay_h,
            v6=one.rdtype == "AAAA",
        )

    @property
    def is_still(self) -> bool:
        """Nothing about its hosts ever changes."""
        one = self.settings
        return not (one.lifetime_h or one.lease_h or one.stay_h) and one.uptime >= 1

    def advance(self, from_s: float, to_s: float) -> None:
        """Make the live lists for a slice of time."""
        self.takedowns = []
        every = self.settings.refresh_s
        needed_s = from_s - self.memory_s - every
        for number, group in enumerate(self.groups):
            if self.is_still and group.lists:
                continue
            known = group.regular_s
            if known is None:
                known = np.floor(needed_s / every) * every - every
            ticks = np.arange(known + every, to_s, every)
            if self.is_still:
                ticks = ticks[:1]
            for tick in ticks:
                self._tick(number, group, float(tick))
            if len(ticks):
                group.regular_s = float(ticks[-1])
            self._book = None
            group.ticks = np.concatenate([group.ticks, ticks])
            old = max(int(np.searchsorted(group.ticks, needed_s, side="right")) - 1, 0)
            group.ticks, group.lists = group.ticks[old:], group.lists[old:]

    @property
    def memory_s(self) -> float:
        """How long ago a list may have been published out of which something is served now."""
        one = self.settings
        if one.selection == "fixed" or one.rotation_s <= 0:
            return 0.0
        steps = one.k / one.step + 1 if one.selection == "slide" and one.step else 1
        return one.rotation_s * steps

    def _tick(self, number: int, group: Group, now_s: float) -> None:
        people = group.population
        rate = self.settings.takedowns_per_day * self.settings.refresh_s / 86_400
        if rate and len(people.members) and uniform_one(self.seed, 101, number, int(now_s)) < rate:
            place = below_one(len(people.members), self.seed, 102, number, int(now_s))
            victim = people.members[[place]]
            self.takedowns += [(now_s, address) for address in people.addresses(victim, now_s)]
            people.remove(victim)
        people.advance(now_s)
        group.lists.append(people.addresses(people.members, now_s))
        if not group.first:
            group.first = group.lists[0]

    def drop(self, number: int, addresses: set[int], now_s: float) -> list[int]:
        """Take listed hosts off now, as a controller does that finds them dead; the new list.

        They leave for good and others take their places. `now_s` is not before the last tick.
        """
        group = self.groups[number]
        people = group.population
        held = people.addresses(people.members, now_s)
        dead = [place for place, address in enumerate(held) if address in addresses]
        people.remove(people.members[dead])
        people.advance(now_s)
        self._book = None
        group.ticks = np.append(group.ticks, now_s)
        group.lists.append(people.addresses(people.members, now_s))
        return group.lists[-1]

    def hosts(self, number: int, now_s: float) -> list[int]:
        """Addresses of all hosts of a sub-network that are up, listed or not."""
        people = self.groups[number].population
        return people.addresses(np.flatnonzero(people.online(now_s)), now_s)

    def list_at(self, group: int, now_s: float) -> list[int]:
        """The live list of a sub-network at a time of the slice."""
        one = self.groups[group]
        place = int(np.searchsorted(one.ticks, now_s, side="right")) - 1
        return one.lists[max(place, 0)]

    def group_of(self, domains: I64) -> I64:
        """The sub-network that each domain belongs to."""
        return domains % max(self.settings.sub_networks, 1)

    def steps(self, domains: I64, times: F64) -> I64:
        """Which version of its addresses each domain has at each time.

        The same step is the same answer. With a rotation of 0, each query has its own.
        """
        one = self.settings
        if one.selection == "fixed":
            return np.zeros(len(domains), np.int64)
        if one.rotation_s <= 0:
            return (times * 1e6).astype(np.int64)
        phase = uniform(self.seed, 103, domains) * one.rotation_s
        return np.floor((times + phase) / one.rotation_s).astype(np.int64)

    def starts(self, domains: I64, steps: I64, times: F64) -> F64:
        """When each step began; for queries that are each answered anew, their own time."""
        one = self.settings
        if one.selection == "fixed" or one.rotation_s <= 0:
            return times
        return steps * one.rotation_s - uniform(self.seed, 103, domains) * one.rotation_s

    def step_starts(self, domains: I64, from_s: float, to_s: float) -> tuple[I64, I64, F64]:
        """When in a slice the addresses of domains change by the clock.

        (Places in `domains`, steps that begin, times at which they begin.)
        """
        one = self.settings
        if one.selection == "fixed" or one.rotation_s <= 0:
            return domains[:0], domains[:0], np.zeros(0)
        phases = uniform(self.seed, 103, domains) * one.rotation_s
        first = np.ceil((from_s + phases) / one.rotation_s).astype(np.int64)
        after = np.ceil((to_s + phases) / one.rotation_s).astype(np.int64)
        counts = np.maximum(after - first, 0)
        steps = rows_of(first, counts)
        times = steps * one.rotation_s - np.repeat(phases, counts)
        places = np.repeat(np.arange(len(domains)), counts)
        return places, steps, times.astype(np.float64, copy=False)

    def pick(self, domains: I64, groups: I64, steps: I64, times: F64, k: int) -> Picked:
        """The addresses of each answer: at most `k`, each once.

        They are chosen when their step begins and stay until it ends, whoever asks in between.
        """
        one = self.settings
        if one.selection == "slide" and one.step:
            return self._slide(domains, groups, steps, times, k)
        lists = self._lists_at(groups, self.starts(domains, steps, times))
        book = self._read_book()
        lengths = book.length[lists]
        places = np.full((len(domains), k), -1, np.int64)
        for length in np.unique(lengths).tolist():
            mine = np.flatnonzero(lengths == length)
            found = self._pick_of(length, domains[mine], steps[mine], k)
            places[mine, : found.shape[1]] = found
        is_there = places >= 0
        at = (book.start[lists][:, None] + places)[is_there]
        return Picked(np.count_nonzero(is_there, axis=1), book.addresses[at])

    def _read_book(self) -> Book:
        if self._book is None:
            lists: list[list[int]] = []
            first: list[int] = []
            for group in self.groups:
                first.append(len(lists))
                lists += [group.first, *group.lists]
            length = np.array([len(one) for one in lists], np.int64)
            kind = object if self.settings.rdtype == "AAAA" else np.int64
            every = [address for one in lists for address in one]
            self._book = Book(np.array(every, kind), np.cumsum(length) - length, length, first)
        return self._book

    def _lists_at(self, groups: I64, times: F64) -> I64:
        """The number in the book of the list that each sub-network had at each time."""
        first = np.array(self._read_book().first, np.int64)[groups]
        if self.settings.selection == "fixed":
            return first
        for number, group in enumerate(self.groups):
            mine = slice(None) if len(self.groups) == 1 else np.flatnonzero(groups == number)
            ticks = np.searchsorted(group.ticks, times[mine], side="right")
            first[mine] += np.maximum(ticks, 1)
        return first

    def _pick_of(self, n: int, domains: I64, steps: I64, k: int) -> I64:
        """Places in a list of `n`, for each answer one row; -1 where it has no more."""
        selection = self.settings.selection
        if not n or (selection == "fixed" and n <= k):
            return np.broadcast_to(np.arange(n), (len(domains), n))
        if selection == "slide":  # without a step: a host of its own for each domain
            drawn = below(n, self.seed, 106, domains[:, None], np.arange(k))
        elif n <= MAX_EXHAUSTIVE:
            chance = mix(self.seed, 105, domains[:, None], steps[:, None], np.arange(n))
            if k < n:
                best = np.argpartition(chance, k, axis=1)[:, :k]
                order = np.argsort(np.take_along_axis(chance, best, axis=1), axis=1)
                return np.take_along_axis(best, order, axis=1)
            return np.argsort(chance, axis=1)
        else:
            slots = np.arange(1 if k == 1 else max(2 * k, 8))
            drawn = below(n, self.seed, 104, domains[:, None], steps[:, None], slots)
        return first_distinct(drawn, k)

    def _slide(self, domains: I64, groups: I64, steps: I64, times: F64, k: int) -> Picked:
        """A window over an endless row of hosts: `step` of the `k` are new each time.

        A host is chosen when the window reaches it, out of the list of that time.
        """
        width = self.settings.step
        slots = steps[:, None] * width + np.arange(k)
        entered = np.minimum(-((k - 1 - slots) // width), steps[:, None])
        since = self.starts(np.repeat(domains, k), entered.ravel(), np.repeat(times, k))
        lists = self._lists_at(np.repeat(groups, k), since)
        chance = mix(self.seed, 106, domains[:, None], slots).ravel()
        book = self._read_book()
        length = book.length[lists]
        places = (chance % np.maximum(length, 1).astype(np.uint64)).astype(np.int64)
        at = np.where(length > 0, book.start[lists] + places, -1).reshape(slots.shape)
        # The same address in another list is the same host.
        hosts = np.append(book.addresses, -1)[at]
        is_new = is_first(hosts) & (at >= 0)
        return Picked(np.count_nonzero(is_new, axis=1), hosts[is_new])


def is_first(rows: Addresses) -> npt.NDArray[np.bool_]:
    """Where each row of a matrix has a value that it did not have before."""
    found = np.ones(rows.shape, bool)
    for place in range(1, rows.shape[1]):
        found[:, place] = (rows[:, :place] != rows[:, place, None]).all(axis=1)
    return found


def first_distinct(rows: I64, k: int) -> I64:
    """The first `k` distinct values of each row; -1 where it has no more."""
    if rows.shape[1] == 1:
        return rows
    is_new = is_first(rows)
    rank = np.cumsum(is_new, axis=1)
    is_new &= rank <= k
    found = np.full((len(rows), k), -1, np.int64)
    found[np.nonzero(is_new)[0], rank[is_new] - 1] = rows[is_new]
    return found
