"""Stories in time: scenario files played on a virtual clock against servers that obey the story."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from unflux.track import Query, Record, Response, Settings, Tracker
from unflux.track.facts import ttl_of
from unflux.track.life import Listed
from unflux.track.pace import CLOCK_STEP_S
from unflux.track.reading import ancestors, is_below, read
from unflux.track.targets import Target

ROOT, RESOLVERS = "198.18.0.1", ("198.18.0.53", "198.18.1.53")
RTT_S = 0.02
START_S = 1_790_000_000.0
MAX_IDLE = 10
"""Steps of the clock in which nothing happens that was announced: rounding gives a few."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> float:
    return float(text[:-1]) * UNITS[text[-1]]


@dataclass
class Asked:
    """A query that was sent, and what came of it."""

    at_s: float
    query: Query
    outcome: str = "out"
    """``answer``, ``failed``, ``referral`` or ``out``."""
    ttl_s: float = 0.0


@dataclass
class World:
    """What the servers answer now."""

    rrsets: dict[tuple[str, str], tuple[int, list[str]]] = field(default_factory=dict)
    negative: dict[str, tuple[str, int]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    zones: dict[str, tuple[int, dict[str, list[str]]]] = field(default_factory=dict)

    def answer(self, query: Query) -> Response | str:  # noqa: PLR0911
        """A response, or the reason why there is none."""
        broken = self.broken.get(query.server) or self.broken.get(query.qname)
        if broken in ("timeout", "unreachable"):
            return broken
        if broken == "lame":
            return Response("NOERROR", False, (Record("authority", ".", "NS", 60, "up.test."),))
        if broken:
            return Response(broken.upper(), False, ())
        if query.recurse:
            return self._data(query.qname, query.qtype, authoritative=False)
        served = [
            zone
            for zone, (_, hosts) in self.zones.items()
            if any(query.server in one for one in hosts.values())
        ]
        served += ["."] if query.server == ROOT else []
        mine = [zone for zone in served if is_below(query.qname, zone)]
        if not mine:
            return Response("REFUSED", False, ())
        zone = max(mine, key=lambda one: one.count(".") if one != "." else 0)
        below = [
            one
            for one in self.zones
            if one != zone and is_below(query.qname, one) and is_below(one, zone)
        ]
        if below:
            return self._referral(min(below, key=lambda one: one.count(".")))
        return self._data(query.qname, query.qtype, authoritative=True, inside=zone)

    def _referral(self, zone: str) -> Response:
        ttl, hosts = self.zones[zone]
        records = [Record("authority", zone, "NS", ttl, host) for host in hosts]
        records += [
            Record("additional", host, "A", ttl, one)
            for host, addresses in hosts.items()
            for one in addresses
        ]
        return Response("NOERROR", False, tuple(records))

    def _data(self, qname: str, qtype: str, *, authoritative: bool, inside: str = ".") -> Response:
        records, owner = [], qname
        for _ in range(20):
            alias = self.rrsets.get((owner, "CNAME"))
            if alias is None or qtype == "CNAME":
                break
            records.append(Record("answer", owner, "CNAME", alias[0], alias[1][0]))
            owner = alias[1][0]
            if authoritative and not is_below(owner, inside):
                return Response("NOERROR", True, tuple(records))
        ns = self.zones.get(owner) if qtype == "NS" else None
        found = (
            (ns[0], list(ns[1]))
            if ns
            else self.rrsets.get((owner, qtype)) or self._wild(owner, qtype)
        )
        if found:
            records += [Record("answer", owner, qtype, found[0], one) for one in found[1]]
            if ns:
                records += [r for r in self._referral(owner).records if r.section == "additional"]
            return Response("NOERROR", authoritative, tuple(records))
        exists = any(is_below(one, owner) for one, _ in self.rrsets) or owner in self.zones
        rcode, ttl = self.negative.get(owner, ("NOERROR" if exists else "NXDOMAIN", 60))
        apex = max((one for one in [".", *self.zones] if is_below(owner, one)), key=len)
        soa = Record("authority", apex, "SOA", ttl, f"ns. h. 1 2 3 4 {ttl}")
        return Response(rcode, authoritative, (*records, soa))

    def _wild(self, owner: str, qtype: str) -> tuple[int, list[str]] | None:
        return self.rrsets.get((f"*.{owner.partition('.')[2]}", qtype))


class Story:
    """A tracker, the world around it, and everything that was asked."""

    def __init__(
        self, settings: Settings | None = None, mode: str = "resolver", seed: int = 1
    ) -> None:
        self.settings, self.mode, self.seed = settings or Settings(), mode, seed
        self.world, self.asked, self.events = World(), [], []
        self.now = START_S
        self.skew = 0.0
        self.out: list[tuple[float, int, Asked]] = []
        self.tracker = self._made()

    def _made(self, asked_last_s: float | None = None) -> Tracker:
        return Tracker(
            self.settings,
            started_s=self.now + self.skew,
            resolvers=() if self.mode == "authoritative" else RESOLVERS,
            hints=() if self.mode == "resolver" else (ROOT,),
            may_ask=(lambda zone: zone == "test.") if self.mode == "both" else lambda _zone: True,
            seed=self.seed,
            asked_last_s=asked_last_s,
        )

    def run_until(self, until_s: float) -> None:
        """Let time pass; whatever is due is asked and answered."""
        idle = 0
        while True:
            next_s = [self.out[0][0]] if self.out else []
            due = self.tracker.next_due_s()
            next_s += [max(due - self.skew, self.now)] if due is not None else []
            if not next_s or min(next_s) > until_s:
                break
            self.now = max(min(next_s), self.now)
            self._deliver()
            queries = self.tracker.due(self.now + self.skew)
            for query in queries:
                self._send(query)
            following = self.tracker.next_due_s()
            idle = (
                0 if queries or following is None or following - self.skew > self.now else idle + 1
            )
            assert idle < MAX_IDLE, "the tracker says that it is time to ask, and asks nothing"
            self.now += CLOCK_STEP_S if idle else 0.0
        self.now = max(self.now, until_s)

    def _send(self, query: Query) -> None:
        asked = Asked(self.now, query)
        self.asked.append(asked)
        answer = self.world.answer(query)
        wait_s = self.settings.timeout_s if answer == "timeout" else RTT_S
        heapq.heappush(self.out, (self.now + wait_s, len(self.asked), asked, answer))

    def _deliver(self) -> None:
        while self.out and self.out[0][0] <= self.now:
            _, _, asked, answer = heapq.heappop(self.out)
            now = self.now + self.skew
            if isinstance(answer, str):
                asked.outcome = "failed"
                self.events += self.tracker.on_failure(asked.query, answer, now)
                continue
            parent = None if asked.query.recurse else self.parent_of(asked.query)
            meaning = read(asked.query.qname, asked.query.qtype, parent, answer)
            asked.outcome = {"failure": "failed", "referral": "referral"}.get(
                meaning.outcome, "answer"
            )
            if asked.query.kind == "cut" and asked.outcome == "referral":
                asked.outcome = "answer"
            asked.ttl_s = meaning.ttl_s
            self.events += self.tracker.on_response(asked.query, answer, now)

    def parent_of(self, query: Query) -> str:
        return self.tracker.cuts.zone_of(query.qname, above=query.kind == "cut")

    def crash(self) -> None:
        """kill -9: what was out is lost, what was stored is there."""
        names = msgspec.json.decode(
            msgspec.json.encode(list(self.tracker.names.values())), type=list[Listed]
        )
        targets = msgspec.msgpack.decode(
            msgspec.msgpack.encode(list(self.tracker.targets.values())), type=list[Target]
        )
        self.out = []
        asked = [one.asked_s for one in targets if one.asked_s is not None]
        self.tracker = self._made(max(asked, default=None))
        self.tracker.restore(names, targets, self.now + self.skew)

    def play(self, path: Path) -> None:
        """Play a scenario file; `AssertionError` names the line that does not hold."""
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                self.step(words)
            except AssertionError as error:
                raise AssertionError(f"{path.name}:{number}: {line.strip()}: {error}") from None

    def step(self, words: list[str]) -> None:
        if words[0] == "set":
            values = dict(word.split("=") for word in words[1:])
            self.settings = Settings(**{key: float(value) for key, value in values.items()})
            self.tracker = self._made()
        elif words[0] == "ask":
            self.mode = words[1]
            self.tracker = self._made()
        elif words[0] == "at":
            self.run_until(START_S + seconds(words[1]))
            getattr(self, f"do_{words[2]}")(*words[3:])
        else:
            raise AssertionError(f"unknown word {words[0]}")

    def do_list(self, *names: str) -> None:
        for name in names:
            self.tracker.add(name, self.now + self.skew)

    def do_unlist(self, *names: str) -> None:
        for name in names:
            self.tracker.remove(name)

    def do_serve(self, owner: str, ttl: str, rdtype: str, *rdata: str) -> None:
        self.world.negative.pop(owner, None)
        self.world.rrsets[owner, rdtype] = (int(ttl), list(rdata))

    def do_deny(self, owner: str, rcode: str, ttl: str) -> None:
        for key in [key for key in self.world.rrsets if key[0] == owner]:
            del self.world.rrsets[key]
        self.world.negative[owner] = (rcode.upper(), int(ttl))

    def do_break(self, what: str, how: str) -> None:
        self.world.broken[what] = how

    def do_mend(self, what: str) -> None:
        self.world.broken.pop(what, None)

    def do_delegate(self, zone: str, ttl: str, *hosts: str) -> None:
        found: dict[str, list[str]] = {}
        for word in hosts:
            host, _, address = word.partition("=")
            found.setdefault(host, []).extend([address] if address else [])
            if address:
                self.world.rrsets[host, "A"] = (int(ttl), [address])
        self.world.zones[zone] = (int(ttl), found)

    def do_undelegate(self, zone: str) -> None:
        del self.world.zones[zone]

    def do_clock(self, by: str) -> None:
        """The system's clock is set; the runner notices and shifts, as `Runner._step` does."""
        step = seconds(by[1:]) * (-1 if by[0] == "-" else 1)
        self.skew += step
        self.tracker.shift(step)

    def do_crash(self) -> None:
        self.crash()

    def do_crash_with_clock(self, by: str) -> None:
        """The machine comes back with another time, and nobody could shift anything."""
        self.skew += seconds(by[1:]) * (-1 if by[0] == "-" else 1)
        self.crash()

    def do_expect(self, what: str, *rest: str) -> None:
        getattr(self, f"expect_{what}")(*rest)

    def expect_state(self, name: str, state: str) -> None:
        assert self.tracker.names[name].state == state, self.tracker.names[name].state

    def expect_zone(self, name: str, zone: str) -> None:
        assert self.tracker.names[name].zone == zone, self.tracker.names[name].zone

    def expect_asked(self, qname: str, qtype: str, low: str, high: str, *within: str) -> None:
        """Between `low` and `high` times in all, or in the last such span."""
        since = self.now - seconds(within[0]) if within else 0.0
        n = sum(
            one.query.qname == qname and one.query.qtype == qtype and one.at_s >= since
            for one in self.asked
        )
        assert int(low) <= n <= int(high), f"asked {n} times"

    def expect_asked_at(self, server: str, low: str, high: str) -> None:
        n = sum(one.query.server == server for one in self.asked)
        assert int(low) <= n <= int(high), f"asked {n} times"

    def expect_event(self, name: str, kind: str, *words: str) -> None:
        found = [one for one in self.events if one.name == name and one.kind == kind]
        texts = [str(one.detail) for one in found]
        assert any(all(word in text for word in words) for text in texts), texts[-5:]

    def expect_wildcard(self, name: str, yes: str) -> None:
        assert self.tracker.names[name].wildcard == (yes == "yes")

    def expect_rrset(self, owner: str, qtype: str, *rdata: str) -> None:
        target = next(
            t for t in self.tracker.targets.values() if (t.qname, t.qtype) == (owner, qtype)
        )
        assert sorted(rdata) == target.rrset, target.rrset


def check_polite(asked: list[Asked], settings: Settings) -> None:
    """Never before the TTL or the floor; after a failure, another server, or the floor.

    A query that got lost in a crash counts as an answer of the floor's TTL.
    """
    last: dict[tuple[str, str, str], Asked] = {}
    for one in asked:
        key = (one.query.kind, one.query.qname, one.query.qtype)
        before = last.get(key)
        last[key] = one
        if before is None:
            continue
        gap_s = one.at_s - before.at_s
        if before.outcome in ("failed", "referral") and one.query.server != before.query.server:
            assert gap_s >= 1.0, (before, one)
            continue
        ttl_s = ttl_of(int(before.ttl_s)) if before.outcome == "answer" else 0
        assert gap_s >= max(ttl_s, settings.floor_s), (before, one)


def check_rates(asked: list[Asked], settings: Settings) -> None:
    """In every span of time, at most burst + rate · span: overall, per server, per name."""
    limits = {
        "all": (settings.overall_s, max(settings.overall_s, 1)),
        "server": (settings.per_server_s, max(settings.per_server_s, 1)),
        "name server": (settings.per_name_server_s, max(settings.per_name_server_s, 1)),
        "name": (settings.per_name_h / 3600, max(settings.per_name_h / 12, 20)),
    }
    streams: dict[tuple[str, str], list[float]] = {}
    for one in asked:
        to = "server" if one.query.server in RESOLVERS else "name server"
        for key in (("all", ""), (to, one.query.server), ("name", one.query.name)):
            streams.setdefault(key, []).append(one.at_s)
    for (kind, key), times in streams.items():
        rate, burst = limits[kind]
        level, last_s = burst, times[0]
        for at_s in times:  # a bucket of the same size, run beside, must never run dry
            level = min(burst, level + rate * (at_s - last_s)) - 1
            last_s = at_s
            assert level >= -1e-5 - CLOCK_STEP_S * rate, (kind, key, at_s, level)


def check_names(story: Story, listed: set[str]) -> None:
    """Only listed names, what is above them, and what answers led to was asked for."""
    known = {above for name in listed for above in ancestors(name)}
    known |= {
        rdata
        for (_, rdtype), (_, all_) in story.world.rrsets.items()
        if rdtype == "CNAME"
        for rdata in all_
    }
    known |= {host for _, hosts in story.world.zones.values() for host in hosts}
    known |= {above for one in list(known) for above in ancestors(one)}
    for one in story.asked:
        if one.query.kind == "wildcard":
            assert one.query.qname.partition(".")[2] in known, one
        else:
            assert one.query.qname in known, one
        assert one.query.name in listed, one
