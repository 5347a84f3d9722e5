"""The live lab with others: a second resolver, dnstap listeners, blocking, and the virtual clock."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from ipaddress import ip_address
from pathlib import Path

import dns.flags
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from test_lab_live import needs_lab, until
from unflux.cli.decode import decode_answers
from unflux.lab import scenarios
from unflux.lab.live.session import OUT, RUNTIME, Lab, LabOptions, run_inside
from unflux.lab.live.story import read_packets
from unflux.lab.model.plan import ROOT_SERVER, TLD_SERVER, text_of, twin
from unflux.lab.synth.run import synth
from unflux.sources.base import ReadOptions

SCENARIO = """
title = "even numbers, so that both clocks round alike"
clients = 100
resolvers = 1
[[service]]
name = "web"
preset = "pharma"
domains = 3
failure_ratio = 0
ttl_s = 300
rotation_s = 300
visits_per_h = 240
[[service]]
name = "bots"
preset = "double"
domains = 2
failure_ratio = 0
ttl_s = 180
rotation_s = 180
visits_per_h = 240
"""
SPEED, SECONDS = 60.0, 20.0


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("scenario") / "even.toml"
    path.write_text(SCENARIO)
    return str(path)


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


@needs_lab
@pytest.mark.skipif(program("pdns_recursor") is None, reason="pdns-recursor is not installed")
def test_a_second_real_resolver_resolves_and_curl_fetches(scenario: str, tmp_path: Path) -> None:
    address = "198.19.255.200"
    with Lab(scenario, LabOptions(speed=20, people=False)) as lab:
        hints = lab.enclosure.directory / "root.hints"
        settings = {
            "config-dir": tmp_path, "socket-dir": tmp_path, "hint-file": hints, "daemon": "no",
            "local-address": address, "local-port": 5300, "query-local-address": address,
            "allow-from": "198.18.0.0/15", "dont-query": "", "dnssec": "off",
            "security-poll-suffix": "", "threads": 1, "setuid": "", "setgid": "",
        }  # fmt: skip
        argv = [f"--{key}={value}" for key, value in settings.items()]
        other = lab.popen([program("pdns_recursor"), *argv], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)  # fmt: skip
        try:

            def ask(name: str) -> list[str]:
                dig = ["dig", f"@{address}", "-p", "5300", name, "+short", "+time=1", "+tries=1"]
                return [one for one in lab.run(dig).stdout.split() if one.startswith("198.1")]

            names = [name for name, entry in lab.labels().items() if entry["flux"]]
            assert until(lambda: bool(ask(names[0])), 15)
            for name in names:
                agents = ask(name)
                assert agents, name
                pages = [
                    lab.run(["curl", "-s", "-m", "3", "-H", f"Host: {name}", f"http://{one}/"])
                    for one in agents[:3]
                ]
                assert any("inert placeholder" in page.stdout for page in pages)
        finally:
            other.terminate()
            other.wait()


KRESD = """
net.listen('{address}', 53, {{kind='dns'}})
net.outgoing_v4('{address}')
net.ipv6 = false
cache.size = 10*MB
trust_anchors.remove('.')  -- the lab's root is not signed
modules = {{'hints'}}
hints.root({{['a.root.'] = {{'198.19.192.1'}}}})
-- names under test. are denied by default (RFC 6761)
policy.add(policy.suffix(policy.PASS, policy.todnames({{'test.', 'example.', 'ship.'}})))
"""
KRESD_ADDRESS = "198.19.255.201"


@needs_lab
@pytest.mark.skipif(program("kresd") is None, reason="knot-resolver is not installed")
def test_knot_resolver_resolves_under_test_too(tmp_path: Path) -> None:
    config = tmp_path / "kresd.conf"
    config.write_text(KRESD.format(address=KRESD_ADDRESS))
    with Lab("walk", LabOptions(speed=20, people=False)) as lab:
        other = lab.popen([program("kresd"), "-n", "-c", str(config), str(tmp_path)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        try:

            def ask(name: str) -> str:
                return lab.run(["dig", f"@{KRESD_ADDRESS}", name, "+time=1", "+tries=1"]).stdout

            names = [name for name, entry in lab.labels().items() if entry["flux"]]
            assert any(name.endswith(".test") for name in names)
            assert until(lambda: "status: NOERROR" in ask(names[0]), 15)
            for name in names:
                assert "IN\tA\t198.1" in ask(name), name
        finally:
            other.terminate()
            other.wait()


@needs_lab
@pytest.mark.skipif(program("kresd") is None, reason="knot-resolver is not installed")
@pytest.mark.parametrize("kind", ["single", "double"])
def test_knot_resolver_resolves_the_walks_name_and_its_agents_serve(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    told = run_inside(
        "lab_inside:resolve_the_walks_name_with_kresd",
        {
            "program": program("kresd"), "config": KRESD.format(address=KRESD_ADDRESS),
            "address": KRESD_ADDRESS, "kind": kind, "runtime": RUNTIME, "out": OUT,
        },
    )  # fmt: skip
    assert told["rcode"] == "NOERROR" and len(told["addresses"]) == 4
    assert set(told["addresses"]) <= set(told["agents"])
    assert told["statuses"] == [200] * 4


SIX = """
title = "IPv6 all the way down"
clients = 50
[[service]]
name = "moving"
preset = "double"
rdtype = "AAAA"
domains = 1
failure_ratio = 0
visits_per_h = 480
ns_period_s = 180
ns_ttl_s = 120
delegation_ttl_s = 120
[[service]]
name = "fixed"
preset = "v6"
domains = 1
failure_ratio = 0
visits_per_h = 480
[[service]]
preset = "static"
domains = 2
"""


@needs_lab
def test_dns_goes_over_ipv6_to_root_registry_name_servers_and_agents(tmp_path: Path) -> None:
    path = tmp_path / "six.toml"
    path.write_text(SIX)
    out = tmp_path / "out"
    with Lab(str(path), LabOptions(speed=60), out) as lab:

        def dig(*words: str) -> str:
            return lab.run(["dig", *words, "+time=2", "+tries=1"]).stdout

        known = lab.labels()
        moving, fixed = (
            next(name for name, one in known.items() if one["network"].startswith(network))
            for network in ("moving", "fixed")
        )
        root, registry = (text_of(twin(one)) for one in (ROOT_SERVER, TLD_SERVER))
        referral = dig(f"@{root}", moving, "AAAA", "+norec")
        assert registry in referral
        apex = ".".join(moving.split(".")[-2:])
        glue = dig(f"@{registry}", apex, "NS", "+norec", "+noall", "+additional").split("\n")
        agents = [line.split()[4] for line in glue if line]
        assert agents and all(":" in one for one in agents)  # agents of this network are IPv6 hosts
        for how in ("+notcp", "+tcp"):
            assert "IN\tAAAA\t2001:db8:" in dig(f"@{agents[0]}", moving, "AAAA", "+norec", how)
        fixed_apex = ".".join(fixed.split(".")[-2:])
        both = dig(f"@{registry}", fixed_apex, "NS", "+norec", "+noall", "+additional")
        assert "IN\tA\t198.19." in both and "IN\tAAAA\t2001:db8::c613:" in both
        own = text_of(twin(int(ip_address(lab.resolver))))
        assert "2001:db8:" in dig(f"@{own}", fixed, "AAAA", "+short")
        assert lab.takedown("agent", network=lab.networks[0], watch_s=1)["failed_before"] < 0.5
        assert until(lambda: lab.status()["people"].get("content", 0) > 5, 20)
    servers = {
        one["server"]
        for one in answers_of(out / "upstream.pcap", tmp_path)
        if ":" in (one["server"] or "")
    }
    assert {root, registry} & servers
    assert any(one in servers for one in agents) or len(servers) > 3


def answers_of(capture: Path, folder: Path) -> list[dict]:
    """The answers table of a capture."""
    to = folder / "answers.parquet"
    decode_answers([capture], to, ReadOptions(), None, None, True, None)
    return pq.read_table(to, columns=["server"]).to_pylist()


@needs_lab
def test_dnstap_goes_to_who_listens_outside(scenario: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        path = Path(f"/tmp/unflux-test-{time.monotonic_ns()}.sock")  # noqa: S108  paths are short
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        try:
            with Lab(scenario, LabOptions(speed=60, dnstap=str(path))) as lab:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(5)
                    first = connection.recv(4096)
                    assert b"protobuf:dnstap.Dnstap" in first
                assert not (lab.out / "dnstap.fstrm").exists()
        finally:
            path.unlink()


@needs_lab
def test_a_response_policy_zone_cuts_the_infected_hosts_off(scenario: str, tmp_path: Path) -> None:
    zone = tmp_path / "block.rpz"
    head = "$TTL 60\n@ SOA localhost. root.localhost. {} 60 60 60 60\n@ NS localhost.\n"
    zone.write_text(head.format(1))
    with Lab(scenario, LabOptions(speed=20, rpz=str(zone), people=False)) as lab:
        name, other = list(lab.labels())[:2]

        def rcode(of: str) -> str:
            told = lab.run(["dig", f"@{lab.resolver}", of]).stdout
            return told.split("status: ")[1].split(",")[0]

        assert rcode(name) == "NOERROR"
        zone.write_text(head.format(2) + f"{name} CNAME .\n")
        lab.reload_policy()
        assert rcode(name) == "NXDOMAIN"
        assert rcode(other) == "NOERROR"


def story_of(lines: list[dict]) -> dict[str, list[tuple[str, ...]]]:
    """The rrsets of each name, in order."""
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for one in lines:
        if one["event"] == "rrset":
            found[one["name"]].append(tuple(one["rdata"]))
    return found


@needs_lab
def test_real_unbound_and_the_virtual_clock_agree(scenario: str, tmp_path: Path) -> None:
    hours = SECONDS * SPEED / 3600
    synth(scenarios.load(scenario, hours=hours), tmp_path / "virtual", ["parquet"])
    with Lab(scenario, LabOptions(speed=SPEED, duration_s=SECONDS), tmp_path / "live") as lab:
        lab.wait()
    told = {
        where: [
            json.loads(line)
            for line in (tmp_path / where / "truth.ndjson").read_text().splitlines()
        ]
        for where in ("virtual", "live")
    }
    virtual, live = story_of(told["virtual"]), story_of(told["live"])
    assert set(virtual) == set(live)
    # The same world: what each name had, in the same order (a controller may have replaced an
    # agent that was slow to answer on a busy machine).
    pairs = [pair for name in virtual for pair in zip(virtual[name], live[name], strict=False)]
    assert len(pairs) >= 15  # 3 names each 300 s and 2 each 180 s, in 1,200 s: 3 * 4 + 2 * 6
    assert sum(one == other for one, other in pairs) >= 0.7 * len(pairs)
    # The same cache: the share of look-ups that went upstream.
    names = set(virtual)
    table = pq.read_table(tmp_path / "virtual" / "answers.parquet")
    table = table.filter(pc.equal(table.column("qtype"), "A"))
    mine = table.filter(
        pc.is_in(table.column("qname"), pc.cast([f"{one}." for one in names], "string"))
    )
    counts = {
        side: pc.count_distinct(
            mine.filter(pc.equal(mine.column("sensor"), side)).filter(
                pc.equal(mine.filter(pc.equal(mine.column("sensor"), side)).column("section"), "answer")
            ).column("response")
        ).as_py()
        for side in ("clients", "upstream")
    }  # fmt: skip
    expected = counts["upstream"] / counts["clients"]

    def answered(view: str) -> int:
        messages = (one.message for one in read_packets(tmp_path / "live" / f"{view}.pcap"))
        return sum(
            bool(one.flags & dns.flags.QR and one.answer)
            and one.question[0].name.to_text().rstrip(".").lower() in names
            and one.question[0].rdtype == 1
            for one in messages
            if one and one.question
        )

    got = answered("upstream") / answered("clients")
    # About 1,200 * 5 * 240 / 3600 = 400 look-ups; unbound counts whole seconds, of five.
    assert abs(got - expected) < 0.1, (got, expected)
