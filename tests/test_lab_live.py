"""The live lab: sealed, both walks, real look-ups and pages, take-downs, and nothing left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from conftest import ROOT, Cli
from unflux.cli import app
from unflux.errors import UnfluxError
from unflux.lab import scenarios
from unflux.lab.live import schedule, seal, session
from unflux.lab.live.clock import Clock
from unflux.lab.live.doctor import examine, missing
from unflux.lab.live.drawing import render
from unflux.lab.live.session import RUNTIME, Enclosure, Lab, LabOptions
from unflux.lab.live.story import read_packets
from unflux.lab.live.takedown import Probe, Takedowns, back_after

LACKING = missing(examine()) if sys.platform.startswith("linux") else ["Linux"]
needs_lab = pytest.mark.skipif(bool(LACKING), reason=f"no live lab can run here: {LACKING}")

SMALL = """
title = "a test"
clients = 50
[[service]]
name = "web"
preset = "pharma"
domains = 2
failure_ratio = 0
visits_per_h = 480
infected = 2
poll_s = 60
[[service]]
name = "bots"
preset = "double"
domains = 2
failure_ratio = 0
visits_per_h = 480
ns_period_s = 180
ns_ttl_s = 120
delegation_ttl_s = 120
[[service]]
name = "chain"
preset = "rock"
domains = 1
hops = 3
k = 2
ttl_s = 300
visits_per_h = 60
[[service]]
preset = "cdn"
domains = 2
[[service]]
preset = "v6"
domains = 1
visits_per_h = 120
[[service]]
preset = "static"
domains = 5
ns_shared = true
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("scenario") / "tiny.toml"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture(scope="module")
def lab(scenario: str) -> Iterator[Lab]:
    """One lab for all that only looks; half an hour of the model in half a minute."""
    with Lab(scenario, LabOptions(speed=60, agents=("first",), whole=True)) as one:
        yield one


def names_of(lab: Lab, network: str) -> list[str]:
    return [name for name, entry in lab.labels().items() if entry["network"].startswith(network)]


# The seal.


def fake_network(tmp_path: Path, *, dev: str = "", route: str = "", v6: str = "") -> Path:
    head = "Inter-| Receive\n face |bytes\n"
    (tmp_path / "dev").write_text(f"{head}    lo: 0 0\n{dev}")
    (tmp_path / "route").write_text(f"Iface\tDestination\tGateway\tFlags\n{route}")
    (tmp_path / "ipv6_route").write_text(v6)
    return tmp_path


ZERO = "0" * 32
REJECT = f"{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo\n"


def test_loopback_alone_passes(tmp_path: Path) -> None:
    net = fake_network(tmp_path, v6=REJECT)
    seal.check(net=net)
    assert seal.interfaces(net) == ["lo"]


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ({"dev": "  eth0: 0 0\n"}, "eth0"),
        ({"route": "lo\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"}, "IPv4"),
        ({"v6": f"{ZERO} 00 {ZERO} 00 {ZERO} 00000400 1 0 00000001 lo\n"}, "IPv6"),
    ],
)
def test_anything_else_is_refused(what: dict[str, str], word: str, tmp_path: Path) -> None:
    with pytest.raises(seal.SealBroken, match=word):
        seal.check(net=fake_network(tmp_path, **what))


def test_the_machines_own_network_is_refused() -> None:
    from unflux.lab.live import namespace

    with pytest.raises(seal.SealBroken, match="own network"):
        seal.check(namespace.identity())


TAMPERED = """
import os, sys
from unflux.lab.live import namespace
namespace.leave()
if pid := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
from pyroute2 import IPRoute
with IPRoute() as ip:
    lo = ip.link_lookup(ifname="lo")[0]
    ip.link("set", index=lo, state="up")
    {tamper}
opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event == "socket.__new__" else None)
from unflux.lab.live import run, seal
for start in (lambda: seal.set_up("outside"),
              lambda: run.main("walk", {{}}, "/nowhere", "/nowhere", 0)):
    try:
        start()
    except seal.SealBroken as error:
        print(error)
    else:
        sys.exit("it started")
sys.exit(f"sockets were opened: {{opened}}" if opened else 0)
"""


@needs_lab
@pytest.mark.parametrize(
    ("tamper", "word"),
    [
        ('ip.link("add", ifname="other0", kind="bridge")', "another interface (other0)"),
        ('ip.route("add", dst="0.0.0.0/0", oif=lo)', "default route (IPv4"),
    ],
)
def test_an_added_interface_or_route_is_refused_before_a_socket_opens(
    tamper: str, word: str
) -> None:
    script = TAMPERED.format(tamper=tamper)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    if "Operation not supported" in done.stderr:
        pytest.skip("this kernel has no bridges")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(word) == 2


@needs_lab
def test_a_seal_that_breaks_while_the_lab_runs_ends_it(scenario: str) -> None:
    with pytest.raises(UnfluxError, match=r"seal failed: .*default route"), Lab(scenario) as lab:
        code = (
            "from pyroute2 import IPRoute\nwith IPRoute() as ip:\n"
            "    ip.route('add', dst='0.0.0.0/0', oif=ip.link_lookup(ifname='lo')[0])"
        )
        assert lab.run([sys.executable, "-c", code]).returncode == 0
        lab.enclosure.process.wait(30)


CONNECT = textwrap.dedent("""
    import errno, socket, sys
    for address, port in (("127.0.0.1", int(sys.argv[1])), ("192.0.2.1", 80), ("10.0.0.1", 80)):
        with socket.socket() as one:
            one.settimeout(2)
            print(errno.errorcode.get(one.connect_ex((address, port))))
""")


@needs_lab
def test_a_lab_process_reaches_neither_the_machines_loopback_nor_the_world(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 2).close()  # from here it is there
        done = lab.run([sys.executable, "-c", CONNECT, str(port)])
    assert done.stdout.split() == ["ECONNREFUSED", "ENETUNREACH", "ENETUNREACH"], done.stderr


# The walks.


@needs_lab
@pytest.mark.parametrize(("kind", "n_steps"), [("single", 4), ("double", 5)])
def test_a_walk_shows_every_step_with_its_packet_and_the_proof(
    kind: str, n_steps: int, cli: Cli, tmp_path: Path
) -> None:
    done = cli("lab", "walk", kind, "--json", "--out", tmp_path / "walk")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    cast, proof = told["cast"], told["proof"]
    packets = {one.number: one for one in read_packets(tmp_path / "walk" / "all.pcap")}
    assert [step["step"] for step in told["steps"]] == list(range(1, n_steps + 1))
    arrows = [arrow for step in told["steps"] for arrow in step["arrows"]]
    for arrow in arrows:
        packet = packets[arrow["packet"]]
        assert (packet.source, packet.target) == (arrow["from"], arrow["to"])
    assert [one["packet"] for one in arrows] == sorted(one["packet"] for one in arrows)
    host, mothership = cast["infected_host"], cast["mothership"]
    between = [one for one in packets.values() if {one.source, one.target} == {host, mothership}]
    assert between == [] and proof["infected_host_and_mothership"] == 0
    assert proof["infected_host_and_others"] > 10
    assert proof["mothership_and_others"][cast["agent"]] > 0
    assert not proof["mothership_in_any_dns_answer"]
    assert told["agent_knew"][cast["agent"]] == mothership
    before, after = told["registrations"]["before"], told["registrations"]["after"]
    assert before["addresses"] != after["addresses"]
    assert (before["name_servers"] != after["name_servers"]) == (kind == "double")
    # Only a double-flux name server is an agent: it talks to the mothership.
    assert (cast["name_server"] in proof["mothership_and_others"]) == (kind == "double")
    assert told["dropped"] == 0
    text = render(told)
    for part in ("(1)", f"({n_steps})", "infected host ↔ mothership   0 packets", mothership):
        assert part in text


def test_ship_exists_in_sealed_worlds_only() -> None:
    from unflux.lab.live import walk
    from unflux.lab.model.world import World
    from unflux.lab.scenarios import check

    services = [("one", walk.scenario("single", 1).services[0][2])]
    with pytest.raises(ValueError, match=r"mother\.ship\. is not under"):
        World(services, 1, 0.0)
    assert any("apex" in error for error in check({"service": [{"apex": "mother.ship."}]}))


# A running lab.


@needs_lab
def test_dig_gets_the_records_of_every_kind_of_name(lab: Lab) -> None:
    if shutil.which("dig") is None:
        pytest.skip("dig is not installed")
    cdn = [name for name, entry in lab.labels().items() if entry["kind"] == "cdn"]
    for name in (names_of(lab, "web")[0], names_of(lab, "bots")[0], cdn[0]):
        for how in ("+notcp", "+tcp"):
            answer = lab.run(["dig", f"@{lab.resolver}", name, how, "+noall", "+answer"]).stdout
            found = [line.split() for line in answer.splitlines()]
            assert any(fields[3] == "A" for fields in found), answer
            assert all(int(fields[1]) <= 360 for fields in found)  # 21,600 s / 60
    aliased = lab.run(["dig", f"@{lab.resolver}", cdn[0], "+noall", "+answer"]).stdout
    assert "CNAME" in aliased
    missing_name = lab.run(["dig", f"@{lab.resolver}", "no.such.name.test"]).stdout
    assert "NXDOMAIN" in missing_name and "SOA" in missing_name


@needs_lab
def test_an_agent_forwards_dns_over_tcp_and_streams_pages(lab: Lab) -> None:
    name = names_of(lab, "bots")[0]
    apex = ".".join(name.split(".")[-2:])
    tld = apex.split(".")[-1]
    glue = lab.run(["dig", "@198.19.192.53", apex, "NS", "+norec", "+noall", "+additional"]).stdout
    agent = glue.split()[4]
    assert agent not in {"198.19.192.53"} and tld in ("test", "example")
    for how in ("+notcp", "+tcp"):
        told = lab.run(["dig", f"@{agent}", name, "A", "+norec", "+noall", "+answer", how]).stdout
        assert f"{name}." in told
    relay = lab.status()["networks"]["bots-2-1"]["listed"][0][0]
    got = lab.run(["curl", "-s", "-m", "5", "-H", f"Host: {name}", f"http://{relay}/stream"])
    assert len(got.stdout) == 16 * 8_192 and "inert placeholder" in got.stdout


LEAVE = textwrap.dedent("""
    import socket, struct, sys
    with socket.create_connection((sys.argv[1], 80), 5) as one:
        one.sendall(f"GET /stream HTTP/1.1\\r\\nHost: {sys.argv[2]}\\r\\n\\r\\n".encode())
        assert one.recv(10) == b"HTTP/1.1 2"
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
""")


@needs_lab
def test_a_visitor_who_leaves_a_stream_is_counted_and_nothing_else_happens(
    lab: Lab,
) -> None:
    network = lab.status()["networks"]["web-1-1"]
    before = lab.status()["web"]["left"]
    for host in (network["mothership"], network["listed"][0][0]):  # itself, and through an agent
        done = lab.run([sys.executable, "-c", LEAVE, host, network["names"][0]])
        assert done.returncode == 0, done.stderr
    assert until(lambda: lab.status()["web"]["left"] >= before + 2, 10)


@needs_lab
def test_a_chain_goes_through_as_many_agents_as_it_has(lab: Lab) -> None:
    network = lab.status()["networks"]["chain-3-1"]
    name, first = network["names"][0], network["listed"][0][0]
    # The first agent may be a further one for others: our request is known by what it asks for.
    url = f"http://{first}/asked-by-us?twice=a%20b"
    got = lab.run(["curl", "-s", "-m", "5", "-d", "said-by-us", "-H", f"Host: {name}", url])
    assert "inert placeholder" in got.stdout
    deadline = time.monotonic() + 5
    hops: list[tuple[str, str]] = []
    while time.monotonic() < deadline and len(hops) < 3:
        hops, at = [], first
        for packet in read_packets(lab.out / "all.pcap"):
            ours = b"POST /asked-by-us?twice=a%20b " in packet.payload
            if packet.source == at and ours and b"Via: " in packet.payload:
                hops.append((packet.source, packet.target))
                at = packet.target
        time.sleep(0.3)
    assert len(hops) == 3 and hops[-1][1] in network["back_ends"]


@needs_lab
def test_captures_scan_and_show_both_sides_and_the_truth_has_what_they_show(
    cli: Cli, tmp_path: Path
) -> None:
    out, quiet = tmp_path / "out", tmp_path / "tiny.toml"
    quiet.write_text(SMALL.replace("visits_per_h = 480", "visits_per_h = 90"))
    # Fresh answers are told apart by the minute of the wall, however fast the lab runs: half a run on
    # either side of a minute's end shows another thing each time.
    assert until(lambda: time.time() % 60 < 28)
    done = cli("lab", "run", quiet, "--speed", "180", "--for", "25s", "--out", out, "--json",
               "--agent", "first")  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["people"]["content"] > 20 and summary["people"]["polls"] > 5
    assert summary["capture"]["dropped"] == 0
    views = summary["capture"]["packets"]
    for path in (out / "agents").iterdir():
        assert (path.stat().st_size > 24) == (views[f"agents/{path.stem}"] > 0)
    assert len(views) > 2
    known = json.loads((out / "labels.json").read_text())["names"]
    flux = {name for name, one in known.items() if one["flux"]}
    sure = flux & {name for name, one in known.items() if one["kind"] in ("pharma", "double")}
    events = [json.loads(line) for line in (out / "truth.ndjson").read_text().splitlines()]
    moving = {one["name"] for one in events if one["event"] == "name_servers" and one["rotating"]}

    def serves_flux(host: str) -> bool:
        """A name server whose addresses are agents by the truth: a resolver with IPv6 asks for it."""
        label, _, apex = host.partition(".")
        return label.startswith("ns") and any(f".{one}".endswith(f".{apex}") for one in moving)

    verdicts: dict[str, dict[str, str]] = {}
    named: set[str] = set()
    suspected: set[str] = set()
    for view in ("clients.pcap", "upstream.pcap", "dnstap.fstrm"):
        scan = cli("scan", out / view, "--json", "--asn-db", out / "asn.mmdb",
                   "--country-db", out / "country.mmdb")  # fmt: skip
        assert scan.returncode == 0, scan.stderr
        findings = json.loads(scan.stdout)["findings"]
        verdicts[view] = {one["name"]: one["verdict"] for one in findings}
        found = {name for name, verdict in verdicts[view].items() if verdict.endswith("_flux")
                 and verdict != "not_flux"}  # fmt: skip
        # The apex of a name whose servers are agents is flux as much as the name itself.
        others = {
            name for name in found - flux
            if not any(one.endswith(f".{name}") for one in flux) and not serves_flux(name)
        }  # fmt: skip
        assert not others, (view, others)
        named |= found
        suspected |= {name for name, verdict in verdicts[view].items() if verdict == "ambiguous"}
    # The bench's table has every name that was judged, not only those that look like flux.
    judged = bench_of_presets().verdicts_of(out)
    assert judged.keys() > verdicts["upstream.pcap"].keys()
    # An hour of the network's time is little: who is not named yet is at least suspected.
    assert sure <= named | suspected, verdicts
    assert len(named & sure) * 2 >= len(sure), verdicts
    # Half a minute is too short to call double flux, but what it is called for is there: glue that moves.
    answers = tmp_path / "answers.parquet"
    assert cli("decode", out / "upstream.pcap", "--to", answers).returncode == 0
    glue: dict[str, set[str]] = {}
    for one in pq.read_table(answers, filters=[("section", "==", "additional")]).to_pylist():
        glue.setdefault(one["owner"], set()).add(one["rdata"])
    assert max(map(len, glue.values())) >= 5, glue
    assert {"network", "agents", "rrset", "name_servers", "infected"} <= {
        one["event"] for one in events
    }
    motherships = {one["mothership"] for one in events if one["event"] == "network"}
    agents_view = {one.target for path in (out / "agents").iterdir() for one in read_packets(path)}
    assert agents_view & motherships  # the agent's own view shows what nobody else sees


def bench_of_presets() -> ModuleType:
    path = ROOT / "bench" / "lab_live_presets.py"
    spec = importlib.util.spec_from_file_location("lab_live_presets", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_presets_bench_tells_known_limits_from_what_is_wrong() -> None:
    limit_of = bench_of_presets().limit_of
    assert limit_of("bulletproof", 1, 5).startswith("documented limit")
    assert limit_of("sleeper", 30, 5) == "sleeps: the run has 2.5 of up to 8 hours"
    assert limit_of("sleeper", 120, 5) is None
    assert limit_of("time_pool", 30, 5) == "compressed: its hour is 120 s"
    assert limit_of("time_pool", 1, 5) is None and limit_of("pharma", 30, 5) is None


# Take-downs.


def test_content_is_gone_while_most_of_ten_probes_fail() -> None:
    def probes(came: str) -> list[Probe]:
        return [Probe(float(second), one == "+") for second, one in enumerate(came)]

    assert back_after(probes("+" * 30), 0.0) == 0.0
    assert back_after(probes("+-" + "++++-++" * 4), 0.0) == 0.0  # agents come and go
    assert back_after(probes("+++" + "-" * 12 + "+" * 20), 1.0) == 14.0  # second 15, down at 1
    assert back_after(probes("+++" + "-" * 30), 0.0) is None
    assert back_after(probes("-" * 30 + "++"), 0.0) is None  # two do not prove it


@needs_lab
def test_fixed_name_servers_end_single_flux_but_not_double(scenario: str) -> None:
    with Lab(scenario, LabOptions(speed=60, people=False)) as lab:
        # Not of the network that is measured next: its answers name that agent for a while.
        assert lab.takedown("agent", "bots-2-1", 2)["failed_after"] < 0.5
        with pytest.raises(UnfluxError, match="single flux"):
            lab.takedown("agent-dns", "web-1-1", 1)
        with pytest.raises(UnfluxError, match="no take-down 'moon'"):
            lab.takedown("moon")
        with ThreadPoolExecutor(2) as both:
            # unbound remembers a failure for five seconds, whatever the lab's speed.
            one = both.submit(lab.takedown, "name-servers", "bots-2-1", 14)
            other = both.submit(lab.takedown, "name-servers", "web-1-1", 14)
            double, single = one.result(), other.result()
        assert double["back_after_s"] is not None
        assert single["failed_before"] < 0.1 and single["back_after_s"] is None
        kinds = {one["event"] for one in lab.truth()}
        assert {"takedown", "gone", "recovered", "replaced"} <= kinds


@needs_lab
def test_a_scheduled_take_down_that_fails_is_told_and_the_lab_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    # Before it wakes, a sleeper's answers name no agent that could be taken down.
    scenario = tmp_path / "asleep.toml"
    scenario.write_text(
        'clients = 20\n[[service]]\nname = "late"\npreset = "sleeper"\ndomains = 1\n'
    )
    options = LabOptions(
        speed=60, duration_s=7, people=False,
        takedowns=(("agent", 0, None), ("delegation", 0.5, "late-1-1")),
    )  # fmt: skip
    enclosure = Enclosure(
        "lab_inside:run_with_little_patience",
        {"scenario": str(scenario), "options": asdict(options), "runtime": RUNTIME,
         "out": str(tmp_path)},
        watch=True,
    )  # fmt: skip
    summary = enclosure.wait(60)
    assert summary["seconds"] >= 7
    failed, cut = sorted(summary["takedowns"], key=lambda one: one["at_s"])
    assert cut["failed"] == "the lab ended before it was measured"
    assert "nothing that is up for the take-down agent in" in failed["failed"]
    events = [json.loads(line) for line in (tmp_path / "truth.ndjson").read_text().splitlines()]
    told = {one["event"]: one for one in events if one["event"].startswith("takedown")}
    assert told["takedown"]["what"] == "delegation"
    assert told["takedown_failed"]["failed"] == failed["failed"]


# Ends.


def alive_in(directory: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((directory / "init.pid").read_text()), 0)
        return True
    return False


def processes_of(directory: Path) -> list[str]:
    """Command lines of all processes that name the lab's directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(directory) in line:
                found.append(line)
    return found


def until(what: Callable[[], bool], seconds: float = 40.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return what()


def runtime_of(out: Path) -> Path | None:
    """The runtime directory of the lab that writes there; others may run beside it."""
    for directory in session.running():
        with contextlib.suppress(OSError, ValueError):
            if json.loads((directory / "ready.json").read_text())["out"] == str(out):
                return directory
    return None


@pytest.fixture
def command_line_lab(scenario: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen, Path]]:
    """`unflux lab run` in a process of its own, and the lab's runtime directory."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "unflux", "lab", "run", scenario, "--out", str(out), "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert until(lambda: runtime_of(out) is not None, 60)
    directory = runtime_of(out)
    assert directory is not None
    assert process.stderr is not None
    # The lab is ready a moment before the command knows: a signal until then ends its start.
    while "unflux lab inside" not in (line := process.stderr.readline()):
        assert line, "it ended"
    yield process, directory
    process.kill()
    process.wait()


@needs_lab
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_command_ends_the_lab(
    number: signal.Signals, command_line_lab: tuple[subprocess.Popen, Path]
) -> None:
    process, directory = command_line_lab
    assert len(processes_of(directory)) >= 2  # the enclosure, unbound
    process.send_signal(number)
    told, errors = process.communicate(timeout=60)
    assert until(lambda: not processes_of(directory) and not directory.exists())
    assert "Traceback" not in errors
    if number != signal.SIGKILL:
        assert process.returncode == 0, errors
        summary = json.loads(told)  # what it did until then is not lost
        assert summary["seconds"] > 0 and summary["agents_up"] > 0
        assert summary["capture"]["packets"]["upstream"] >= 0


@needs_lab
@pytest.mark.parametrize(
    ("victim", "name"), [("unbound", "resolver (unbound)"), ("live.capture", "capture")]
)
def test_an_actor_that_dies_is_named_and_ends_the_lab(
    victim: str, name: str, command_line_lab: tuple[subprocess.Popen, Path]
) -> None:
    process, directory = command_line_lab
    namespace_of_lab = Path(f"/proc/{(directory / 'init.pid').read_text()}/ns/net").readlink()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            same = (path / "ns/net").readlink() == namespace_of_lab
            if same and victim in (path / "cmdline").read_bytes().decode():
                os.kill(int(path.name), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{name} failed" in errors and "Traceback" not in errors
    assert until(lambda: not processes_of(directory) and not directory.exists())


@needs_lab
def test_the_death_of_the_namespaces_init_ends_everything(
    command_line_lab: tuple[subprocess.Popen, Path],
) -> None:
    process, directory = command_line_lab
    os.kill(int((directory / "init.pid").read_text()), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "ended without a word" in errors
    assert until(lambda: not processes_of(directory) and not directory.exists())


@needs_lab
def test_a_walk_that_is_killed_leaves_no_capture_behind() -> None:
    # Not pytest's own directory: the path of a unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "unflux", "lab", "walk", "single"],
            cwd=ROOT, env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert until(lambda: any(Path(folder).rglob("all.pcap")))
        process.kill()
        process.wait()
        assert until(lambda: not [one for one in Path(folder).rglob("*") if not is_base(one)])


def is_base(path: Path) -> bool:
    """The directory that all labs of a user have in common."""
    return path.name == f"unflux-lab-{os.geteuid()}"


# Outside.


def test_where_it_cannot_run_one_sentence_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from unflux.lab.live import doctor

    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(UnfluxError, match="apt-get install unbound"):
        doctor.require()


@needs_lab
def test_without_user_namespaces_one_sentence_says_why(cli: Cli) -> None:
    script = (
        "import sys\nfrom unflux.lab.live import namespace\n"
        "namespace._libc = lambda: type('L', (), {'unshare': lambda s, f: -1})()\n"
        "import ctypes\nctypes.get_errno = lambda: 1\n"
        "from unflux.errors import Unavailable\n"
        "try:\n    namespace.leave()\nexcept Unavailable as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "forbids user namespaces" in done.stdout and "lab synth" in done.stdout, done.stderr


def test_ttls_are_divided_and_never_become_zero_by_it() -> None:
    clock = Clock(speed=60, model_start_s=1_000.0, wall_start_s=50.0)
    assert [clock.ttl_s(one) for one in (0, 1, 29, 300, 3600)] == [0, 1, 1, 5, 60]
    assert clock.model_s(60.0) == 1_600.0  # 1,000 + 10 * 60
    assert clock.wall_s(1_600.0) == 60.0


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["walk", "triple"], 2, "single or double"),
        (["run", "walk", "--for", "soon"], 2, "is no duration; write 90s"),
        (["run", "walk", "--takedown", "agent"], 2, "agent@30s"),
        (["run", "walk", "--speed", "0"], 2, "--speed"),
        (["run", "walk", "--for", "0s"], 2, "is no duration; write 90s"),
        (["run", "walk", "--takedown", "nope@2s"], 2, "no take-down 'nope'; known ones: agent,"),
        (["run", "walk", "--takedown", "agent@2s:nonet"], 2, "no flux network nonet; known ones:"),
        (["run", "walk", "--takedown", "agent-dns@2s"], 2, "it is single flux"),
        (["run", "walk", "--for", "9s", "--takedown", "agent@9s"], 2, "would never be"),
        (["run", "walk", "--agent", "notanip"], 2, "an agent is an address of the lab"),
        (["run", "walk", "--agent", "../../x"], 2, "an agent is an address of the lab"),
        (["run", "walk", "--agent", "9.9.9.9"], 2, "an agent is an address of the lab"),
        (["takedown", "agent", "--lab", "/nowhere"], 1, "does not answer"),
    ],
)
def test_bad_calls_say_what_to_do(
    arguments: list[str], code: int, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unflux.lab.live import doctor

    monkeypatch.setattr(doctor, "require", lambda: None)  # nothing of this starts a lab
    done = CliRunner().invoke(app, ["lab", *arguments])
    assert done.exit_code == code
    told = done.output + done.stderr
    assert word in told and "Traceback" not in told


def test_a_request_that_the_labs_end_cuts_off_says_so() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as listener,
        ThreadPoolExecutor(1) as beside,
    ):
        listener.bind(f"{folder}/control.sock")
        listener.listen()
        answer = beside.submit(session.ask, Path(folder), {"do": "takedown", "what": "agent"})
        connection, _ = listener.accept()
        with connection:
            assert json.loads(connection.recv(1_000))["what"] == "agent"
        with pytest.raises(UnfluxError, match="ended before it answered"):
            answer.result(10)


@needs_lab
def test_a_lab_without_flux_says_that_it_has_none(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "calm.toml"
    path.write_text('clients = 20\n[[service]]\npreset = "static"\n')
    done = cli("lab", "run", path, "--for", "0.5s")
    assert done.returncode == 0 and "no flux network\n" in done.stderr, done.stderr


def test_what_a_lab_is_asked_for_is_checked_against_its_scenario(tmp_path: Path) -> None:
    path = tmp_path / "calm.toml"
    path.write_text('[[service]]\npreset = "static"\n')
    with pytest.raises(ValueError, match="no flux network: there is nothing to take down"):
        Lab(str(path), LabOptions(takedowns=(("agent", 1.0, None),)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    path.write_text('[[service]]\nname = "one"\npreset = "pharma"\nback_ends = 1\n')
    loaded = scenarios.load(str(path))
    with pytest.raises(ValueError, match="one-1-1 has only one back end"):
        schedule.check(loaded, None, [("back-end", 1.0, None)], ())
    assert set(Takedowns(None, None).kinds) == set(schedule.TAKEDOWNS)
    first = [("mothership", 1.0, "one-1-1"), ("agent", 2.9, None)]
    schedule.check(loaded, 7.0, first, ("first", "198.18.0.1", "2001:db8::1"))
    with pytest.raises(ValueError, match="agent at 3 s would never be"):
        schedule.check(loaded, 7.0, [("agent", 3.0, None)], ())
