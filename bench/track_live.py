#!/usr/bin/env python3
"""`unflux track --authoritative` in the live lab, held against the lab's truth.

`track_live.py [NAMES] [SPEED] [SECONDS] [DIRECTORY TO KEEP]`: about that many flux names and their
look-alikes, followed from the lab's root; budgets are the defaults times the speed, waits divided
by it. Prints what of the truth is in the record, and the most that any server was asked, as the
lab's own capture has it.

A rotation that is shorter than the interval between two looks (TTL, a margin of half a second, the
jitter) can be missed: `expected` is what such an interval sees of states of that length.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import dns.rdatatype

from unflux.lab.live.session import Lab, LabOptions
from unflux.lab.live.story import read_packets
from unflux.track import period
from unflux.track.settings import Settings
from unflux.track.store import Store
from unflux.track.verdicts import Judging, findings_of, scan

SOURCE = "198.19.250.9"
"""Where the tracker asks from; nobody else in the lab does."""
SHARES = {
    "pharma": 30, "double": 30, "ns_only": 20, "rock": 15, "single_a": 15, "bulletproof": 15,
    "cpe": 10, "double_slow": 10, "akamai17": 15, "v6": 10, "static": 10, "cdn": 10, "anycast": 10,
}  # fmt: skip
"""Names of each preset, of 200."""
MARGIN_S = 0.5
SPEED_UP = ("per_name_h", "per_zone_h", "per_server_s", "per_name_server_s", "overall_s")
SLOW_DOWN = ("floor_s", "idle_s", "retry_max_s", "dead_max_s", "sleep_after_s", "wildcard_s",
             "lame_s")  # fmt: skip


def scaled(speed: float) -> dict[str, float]:
    """The default settings in the lab's time, within their ranges."""
    settings = Settings()
    low = {"floor_s": 1.0, "dead_max_s": 60.0, "sleep_after_s": 60.0, "wildcard_s": 60.0}
    found = {key: getattr(settings, key) * speed for key in SPEED_UP}
    return found | {
        key: max(getattr(settings, key) / speed, low.get(key, 1.0)) for key in SLOW_DOWN
    }


def scenario(n_names: int) -> str:
    """As many names of each preset as its share."""
    parts = ['title = "for the tracker"\nclients = 10\n']
    for preset, share in SHARES.items():
        number = max(round(share * n_names / 200), 1)
        parts.append(f'[[service]]\npreset = "{preset}"\ndomains = {number}\n')
    return "".join(parts)


class Asked(NamedTuple):
    """A query of the tracker's, as the capture has it."""

    at_s: float
    server: str
    qname: str
    qtype: int
    answered: bool
    """With an answer, or with the word that there is none; after anything else, another server is
    tried a second later."""


def follow(lab: Lab, folder: Path, numbers: dict[str, float], seconds: float) -> None:
    """Track every flux name and look-alike that long, with these settings."""
    names = sorted(lab.labels())
    tracked, hints = folder / "tracked", folder / "hints"
    (folder / "names").write_text("\n".join(names))
    hints.write_text(f". 3600000 NS a.root.\na.root. 3600000 A {lab_root(lab)}\n")
    unflux = [sys.executable, "-m", "unflux", "track"]
    subprocess.run(
        [*unflux, "add", "--from", str(folder / "names"), "--dir", str(tracked)],
        check=True, stdout=sys.stderr,
    )  # fmt: skip
    settings = [f"--set={key}={value:g}" for key, value in numbers.items()]
    tables = [f"--asn-db={lab.out}/asn.mmdb", f"--country-db={lab.out}/country.mmdb"]
    command = lab.command([
        *unflux, "run", "--dir", str(tracked), "--authoritative", "--hints", str(hints),
        "--allow", "198.18.0.0/15", "--source", SOURCE, "--flush-every", "1d", *settings, *tables,
    ])  # fmt: skip
    with (folder / "track.log").open("wb") as log:
        runner = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            time.sleep(seconds)
            if runner.poll() is not None:
                raise RuntimeError((folder / "track.log").read_text()[-2000:])
            runner.send_signal(signal.SIGINT)
            runner.wait(300)
        finally:
            runner.kill()


def lab_root(_lab: Lab) -> str:
    """The address of the lab's root server."""
    from unflux.lab.model.plan import ROOT_SERVER as address
    from unflux.lab.model.plan import text_of

    return text_of(address)


def time_of(text: str) -> float:
    """Seconds since the epoch of a time of the truth."""
    return datetime.fromisoformat(text).timestamp()


class States:
    """What a name's addresses were from when on."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.members: list[frozenset[str]] = []

    def add(self, at_s: float, members: Iterable[str]) -> None:
        """From then on it has these."""
        held = frozenset(members)
        if not self.members or self.members[-1] != held:
            self.times.append(at_s)
            self.members.append(held)


def rotations(truth: list[dict[str, Any]]) -> dict[str, States]:
    """Name → states, as the networks published them."""
    found: dict[str, States] = defaultdict(States)
    for event in truth:
        if event["event"] == "rrset" and event["rdtype"] in ("A", "AAAA"):
            found[event["name"]].add(time_of(event["t"]), event["rdata"])
    return found


def record(store: Store, name: str) -> tuple[States, float | None]:
    """What the tracker saw of a name's addresses, and their TTL."""
    seen, held, ttl_s = States(), dict[str, set[str]](), None
    for event in store.events(f"{name}."):
        if event.kind != "addresses" or event.detail["rdtype"] not in ("A", "AAAA"):
            continue
        rdtype = str(event.detail["rdtype"])
        now = held.setdefault(rdtype, set())
        now -= set(event.detail["gone"])
        now |= set(event.detail["new"])
        ttl_s = event.detail["ttl"]
        if now:
            seen.add(event.at_s, now)
    return seen, ttl_s


class Followed(NamedTuple):
    """Rotations of one name while it was tracked."""

    published: int
    seen: int
    expected: float


def compare(states: States, seen: States, ttl_s: float | None, settings: Settings) -> Followed:
    """How many of the published states are in the record, and how many should be."""
    if not seen.times:
        return Followed(0, 0, 0.0)
    interval = max(ttl_s or 0.0, settings.floor_s)
    interval = interval * (1 + settings.jitter_ratio / 2) + MARGIN_S
    published, found, expected = 0, 0, 0.0
    for at, until, members in zip(
        states.times, states.times[1:], states.members, strict=False
    ):  # the last state goes on
        if at < seen.times[0] or until > seen.times[-1] + interval:
            continue
        published += 1
        expected += min(1.0, (until - at) / interval)
        first = bisect_left(seen.times, at - 0.5)
        last = bisect_left(seen.times, until + 2.0)
        found += members in seen.members[first:last]
    return Followed(published, found, expected)


def queries(path: Path) -> list[Asked]:
    """Everything that the tracker asked, from the capture of the whole lab."""
    answered: set[tuple[str, int, int]] = set()
    asked: list[tuple[Asked, tuple[str, int, int]]] = []
    for packet in read_packets(path):
        message = packet.message if SOURCE in (packet.source, packet.target) else None
        if message is None or not message.question:
            continue
        if packet.target == SOURCE:
            is_negative = any(one.rdtype == dns.rdatatype.SOA for one in message.authority)
            if message.rcode() in (0, 3) and (message.answer or is_negative):
                answered.add((packet.source, packet.ports[1], message.id))
        elif packet.ports[1] == 53:
            question = message.question[0]
            name = question.name.to_text().lower()
            one = Asked(packet.at_s, packet.target, name, int(question.rdtype), False)
            asked.append((one, (packet.target, packet.ports[0], message.id)))
    return [one._replace(answered=key in answered) for one, key in asked]


def most_in(times: list[float], span_s: float) -> int:
    """The most of these times in any span of that length."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= span_s:
            first += 1
        most = max(most, last - first + 1)
    return most


@dataclass
class Figures:
    """Truth against record, and what the servers saw."""

    settings: Settings
    speed: float
    n_names: int
    n_flux: int
    rotations: list[Followed]
    moves: Counter[str]
    """``right``, or ``wrong: PRESET``: do the name servers of a flux name move?"""
    n_moving: int
    """Names whose name servers move, and were seen to."""
    errors: list[float]
    """Of the estimated periods, relative."""
    called: Counter[tuple[str, str]]
    """(truth, verdict)."""
    n_agents: int
    n_agents_right: int
    n_queries: int
    span_s: float
    most_of_all: int
    """Queries in the second with most of them; the next is the same for one server."""
    most_of_a_server: int
    gaps: list[float]
    """Seconds from an answered A or AAAA query of a name to the next one."""
    n_outside: int
    """Queries for what is neither listed nor above or below a listed name's zone."""

    @property
    def n_published(self) -> int:
        """Rotations while names were tracked."""
        return sum(one.published for one in self.rotations)

    @property
    def n_seen(self) -> int:
        """Of these, in the record."""
        return sum(one.seen for one in self.rotations)

    @property
    def seen_ratio(self) -> float:
        """Of those that looks at these intervals can see."""
        return self.n_seen / max(sum(one.expected for one in self.rotations), 1e-9)

    def rows(self) -> dict[str, str]:
        """For people."""
        wrong = ", ".join(f"{key} {n}" for key, n in self.moves.items() if key != "right")
        return {
            "names, flux among them": f"{self.n_names}, {self.n_flux}",
            "scaled hours": f"{self.span_s * self.speed / 3600:.1f}",
            "rotations published, in the record": f"{self.n_published}, {self.n_seen}",
            "in the record of those that the interval can see": f"{self.seen_ratio:.1%}",
            "name servers that move told from those that stay": f"{self.moves['right']} of "
            f"{self.moves.total()} {wrong}",
            "periods within 10 %, of those estimated, of names seen moving": f"{self.n_close}, "
            f"{len(self.errors)}, {self.n_moving}",
            "median error of a period": f"{statistics.median(self.errors or [float('nan')]):.1%}",
            "agents of flux findings, published ones": f"{self.n_agents}, {self.n_agents_right}",
            "verdicts (truth → called)": "; ".join(
                f"{want} → {got} {n}" for (want, got), n in sorted(self.called.items())
            ),
            "queries, a second": f"{self.n_queries}, {self.n_queries / self.span_s:.1f}",
            "most in any second (burst and rate)": f"{self.most_of_all} "
            f"({2 * self.settings.overall_s:.0f})",
            "most in any second at one server": f"{self.most_of_a_server} "
            f"({2 * self.settings.per_name_server_s:.0f})",
            "shortest time from an answer to the same question s": f"{min(self.gaps):.2f} "
            f"(floor {self.settings.floor_s:g})",
            "queries outside the list's zones": str(self.n_outside),
        }

    @property
    def n_close(self) -> int:
        """Periods within 10 %."""
        return sum(one <= 0.1 for one in self.errors)


def judge(lab_out: Path, folder: Path, speed: float, settings: Settings) -> Figures:
    """Truth against record."""
    truth = [json.loads(line) for line in (lab_out / "truth.ndjson").read_text().splitlines()]
    labels = json.loads((lab_out / "labels.json").read_text())["names"]
    store = Store.existing(folder / "tracked")
    published = rotations(truth)
    followed = [
        compare(published[name], *record(store, name), settings) for name in sorted(published)
    ]
    moves, n_moving, errors = name_servers(store, lab_out, labels, speed)
    verdicts = {name.rstrip("."): one[0] for name, one in store.verdicts().items()}
    called = Counter((labels[name]["verdict"], got) for name, got in verdicts.items())
    n_agents, n_right = agents_found(folder, lab_out, truth, labels)
    asked = queries(lab_out / "all.pcap")
    by_server, by_question = defaultdict(list), defaultdict(list)
    for one in asked:
        by_server[one.server].append(one.at_s)
        by_question[one.qname, one.qtype].append(one)
    gaps = [
        later.at_s - earlier.at_s
        for name in labels
        for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for earlier, later in pairwise(by_question[f"{name}.", rdtype])
        if earlier.answered
    ]
    return Figures(
        settings, speed, len(labels), sum(one["flux"] for one in labels.values()), followed,
        moves, n_moving, errors, called, n_agents, n_right, len(asked),
        asked[-1].at_s - asked[0].at_s, most_in([one.at_s for one in asked], 1.0),
        max(most_in(times, 1.0) for times in by_server.values()), gaps,
        n_outside(asked, store),
    )  # fmt: skip


def name_servers(
    store: Store, lab_out: Path, labels: dict[str, Any], speed: float
) -> tuple[Counter[str], int, list[float]]:
    """Whether name servers move, told right or wrong; how many were seen to; errors of periods."""
    card = json.loads((lab_out / "card.json").read_text())
    services = {one["name"]: one for one in card["services"]}
    zones = {one.name.rstrip("."): one.zone for one in store.names()}
    moves, n_moving, errors = Counter[str](), 0, []
    for name, entry in labels.items():
        service = services[entry["network"]]
        found = period.estimate(store.samples(zones.get(name) or ""))
        rotates = service["ns"] == "rotating"
        if entry["flux"]:
            moves["right" if found.moves == rotates else f"wrong: {entry['kind']}"] += 1
        if rotates and found.moves:
            n_moving += 1
            want = service["ns_period_s"] / speed
            errors += [abs(found.seconds - want) / want] if found.seconds else []
    return moves, n_moving, errors


def n_outside(asked: list[Asked], store: Store) -> int:
    """Queries for names that share no zone with a listed one."""
    listed = {one.name for one in store.names()}
    zones = {one.zone for one in store.names() if one.zone not in (None, ".")}
    above = {name.split(".", place)[-1] for name in listed for place in range(1, 6)} | {".", ""}
    kinds = {target.qname for target in store.targets()}
    return sum(
        one.qname not in listed | above | kinds
        and not any(one.qname.endswith(f".{zone}") for zone in zones)
        for one in asked
    )


def agents_found(
    folder: Path, lab_out: Path, truth: list[dict[str, Any]], labels: dict[str, Any]
) -> tuple[int, int]:
    """(agents of findings that are flux, how many of these the networks published); findings mark
    addresses that cannot be agents (decoys in private networks) as special: they do not count."""
    published: set[str] = set()
    for event in truth:
        for key in ("rdata", "added", "glue"):
            published.update(str(one).rpartition(" ")[2] for one in event.get(key, ()))
    tables = Judging(lab_out / "asn.mmdb", lab_out / "country.mmdb")
    result = scan(folder / "tracked", tables)
    found = findings_of(result, [f"{name}." for name in labels]) if result else []
    listed = {
        one.address
        for finding in found
        if finding.is_flux
        for one in finding.agent_list
        if one.special is None
    }
    return len(listed), len(listed & published)


def main() -> None:
    """Play, judge, print."""
    n_names = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    speed = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 600.0
    numbers = scaled(speed)
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as temporary:
        folder = Path(sys.argv[4] if len(sys.argv) > 4 else temporary)
        folder.mkdir(exist_ok=True)
        (folder / "scenario.toml").write_text(scenario(n_names))
        options = LabOptions(speed=speed, people=False, whole=True)
        with Lab(str(folder / "scenario.toml"), options, folder / "lab") as lab:
            follow(lab, folder, numbers, seconds)
        found = judge(folder / "lab", folder, speed, Settings(**numbers))
        print("| what | |\n| --- | --- |")
        for key, value in found.rows().items():
            print(f"| {key} | {value} |")


if __name__ == "__main__":
    main()
