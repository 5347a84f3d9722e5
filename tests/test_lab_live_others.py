"""The live lab with others: a second resolver, dnstap listeners, blocking, and the virtual clock."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import dns.flags
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from test_lab_live import needs_lab, until
from unflux.lab import scenarios
from unflux.lab.live.session import Lab, LabOptions
from unflux.lab.live.story import read_packets
from unflux.lab.synth.run import synth

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
