"""What is behind an agent: named first when there is something, and nobody when there is nothing."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import traffic
from captures import write_pcapng
from conftest import Cli
from test_lab_live import needs_lab
from traffic import AGENT, MOTHERSHIP, Busy, Capture, background, capture_at
from unflux.errors import UnfluxError
from unflux.lab.live.session import Lab, LabOptions
from unflux.networks import pairing
from unflux.networks.exchanges import ROLES, host_of
from unflux.networks.packets import read_captures
from unflux.networks.trace import NOT_FOUND, PROXY, Trace, trace

ROLES_TRIED = ("http", "dns", "tls")


def traced(capture: Capture, path: Path, agent: str = AGENT) -> Trace:
    return trace(read_captures([capture.write(path)]), agent)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("role", ROLES_TRIED)
def test_the_mothership_is_named_first(role: str, seed: int, tmp_path: Path) -> None:
    found = traced(capture_at(seed, role, seconds=25), tmp_path / "at-agent.pcap")
    assert found.verdict == PROXY
    first = found.upstreams[0]
    assert (first.address, first.role) == (MOTHERSHIP, role)
    assert first.score > 0.8
    assert first.false_match_probability < 1e-9
    assert first.n_clients > 25
    assert found.path == [AGENT, MOTHERSHIP]
    assert not first.next_hop


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("role", ROLES_TRIED)
def test_a_busy_host_that_is_no_proxy_has_none(role: str, seed: int, tmp_path: Path) -> None:
    found = traced(capture_at(seed, role, proxies=False, seconds=25), tmp_path / "at-server.pcap")
    assert found.verdict == NOT_FOUND
    assert found.n_inbound > 100
    assert found.candidates > 5
    assert "more often than by chance" in found.reason


def busy_with(make, seed: int) -> Capture:
    capture = Capture(random.Random(seed))  # noqa: S311  a test's
    make(Busy(capture, seconds=25))
    background(capture, seconds=25)
    return capture


def test_an_agent_that_ends_tls_and_takes_its_time_is_found(tmp_path: Path) -> None:
    found = traced(busy_with(traffic.terminated, 3), tmp_path / "x.pcap")
    assert found.upstreams[0].address == MOTHERSHIP
    assert found.upstreams[0].role == "http"
    assert set(found.upstreams[0].inbound_ports) == {"443"}
    assert found.upstreams[0].median_delay_ms > 100


OTHERS = (
    traffic.with_database, traffic.with_lookups, traffic.resolver, traffic.browser, traffic.peer,
)  # fmt: skip


@pytest.mark.parametrize("make", OTHERS)
def test_who_asks_others_for_ends_of_its_own_is_no_proxy(make, tmp_path: Path) -> None:
    found = traced(busy_with(make, 4), tmp_path / "x.pcap")
    assert found.verdict == NOT_FOUND
    assert found.candidates > 2
    assert ("resolves names" in found.reason) == (make is traffic.resolver)


def test_a_flood_of_requests_is_looked_at_in_part(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pairing, "MAX_AT_A_TIME", 2_000)
    found = traced(capture_at(1, "dns", seconds=25), tmp_path / "x.pcap")
    assert found.upstreams[0].address == MOTHERSHIP
    assert found.upstreams[0].n_pairs <= found.upstreams[0].n_exchanges


def test_roles_are_told_apart_on_one_host(tmp_path: Path) -> None:
    capture = Capture(random.Random(5))  # noqa: S311  a test's
    Busy(capture, seconds=25, mothership="198.19.200.1").http()
    Busy(capture, seconds=25, mothership="198.19.200.2").dns()
    background(capture, seconds=25)
    found = traced(capture, tmp_path / "both.pcap")
    by_role = {one.role: one.address for one in found.upstreams}
    assert by_role == {"http": "198.19.200.1", "dns": "198.19.200.2"}
    assert {one.role: set(one.inbound_ports) for one in found.upstreams} == {
        "http": {"80"}, "dns": {"53"},
    }  # fmt: skip


def test_pairs_are_evidence_that_holds(tmp_path: Path) -> None:
    found = traced(capture_at(11, "dns", seconds=25), tmp_path / "dns.pcap")
    pairs = found.upstreams[0].pairs
    assert len(pairs) > 50
    for pair in pairs:
        assert pair.question is not None
        assert ".mother" in pair.question
        assert 0 <= pair.delay_ms < 20
        assert pair.client.startswith("198.18.10")


def test_captures_of_two_agents_give_one_path(tmp_path: Path) -> None:
    middle = "198.18.66.6"
    chance = random.Random(9)  # noqa: S311  a test's
    outer, inner = Capture(chance), Capture(chance)
    Busy(outer, seconds=25, mothership=middle).tls()
    background(outer, seconds=25)
    # The next hop serves several agents, this one among them.
    agents = [AGENT, *(f"198.18.67.{number}" for number in range(1, 50))]
    Busy(inner, agent=middle, seconds=25, clients=agents).tls()
    background(inner, middle, seconds=25)
    taken = read_captures([outer.write(tmp_path / "1.pcap"), inner.write(tmp_path / "2.pcap")])
    found = trace(taken, AGENT)
    assert found.path == [AGENT, middle, MOTHERSHIP]
    assert found.upstreams[0].next_hop
    assert [hop.agent for hop in found.hops] == [middle]
    assert trace(list(reversed(taken)), AGENT).path == found.path


def test_a_capture_of_everything_serves_as_well(tmp_path: Path) -> None:
    capture = capture_at(4, "http", seconds=25)
    for number in range(40):  # others talk to each other in it, and to the mothership
        tcp = traffic.Tcp(capture, number / 2, f"198.18.9.{number + 1}", MOTHERSHIP, 8080)
        tcp.send(number / 2 + 0.1, True, traffic.http_request("x.test", "/"), 300)
        tcp.send(number / 2 + 0.2, False, traffic.http_reply(900), 1000)
    taken = read_captures([capture.write(tmp_path / "all.pcap")])
    assert trace(taken, AGENT).path == [AGENT, MOTHERSHIP]
    assert trace(taken, MOTHERSHIP).verdict == NOT_FOUND
    assert "asks nobody" in trace(taken, MOTHERSHIP).reason


def test_packets_that_were_captured_twice_change_nothing(tmp_path: Path) -> None:
    capture = capture_at(2, "tls", seconds=25)
    once = traced(capture, tmp_path / "once.pcap")
    capture.frames += [(at + 2e-6, length, frame) for at, length, frame in capture.frames]
    twice = traced(capture, tmp_path / "twice.pcap")
    assert twice.n_inbound == once.n_inbound
    assert [one.n_pairs for one in twice.upstreams] == [one.n_pairs for one in once.upstreams]


def test_pcapng_says_the_same(tmp_path: Path) -> None:
    capture = capture_at(3, "dns", seconds=25)
    frames = sorted(capture.frames, key=lambda one: one[0])
    path = write_pcapng(tmp_path / "x.pcapng", [(at, frame) for at, _, frame in frames])
    classic = traced(capture, tmp_path / "x.pcap")
    assert [one.address for one in trace(read_captures([path]), AGENT).upstreams] == [
        one.address for one in classic.upstreams
    ]


def test_exchanges_are_what_was_sent(tmp_path: Path) -> None:
    capture = Capture(random.Random(1))  # noqa: S311  a test's
    tcp = traffic.Tcp(capture, 1.0, "198.18.1.1", AGENT, 80)
    tcp.send(1.1, True, traffic.http_request("a.test", "/1"), 300)
    tcp.send(1.2, False, traffic.http_reply(5_000), 5_060)
    tcp.send(1.5, True, traffic.http_request("a.test", "/2"), 200)
    tcp.send(1.6, False, traffic.http_reply(10), 70)
    out = traffic.Tcp(capture, 2.0, AGENT, "198.19.1.1", 443)
    out.send(2.1, True, traffic.HELLO, 517)
    out.send(2.2, False, traffic.SERVER_HELLO, 3_000)
    host = host_of(read_captures([capture.write(tmp_path / "x.pcap")])[0].packets, AGENT)
    found = host.exchanges
    assert found.inbound.tolist() == [True, True, False]
    assert found.up.tolist() == [300, 200, 517]
    assert found.down.tolist() == [5_060, 70, 3_000]
    assert found.content_length.tolist() == [5_000, 10, -1]
    assert [ROLES[one] for one in found.role] == ["http", "http", "tls"]
    assert found.port.tolist() == [80, 80, 443]
    assert [host.addresses[one] for one in found.remote] == ["198.18.1.1"] * 2 + ["198.19.1.1"]


def test_shifted_times_tell_what_chance_gives(tmp_path: Path) -> None:
    capture = capture_at(6, "http", seconds=25)
    host = host_of(read_captures([capture.write(tmp_path / "x.pcap")])[0].packets, AGENT)
    inbound = host.exchanges.take(host.exchanges.inbound)
    outbound = host.exchanges.take(~host.exchanges.inbound)
    theirs = outbound.take(outbound.remote == host.addresses.index(MOTHERSHIP))
    span = (int(host.exchanges.start.min()), int(host.exchanges.reply_end.max()))
    real = pairing.match(inbound, theirs, span, 1)
    assert real.by_chance < 0.2 * real.n_out
    late = theirs.take(slice(None))
    for name in ("start", "reply_start", "reply_end"):
        getattr(late, name)[:] = getattr(late, name) + 7_000_000
    assert pairing.match(inbound, late, span, 1).log_p > -12


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_packets_are_those_that_tshark_sees(tmp_path: Path) -> None:
    path = capture_at(8, "http", seconds=8, n_clients=10).write(tmp_path / "x.pcap")
    fields = ["ip.src", "tcp.srcport", "udp.srcport", "tcp.len", "udp.length", "tcp.flags"]
    command = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-T",
        "fields",
        *(p for f in fields for p in ("-e", f)),
    ]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    packets = read_captures([path])[0].packets.to_pylist()
    assert len(packets) == len(lines)
    for packet, line in zip(packets, lines, strict=True):
        source, tcp_port, udp_port, tcp_len, udp_len, flags = line.split("\t")
        assert packet["source"] == source
        assert packet["source_port"] == int(tcp_port or udp_port)
        assert packet["length"] == (int(tcp_len) if tcp_len else int(udp_len) - 8)
        assert packet["flags"] == (int(flags, 16) & 0xFF if flags else 0)


# ---------------------------------------------------------------------------------- the command line


def test_the_command_writes_what_the_design_says(cli: Cli, tmp_path: Path) -> None:
    path = capture_at(1, "http", seconds=25).write(tmp_path / "at-agent.pcap")
    done = cli("trace", path, "--agent", AGENT, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["agent"], found["verdict"]) == (AGENT, "proxy")
    wanted = {"address", "port", "role", "score", "false_match_probability", "pairs"}
    assert wanted <= set(found["upstreams"][0])
    people = cli("trace", path, "--agent", AGENT)
    assert f"{AGENT} → {MOTHERSHIP}" in people.stdout
    nobody = cli("trace", path, "--agent", "198.18.0.99")
    assert nobody.returncode == 0
    assert "no packet of 198.18.0.99" in nobody.stdout


def test_wrong_calls_and_wrong_files_get_one_sentence(cli: Cli, tmp_path: Path) -> None:
    path = capture_at(1, "dns", seconds=8, n_clients=5).write(tmp_path / "x.pcap")
    wrong = cli("trace", path, "--agent", "www.example")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "is no IP address" in wrong.stderr
    log = tmp_path / "pdns.ndjson"
    log.write_text(
        '{"rrname":"a.test","rrtype":"A","rdata":"198.18.0.1","time_first":1,"time_last":1,"count":1}\n'
    )
    not_packets = cli("trace", log, "--agent", AGENT)
    assert not_packets.returncode == 1
    assert "trace needs packets" in not_packets.stderr
    missing = cli("trace", tmp_path / "none.pcap", "--agent", AGENT)
    assert missing.returncode == 1
    assert "Traceback" not in missing.stderr


def test_a_capture_that_breaks_off_is_still_used_and_said(tmp_path: Path) -> None:
    path = capture_at(1, "dns", seconds=25).write(tmp_path / "x.pcap")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10] + b"\x01")
    (taken,) = read_captures([path])
    assert taken.read.books.malformed["file_cut_in_record"].count == 1
    assert taken.read.books.balanced
    assert trace([taken], AGENT).upstreams[0].address == MOTHERSHIP


def test_bytes_that_are_no_packets_are_counted(tmp_path: Path) -> None:
    chance = random.Random(0)  # noqa: S311  a test's
    frames = [(n * 0.1, 60, chance.randbytes(60)) for n in range(50)]
    capture = Capture(chance, frames)
    capture.frames.append(
        (9.0, 42, b"\x02" * 12 + b"\x08\x00" + struct.pack(">B", 0x45) + b"\0" * 27)
    )
    (taken,) = read_captures([capture.write(tmp_path / "x.pcap")])
    assert taken.read.books.items == 51
    assert taken.read.books.balanced
    assert trace([taken], AGENT).verdict == NOT_FOUND


def test_no_capture_at_all_is_the_caller_s_mistake() -> None:
    with pytest.raises(ValueError, match="at least one capture"):
        read_captures([])


def test_a_trace_ends_where_captures_go_in_a_circle(tmp_path: Path) -> None:
    chance = random.Random(3)  # noqa: S311  a test's
    one, other = Capture(chance), Capture(chance)
    Busy(one, seconds=25, mothership="198.18.66.6").tls()
    clients = [AGENT] * 50
    Busy(other, agent="198.18.66.6", seconds=25, mothership=AGENT, clients=clients).tls()
    taken = read_captures([one.write(tmp_path / "1.pcap"), other.write(tmp_path / "2.pcap")])
    assert trace(taken, AGENT).path == [AGENT, "198.18.66.6"]


def test_other_errors_of_the_reader_reach_the_caller(tmp_path: Path) -> None:
    log = tmp_path / "answers.parquet"
    log.write_text(
        '{"rrname":"a.test","rrtype":"A","rdata":"198.18.0.1","time_first":1,"time_last":1,"count":1}\n'
    )
    with pytest.raises(UnfluxError, match="pcap or pcapng"):
        read_captures([log])


# ------------------------------------------------------------------------------------ the live lab


OVER_TLS = """
title = "pages over TLS"
clients = 50
[[service]]
name = "shop"
preset = "pharma"
domains = 3
population = 60
list_size = 3
k = 2
stay_h = 24
uptime = 1.0
failure_ratio = 0
back_ends = 1
tls = true
visits_per_h = 900
"""


@needs_lab
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_tls_that_an_agent_of_the_live_lab_cannot_read_leads_to_the_mothership(
    tmp_path: Path,
) -> None:
    (tmp_path / "tls.toml").write_text(OVER_TLS)
    options = LabOptions(speed=60, duration_s=6.0, agents=("first",))
    with Lab(str(tmp_path / "tls.toml"), options, tmp_path / "lab") as lab:
        people = lab.wait()["people"]
    # Visitors trust the mothership's certificate alone, which no agent has.
    assert people["content"] > 50
    assert people["content"] > 5 * people.get("no_content", 0)
    events = [json.loads(one) for one in (tmp_path / "lab/truth.ndjson").read_text().splitlines()]
    (mothership,) = (one["mothership"] for one in events if one["event"] == "network")
    (path,) = (tmp_path / "lab/agents").glob("*.pcap")
    found = trace(read_captures([path]), path.stem)
    assert [(one.address, one.port, one.role) for one in found.upstreams] == [
        (mothership, 443, "tls")
    ]
    assert found.upstreams[0].inbound_ports == {"443": found.upstreams[0].n_pairs}
    assert "Of TLS only times and volumes are seen." in found.blind_spots
