#!/usr/bin/env python3
"""`unflux trace` on live captures: every agent of a lab run, by how much of it was seen.

`trace_live.py [SECONDS] [DIRECTORY TO KEEP]`: 80 clients and six networks (pages plain and over
TLS, each over one agent and over two; DNS alone; DNS and pages), at speed 60. For each agent that
passed something on, the first upstream that is named is held against the truth: the mothership, a
back end, or (with two agents in a row) another agent. Hosts that are no proxies: clients, the
resolver, name servers, plain web servers.

`trace_live.py --judge DIRECTORY`: the same for a run that was kept.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from unflux.lab.live.resolver import RESOLVER
from unflux.lab.live.session import Lab, LabOptions
from unflux.lab.live.story import read_packets
from unflux.lab.model.plan import text_of
from unflux.networks.exchanges import ROLES, host_of
from unflux.networks.packets import Capture, read_captures
from unflux.networks.trace import Trace, trace

SERVICE = """
[[service]]
name = "{name}"
preset = "{preset}"
domains = 4
population = 60
list_size = {list_size}
k = 3
stay_h = 24
uptime = 1.0
failure_ratio = 0
visits_per_h = {visits}
"""
FIRST = (5, 8, 10, 15, 20, 30)
CLASSES = (10, 20, 40)
"""Least exchanges with upstreams; below the first: too few to say."""


def scenario(list_size: int = 12, visits: int = 600) -> str:
    """Few agents, so that each has much to do."""
    parts = ['title = "for the trace"\nclients = 80\n']
    for name, preset, more in (
        ("pages", "pharma", "ttl_s = 180\n"),
        ("tls", "pharma", "ttl_s = 180\ntls = true\n"),
        ("chain", "rock", "hops = 2\nttl_s = 180\nrotation_s = 180\n"),
        ("tlschain", "rock", "hops = 2\nttl_s = 180\nrotation_s = 180\ntls = true\n"),
        ("names", "ns_only", "ns_count = 3\nttl_s = 60\n"),
        ("both", "double", "ns_count = 3\nttl_s = 180\n"),
    ):
        parts.append(
            SERVICE.format(name=name, preset=preset, list_size=list_size, visits=visits) + more
        )
    for name, tls in (("plain", "false"), ("secure", "true")):
        parts.append(
            f'[[service]]\nname = "{name}"\npreset = "static"\ndomains = 5\n'
            f"visits_per_h = 600\ntls = {tls}\n"
        )
    return "".join(parts)


class Truth:
    """Who may stand behind whom."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.behind: dict[str, set[str]] = {}
        self.agents: dict[str, set[str]] = defaultdict(set)
        for event in events:
            if event["event"] == "network":
                self.behind[event["network"]] = {event["mothership"], *event["back_ends"]}
            elif event["event"] == "agents":
                self.agents[event["network"]].update(event["added"])
        self.hosts = set().union(*self.behind.values())

    def upstreams_of(self, agent: str) -> set[str]:
        """The motherships and back ends, and the agents, that an agent passes on to."""
        found: set[str] = set()
        for network, agents in self.agents.items():
            if agent in agents:
                found |= self.behind[network] | (agents if network.startswith("chain") else set())
        return found - {agent}


def split(path: Path, hosts: set[str], folder: Path) -> dict[str, Path]:
    """The capture of everything as one capture for each host: what it could see by itself."""
    numbers = {socket.inet_aton(host): host for host in hosts}
    content, at = path.read_bytes(), 24
    frames: dict[str, list[bytes]] = defaultdict(list)
    while at + 16 <= len(content):
        end = at + 16 + struct.unpack_from("<I", content, at + 8)[0]
        frame = content[at + 16 : end]
        if frame[12:14] == b"\x08\x00":
            for place in {frame[26:30], frame[30:34]} & numbers.keys():
                frames[numbers[place]].append(content[at:end])
        at = end
    found = {}
    for host, records in frames.items():
        found[host] = folder / f"{host}.pcap"
        found[host].write_bytes(content[:24] + b"".join(records))
    return found


def times_upstream(capture: Capture, agent: str, behind: set[str]) -> list[int]:
    """When an agent's exchanges with those behind it were over, ascending, µs."""
    host = host_of(capture.packets, agent)
    out = host.exchanges.take(~np.asarray(host.exchanges.inbound, bool))
    theirs = [host.addresses[int(one)] in behind for one in out.remote]
    return sorted(np.asarray(out.reply_end)[theirs].tolist())


def outcome_of(found: Trace, behind: set[str]) -> str:
    """Against the truth."""
    if not found.upstreams:
        return "not found"
    return "right" if found.upstreams[0].address in behind else "wrong"


def judge(path: Path, truth: Truth, others: dict[str, str]) -> dict[str, Counter[str]]:
    """Class of hosts → outcomes; `others` are hosts that are no agents, and of which kind."""
    agents = set().union(*truth.agents.values())
    found: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as temporary:
        for host, own in sorted(split(path, agents | set(others), Path(temporary)).items()):
            captures = read_captures([own])
            if host not in agents:
                found[others[host]][outcome_of(trace(captures, host), set())] += 1
                continue
            behind = truth.upstreams_of(host)
            n = len(times_upstream(captures[0], host, behind))
            low = max((one for one in CLASSES if n >= one), default=0)
            kind = f"with {low} exchanges or more" if low else "with fewer than 10"
            if n:
                result = trace(captures, host)
                found[f"agents {kind}"][outcome_of(result, behind)] += 1
                role = roles_of(captures[0], host, behind)
                found[f"{role} agents {kind}"][outcome_of(result, behind)] += 1
    return found


def roles_of(capture: Capture, agent: str, behind: set[str]) -> str:
    """What an agent passes on, in words."""
    host = host_of(capture.packets, agent)
    out = host.exchanges.take(~np.asarray(host.exchanges.inbound, bool))
    theirs = np.array([host.addresses[int(one)] in behind for one in out.remote], bool)
    return " and ".join(ROLES[one] for one in sorted(set(out.role[theirs].tolist())))


def chains(path: Path, truth: Truth) -> Counter[str]:
    """Networks with two agents in a row, the captures of all their agents together → outcomes:
    the path ends at a host behind, and those agents are called next hops that are ones."""
    found: Counter[str] = Counter()
    for network, agents in truth.agents.items():
        if "chain" not in network:
            continue
        with tempfile.TemporaryDirectory(prefix="unflux-bench-") as temporary:
            own = split(path, agents, Path(temporary))
            captures = read_captures(list(own.values()))
            for agent in sorted(own):
                result = trace(captures, agent)
                hops = {one.address for one in result.upstreams if one.next_hop}
                passing = {one.address for one in result.upstreams if one.address in agents}
                right = result.path[-1] in truth.behind[network] and hops == passing
                found["right" if right else "wrong" if result.upstreams else "not found"] += 1
    return found


def by_length(path: Path, truth: Truth) -> dict[int, Counter[str]]:
    """The first so many exchanges of each agent with those behind it → outcomes."""
    agents = set().union(*truth.agents.values())
    found: dict[int, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as temporary:
        for host, own in sorted(split(path, agents, Path(temporary)).items()):
            behind = truth.upstreams_of(host)
            times = times_upstream(read_captures([own])[0], host, behind)
            for n in FIRST:
                if len(times) > n:
                    part = read_captures([own], until_us=times[n - 1] + 100_000)
                    found[n][outcome_of(trace(part, host), behind)] += 1
    return found


def others(path: Path, truth: Truth) -> dict[str, str]:
    """Hosts that are no agents: clients, plain servers of pages and names, the resolver."""
    everybody = truth.hosts | set().union(*truth.agents.values())
    resolver = text_of(RESOLVER)
    found = {resolver: "the resolver"}
    for packet in read_packets(path):
        if packet.payload and packet.source not in everybody | {resolver}:
            if packet.ports[1] in (80, 443):
                found[packet.source] = "clients"
                if packet.target not in everybody:
                    found[packet.target] = "plain web servers"
            elif packet.ports[0] == 53:
                found[packet.source] = "name servers"
    return found


def play(folder: Path, seconds: float) -> None:
    """The lab."""
    (folder / "scenario.toml").write_text(scenario())
    options = LabOptions(speed=60, whole=True, duration_s=seconds)
    with Lab(str(folder / "scenario.toml"), options, folder / "lab") as lab:
        print(json.dumps(lab.wait()["people"]), file=sys.stderr)


def main() -> None:
    """Play, judge, print."""
    if sys.argv[1:2] == ["--judge"]:
        show(Path(sys.argv[2]))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120.0
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        folder.mkdir(exist_ok=True)
        play(folder, seconds)
        show(folder)


def show(folder: Path) -> None:
    """Judge a run and print."""
    truth = Truth(
        [json.loads(line) for line in (folder / "lab/truth.ndjson").read_text().splitlines()]
    )
    path = folder / "lab/all.pcap"
    print("| hosts | right | wrong | not found |\n| --- | --- | --- | --- |")
    for what, counts in sorted(judge(path, truth, others(path, truth)).items()):
        print(f"| {what} | {counts['right']} | {counts['wrong']} | {counts['not found']} |")
    counts = chains(path, truth)
    what = "agents in a row, captures of all together"
    print(f"| {what} | {counts['right']} | {counts['wrong']} | {counts['not found']} |")
    for n, counts in sorted(by_length(path, truth).items()):
        what = f"agents, until their exchange {n}"
        print(f"| {what} | {counts['right']} | {counts['wrong']} | {counts['not found']} |")


if __name__ == "__main__":
    main()
