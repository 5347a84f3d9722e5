"""What to ask next about each listed name. Nothing is sent, slept, stored or logged here.

Time and responses come in; queries that are due, events and samples come out. `now` is seconds
since the epoch and never runs backwards here: an earlier one counts as the latest. State is
bounded: per listed name a handful of targets and at most `max_derived` names that were followed.

Three ways to ask, told by what the tracker is given:

- resolvers only: everything is asked there;
- hints only: from the root down, each zone at its own name servers, in turn;
- both: addresses from the resolvers; delegations at root and public suffixes only (`may_ask`), so
  that no server of a tracked zone, which may be an agent, is ever asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from unflux.track import cuts, learning, reading
from unflux.track.facts import ADDRESS_TYPES, Event, Query, Response, Sample
from unflux.track.life import Listed, next_state
from unflux.track.pace import Paces
from unflux.track.schedule import Schedule
from unflux.track.settings import Settings
from unflux.track.targets import (
    ADDRESS,
    APEX,
    CUT,
    HOST,
    MARGIN_S,
    NS,
    WILDCARD,
    Key,
    Target,
    dead_s,
    due_after_crash,
    interval_s,
    retry_s,
)

LABEL_LETTERS = "abcdefghijklmnopqrstuvwxyz"
MAX_TRIES = 3
"""Servers that are tried one after the other before a question counts as failed."""
NEXT_TRY_S = 1.0


class Tracker:
    """See above. `on_response` or `on_failure` is called once for every query handed out."""

    def __init__(
        self,
        settings: Settings,
        *,
        started_s: float,
        resolvers: Sequence[str] = (),
        hints: Sequence[str] = (),
        may_ask: Callable[[str], bool] = lambda _zone: True,
        is_allowed: Callable[[str], bool] = lambda _address: True,
        qtypes: Sequence[str] = ADDRESS_TYPES,
        seed: int = 0,
        asked_last_s: float | None = None,
    ) -> None:
        if not resolvers and not hints:
            raise ValueError("name a resolver, or root hints: nobody is asked by default")
        self.settings, self.resolvers, self.qtypes = settings, list(resolvers), tuple(qtypes)
        self.cuts = cuts.Cuts(hints, may_ask, is_allowed, settings.lame_s)
        self.random = random.Random(seed)  # noqa: S311  spreads load; nothing secret
        self.now = started_s
        self.names: dict[str, Listed] = {}
        self.targets: dict[Key, Target] = {}
        self.samples: list[Sample] = []
        self.dirty: set[Key] = set()
        """Targets that changed since they were last stored."""
        self.dropped: set[Key] = set()
        self.dirty_names: set[str] = set()
        self._of_name: dict[str, set[Key]] = {}
        self._names_of: dict[Key, set[str]] = {}
        self._derived: dict[str, set[str]] = {}
        self._waiting: dict[str, set[str]] = {}
        """Listed names that wait for a delegation above them to be known, by its name."""
        self._probes: dict[str, str] = {}
        self._serial = 0
        self.schedule = Schedule(
            settings,
            Paces(None if asked_last_s is None else min(asked_last_s, started_s)),
            self.targets,
            self._server_for,
            lambda name: self.names[name].zone,
            lambda server: server in self.resolvers,
        )

    # What is tracked

    def add(self, name: str, now: float, source: str = "") -> bool:
        """Track a name (absolute, lower case); False when it is tracked already."""
        self._advance_clock(now)
        if name in self.names:
            return False
        self._register(Listed(name, self.now, source))
        self._extend(name)
        return True

    def remove(self, name: str) -> None:
        """Never ask for a name again, nor for what only it led to."""
        self.names.pop(name, None)
        for key in self._of_name.pop(name, set()):
            self._unlink(key, name)
        self._derived.pop(name, None)
        for names in self._waiting.values():
            names.discard(name)

    def restore(self, listed: Iterable[Listed], targets: Iterable[Target], now: float) -> None:
        """Go on from what was stored: nothing is due before its last answer has expired."""
        self._advance_clock(now)
        for one in listed:
            self._register(one)
        for target in targets:
            self._restore_target(target)
        for name in self.names:
            self._extend(name)

    def _restore_target(self, target: Target) -> None:
        target.due_s = due_after_crash(target, self.now, self.settings)
        target.in_flight = False
        self.targets[target.key] = target
        self.schedule.push(target)
        if target.name not in self.names or target.is_retired:
            target.is_retired = True
            self._names_of[target.key] = set()
            return
        self._link(target.key, target.name)
        if target.kind == HOST or (target.kind == ADDRESS and target.qname != target.name):
            self._derived[target.name].add(target.qname)
        elif target.kind == CUT:
            self.cuts.learn(target.qname, target.hosts, is_cut=target.is_cut)
        elif target.kind == WILDCARD:
            self._probes[target.qname.partition(".")[2]] = target.qname
        if target.kind == HOST and target.rrset:
            self.cuts.add_addresses(target.qname, target.qtype, target.rrset)

    def _register(self, listed: Listed) -> None:
        self.names[listed.name] = listed
        self._of_name[listed.name], self._derived[listed.name] = set(), set()
        self.dirty_names.add(listed.name)

    def _link(self, key: Key, name: str) -> None:
        self._of_name[name].add(key)
        self._names_of.setdefault(key, set()).add(name)

    def _unlink(self, key: Key, name: str) -> None:
        """A name does not want a target any more: another one takes it over, or it retires."""
        heirs, target = self._names_of[key], self.targets[key]
        heirs.discard(name)
        if not heirs:
            target.is_retired = True
        elif target.name == name:
            target.name = min(heirs)
        self.dirty.add(key)

    def _drop(self, target: Target) -> None:
        """A retired target would be due now: nothing is known of it that still holds."""
        del self.targets[target.key], self._names_of[target.key]
        self.dropped.add(target.key)
        self.dirty.discard(target.key)

    def _extend(self, name: str) -> None:
        """Make the targets of a name, as far as the delegations above it are known."""
        zone = cuts.ROOT
        for above in reading.ancestors(name) if self.cuts.is_used else ():
            if not self.cuts.may_ask(zone):
                break
            self.want(CUT, above, "NS", name)
            if above not in self.cuts.known:
                self._waiting.setdefault(above, set()).add(name)
                break
            zone = above if self.cuts.known[above] else zone
        if self.resolvers:
            self._ask_addresses(name, name)
            self.want(APEX, name, "SOA", name)
            if self.names[name].zone is not None:
                self.settle(name, self.names[name].zone or cuts.ROOT)
        elif name in self.cuts.known:
            self._ask_addresses(name, name)
            self.settle(name, zone)

    def settle(self, name: str, zone: str) -> None:
        """The zone of a name is known: its name servers, and whether everything exists in it."""
        if self.names[name].zone != zone:
            self.names[name].zone = zone
            self.dirty_names.add(name)
        if len(reading.ancestors(zone)) > 1:  # the name servers of top level domains do not flux
            self.want(NS, zone, "NS", name)
            label = "".join(self.random.choices(LABEL_LETTERS, k=12))
            self.want(WILDCARD, self._probes.setdefault(zone, f"{label}.{zone}"), "A", name)

    def _ask_addresses(self, qname: str, name: str) -> None:
        for qtype in self.qtypes:
            self.want(ADDRESS, qname, qtype, name)

    def follow(self, kind: str, qname: str, name: str) -> None:
        """Ask for a name that a listed one led to, within its bound."""
        derived = self._derived[name]
        if (kind == ADDRESS and qname in self.names) or "\\" in qname or qname == cuts.ROOT:
            return
        if qname in derived or len(derived) < self.settings.max_derived:
            derived.add(qname)
            for qtype in self.qtypes if kind == ADDRESS else ADDRESS_TYPES:
                self.want(kind, qname, qtype, name)
            if kind == HOST and self.cuts.is_used and not self.resolvers:
                self.lead(qname, name)

    def unfollow(self, kind: str, qname: str, names: Iterable[str]) -> None:
        """What listed names do not lead to any more is not asked for again."""
        for name in names:
            self._derived[name].discard(qname)
            for qtype in ADDRESS_TYPES:
                key = (kind, qname, qtype)
                if key in self._of_name[name]:
                    self._of_name[name].discard(key)
                    self._unlink(key, name)

    def lead(self, end: str, name: str) -> None:
        """What a listed name led to lies in a zone of its own: ask where that begins."""
        for above in reading.ancestors(end)[:-1]:
            self.want(CUT, above, "NS", name)

    def want(self, kind: str, qname: str, qtype: str, name: str) -> None:
        """Ask a question from now on, for a listed name."""
        key = (kind, qname, qtype)
        self._link(key, name)
        if key not in self.targets:
            self.targets[key] = Target(kind, qname, qtype, name, self.now)
            self.dirty.add(key)
            self.schedule.push(self.targets[key])
            self.dropped.discard(key)
        elif self.targets[key].is_retired:
            self.targets[key].is_retired, self.targets[key].name = False, name
            self.dirty.add(key)

    # What is due

    def due(self, now: float, limit: int = 1_000_000) -> list[Query]:
        """Queries to send now, within all budgets; each of them is out until it is reported on."""
        self._advance_clock(now)
        ready = []
        for target, server in self.schedule.take(self.now, limit):
            if target.is_retired:
                self._drop(target)
                continue
            if server is None:
                self._fail(target)
                continue
            target.in_flight, target.asked_s = True, self.now
            self.dirty.add(target.key)
            self._serial += 1
            recurse = not self._asks_name_servers(target)
            ready.append(
                Query(self._serial, target.qname, target.qtype, server, recurse, target.kind,
                      target.name)
            )  # fmt: skip
        return ready

    def next_due_s(self) -> float | None:
        """When `due` may have something (it may turn out later); None when nothing is tracked."""
        return self.schedule.next_s(self.now)

    def _asks_name_servers(self, target: Target) -> bool:
        return target.kind == CUT or not self.resolvers

    def _server_for(self, target: Target) -> str | None:
        if not self._asks_name_servers(target):
            place = learning.hash_of(target.name) % len(self.resolvers)
            turned = self.resolvers[place:] + self.resolvers[:place]
            return self.cuts.best(turned, target.tried, self.now)
        zone = self.cuts.zone_of(target.qname, above=target.kind == CUT)
        server = self.cuts.server_of(zone, target.tried, self.now)
        if server is None:
            for host in self.cuts.hosts_without_address(zone):
                if not reading.is_below(host, zone):  # such a one could only be asked for there
                    self.follow(HOST, host, target.name)
        return server

    # What was answered

    def on_response(self, query: Query, response: Response, now: float) -> list[Event]:
        """Take an answer in; what changed comes out."""
        self._advance_clock(now)
        target = self.targets.get((query.kind, query.qname, query.qtype))
        if target is None or not target.in_flight:
            return []
        parent = None
        if not query.recurse:
            parent = self.cuts.zone_of(query.qname, above=query.kind == CUT)
        meaning = reading.read(query.qname, query.qtype, parent, response)
        if meaning.outcome == reading.FAILURE:
            return self._failed(query, target, meaning.why)
        self.cuts.forgive(query.server)
        if target.is_retired:
            target.in_flight = False
            self._schedule(target, meaning)
            return []
        if meaning.outcome == reading.REFERRAL and query.kind != CUT:
            return self._referred(query, target, meaning)
        target.in_flight, target.failures, target.tried = False, 0, []
        events = learning.compare(target, meaning, self.now)
        learning.learn(self, query, target, meaning, events)
        self._schedule(target, meaning)
        return events + self._live_all(target.key)

    def on_failure(self, query: Query, why: str, now: float) -> list[Event]:
        """No answer: ``timeout``, ``unreachable``, ``malformed``, …"""
        self._advance_clock(now)
        target = self.targets.get((query.kind, query.qname, query.qtype))
        if target is None or not target.in_flight:
            return []
        self.cuts.blame(query.server, self.now)
        return self._failed(query, target, why, is_silent=True)

    def _failed(
        self, query: Query, target: Target, why: str, *, is_silent: bool = False
    ) -> list[Event]:
        """Another server may know better; otherwise, wait."""
        target.in_flight = False
        if target.is_retired:
            self._fail(target)
            return []
        target.tried.append(query.server)
        if not query.recurse and why != "servfail":
            self.cuts.blame(query.server, self.now)
        if (is_silent or not query.recurse) and len(target.tried) < MAX_TRIES:
            other = self._server_for(target)
            if other is not None and other not in target.tried:
                target.due_s = self.now + NEXT_TRY_S
                self.dirty.add(target.key)
                self.schedule.push(target)
                return []
        self._fail(target, is_hopeless=why in ("alias_loop", "refused"))
        events = self._live_all(target.key)
        if target.failures == 1 or target.failures % 10 == 0:
            detail = {"question": f"{target.qname} {target.qtype}", "why": why,
                      "server": query.server, "in_a_row": target.failures}  # fmt: skip
            events.append(Event(self.now, target.name, "failed", detail))
        return events

    def _fail(self, target: Target, *, is_hopeless: bool = False) -> None:
        target.failures += 1
        target.outcome, target.tried = reading.FAILURE, []
        if is_hopeless:  # another try at once would be no better
            target.failures = max(target.failures, 3)
        self._due_in(target, retry_s(target, self.settings))

    def _referred(self, query: Query, target: Target, meaning: reading.Meaning) -> list[Event]:
        """A zone begins between here and the name: nobody told so far. Ask there next.

        Each referral leads strictly downwards, so there are no more of them than labels.
        """
        zone = meaning.zone or cuts.ROOT
        if self.cuts.known.get(zone):  # the zone is known, and lies below the one that was asked
            return self._failed(query, target, "lame")
        self.want(CUT, zone, "NS", target.name)
        found = self.targets[(CUT, zone, "NS")]
        found.is_cut, found.hosts = True, meaning.hosts
        self.cuts.learn(zone, meaning.hosts, is_cut=True)
        target.in_flight, target.tried, target.due_s = False, [], self.now + NEXT_TRY_S
        self.dirty |= {target.key, found.key}
        self.schedule.push(target)
        return []

    def on_cut(self, target: Target, *, is_news: bool) -> None:
        """A delegation is known now: names that waited for it go on; those below may be back."""
        names = self._waiting.pop(target.qname, set())
        if is_news:
            names |= self._names_of[target.key]
        for name in names & self.names.keys():
            self._extend(name)
            if is_news and target.is_cut:
                self._wake(name)

    def _wake(self, name: str) -> None:
        """Ask for a name that was gone as soon as the answer that said so has expired."""
        for key in self._of_name[name]:
            target = self.targets[key]
            if key[0] != ADDRESS or target.in_flight or target.outcome != reading.NXDOMAIN:
                continue
            rest_s = max(target.ttl_s or 0.0, self.settings.floor_s) + MARGIN_S
            target.due_s = min(target.due_s, max(self.now, (target.asked_s or 0.0) + rest_s))
            self.dirty.add(key)
            self.schedule.push(target)

    def names_of(self, target: Target) -> set[str]:
        """All listed names for which a question is asked."""
        return self._names_of[target.key]

    # When next

    def _schedule(self, target: Target, meaning: reading.Meaning) -> None:
        target.ttl_s = meaning.ttl_s
        if target.outcome == reading.NXDOMAIN and target.kind != WILDCARD:
            wait_s = dead_s(target, meaning.ttl_s, self.settings)
        else:
            wait_s = interval_s(target, meaning.ttl_s, self.settings)
        self._due_in(target, wait_s)

    def _due_in(self, target: Target, wait_s: float) -> None:
        jitter_s = self.random.random() * self.settings.jitter_ratio * wait_s
        target.due_s = self.now + wait_s + MARGIN_S + jitter_s
        self.dirty.add(target.key)
        self.schedule.push(target)

    def _live_all(self, key: Key) -> list[Event]:
        if key[0] not in (ADDRESS, CUT):
            return []
        return [event for name in sorted(self._names_of[key]) for event in self._live(name)]

    def _live(self, name: str) -> list[Event]:
        """Tell whether a name was born, fell asleep, died or came back."""
        listed = self.names[name]
        own = [self.targets[key] for key in self._of_name[name] if key[0] in (ADDRESS, CUT)]
        state = next_state(listed, own, self.now, self.settings)
        if state == listed.state:
            return []
        event = Event(self.now, name, "state", {"from": listed.state, "to": state})
        listed.state, listed.since_s = state, self.now
        self.dirty_names.add(name)
        return [event]

    def _advance_clock(self, now: float) -> None:
        self.now = max(self.now, now)

    def shift(self, seconds: float) -> None:
        """The system's clock was set: all times move with it, so that nothing is due by that."""
        self.now += seconds
        for target in self.targets.values():
            target.due_s += seconds
            target.asked_s = None if target.asked_s is None else target.asked_s + seconds
            target.changed_s = None if target.changed_s is None else target.changed_s + seconds
        self.dirty.update(self.targets)
        self.cuts.shift(seconds)
        self.schedule.shift(seconds)

    # What the edge takes away

    def take_samples(self) -> list[Sample]:
        """Samples since the last call."""
        taken, self.samples = self.samples, []
        return taken

    def take_dirty(self) -> tuple[list[Listed], list[Target], list[Key]]:
        """Names and targets to store, and targets to forget: what changed since the last call."""
        names, self.dirty_names = self.dirty_names, set()
        keys, self.dirty = self.dirty, set()
        dropped, self.dropped = self.dropped, set()
        return (
            [self.names[name] for name in names if name in self.names],
            [self.targets[key] for key in keys if key in self.targets],
            sorted(dropped),
        )

    def questions(self) -> list[Target]:
        """Everything that is asked, by the time it is due."""
        return sorted(self.targets.values(), key=lambda one: (one.due_s, one.key))
