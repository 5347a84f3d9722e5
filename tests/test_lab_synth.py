"""Played worlds: the same bytes again, clean packets, one story in every format, true labels."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from conftest import Cli
from unflux import sightings
from unflux.lab import scenarios
from unflux.lab.synth.run import synth

FORMATS = ("parquet", "pcap", "dnstap", "zeek", "cof")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of the smallest scenario in every format."""
    directory = tmp_path_factory.mktemp("lab") / "walk"
    synth(scenarios.load("walk", hours=2), directory, FORMATS)
    return directory


def digests(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
    }


def truth(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "truth.ndjson").read_text().splitlines()]


def test_the_same_seed_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    synth(scenarios.load("walk", hours=2), tmp_path / "again", FORMATS)
    assert digests(tmp_path / "again") == digests(world)
    synth(scenarios.load("walk", hours=2, seed=2), tmp_path / "other", ("parquet",))
    assert digests(tmp_path / "other")["labels.json"] != digests(world)["labels.json"]


def test_an_hour_is_the_first_hour_of_two(world: Path, tmp_path: Path) -> None:
    synth(scenarios.load("walk", hours=1), tmp_path / "one", ("zeek",))
    one = (tmp_path / "one" / "dns.log").read_text()
    assert (world / "dns.log").read_text().startswith(one)
    assert one.count("\n") > 100


def test_only_reserved_addresses_and_names_occur(world: Path) -> None:
    table = pq.read_table(world / "answers.parquet")
    for name in ("client", "server"):
        for text in table.column(name).unique().to_pylist():
            address = ip_address(text)
            assert address in ip_network("198.18.0.0/15") or address in ip_network("2001:db8::/32")
    rdata = table.filter(pc.is_in(table.column("rdtype"), pa.array(["A", "AAAA"])))
    for text in rdata.column("rdata").unique().to_pylist():
        address = ip_address(text)
        assert address in ip_network("198.18.0.0/15") or address in ip_network("2001:db8::/32")
    names = table.column("owner").unique().to_pylist() + table.column("qname").unique().to_pylist()
    assert all(name.endswith(("test.", "example.")) for name in names)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("side", ["clients", "upstream"])
def test_packets_are_clean_in_tshark(world: Path, side: str) -> None:
    bad = '_ws.malformed || _ws.expert.group == "Checksum" || udp.checksum.status == 0'
    options = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    capture = str(world / f"{side}.pcap")
    for wanted, display_filter in ((0, bad), (None, "dns.flags.response == 1")):
        command = ["tshark", "-n", "-r", capture, *options, "-Y", display_filter]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        found = len(done.stdout.splitlines())
        assert found == wanted if wanted is not None else found > 100


def rows(path: Path) -> list[tuple]:
    history = sightings.reduce([path])
    [one] = history.inputs
    assert one.books.balanced
    assert not one.books.malformed
    table = history.sightings_table().drop_columns(["vantage", "count", "fresh_minutes"])
    return sorted(tuple(row.values()) for row in table.to_pylist())


def test_captures_and_dnstap_hold_what_the_table_holds(world: Path, tmp_path: Path) -> None:
    table = pq.read_table(world / "answers.parquet")
    for side in ("clients", "upstream"):
        part = table.filter(pc.equal(table.column("sensor"), side))
        alone = tmp_path / f"{side}.parquet"
        pq.write_table(part, alone)
        assert rows(alone) == rows(world / f"{side}.pcap")
    both = sightings.reduce([world / "dnstap.fstrm"]).sightings_table()
    assert both.equals(sightings.reduce([world / "answers.parquet"]).sightings_table())


def test_the_log_and_passive_dns_are_read_without_a_fault(world: Path) -> None:
    for name in ("dns.log", "pdns.ndjson"):
        [one] = sightings.reduce([world / name]).inputs
        assert one.books.error is None
        assert not one.books.malformed
        assert one.books.decoded > 100


def test_upstream_answers_have_not_aged_and_clients_answers_have(world: Path) -> None:
    table = pq.read_table(world / "answers.parquet").to_pylist()
    a_records = [row for row in table if row["rdtype"] == "A" and row["section"] == "answer"]
    fixed = {}
    for row in a_records:
        if row["vantage"] == "upstream":
            assert fixed.setdefault(row["owner"], row["ttl"]) == row["ttl"]
    below = [row for row in a_records if row["vantage"] == "client"]
    assert all(0 < row["ttl"] <= fixed[row["owner"]] for row in below)
    assert any(row["ttl"] < fixed[row["owner"]] for row in below)


def test_truth_holds_networks_agents_and_changes(world: Path) -> None:
    events = truth(world)
    kinds = {event["event"] for event in events}
    assert {"network", "agents", "rrset", "name_servers"} <= kinds
    assert [event["t"] for event in events] == sorted(event["t"] for event in events)
    listed: set[str] = set()
    for event in events:
        if event["event"] == "agents":
            listed |= set(event["added"])
    served = {
        address for event in events if event["event"] == "rrset" for address in event["rdata"]
    }
    assert served <= listed
    motherships = {event["mothership"] for event in events if event["event"] == "network"}
    table = pq.read_table(world / "answers.parquet")
    assert not motherships & set(table.column("rdata").to_pylist())


def test_every_change_of_the_truth_is_what_was_answered(world: Path) -> None:
    """Addresses that resolvers got for a flux name are those of the truth at that time."""
    changes: dict[str, list[tuple[str, set[str]]]] = {}
    for event in truth(world):
        if event["event"] == "rrset":
            changes.setdefault(event["name"] + ".", []).append((event["t"], set(event["rdata"])))
    n_checked = 0
    answers: dict[tuple[int, str], set[str]] = {}
    times = {}
    for row in pq.read_table(world / "answers.parquet").to_pylist():
        if row["vantage"] == "upstream" and row["section"] == "answer" and row["owner"] in changes:
            answers.setdefault((row["response"], row["owner"]), set()).add(row["rdata"])
            times[row["response"]] = row["ts"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    for (response, owner), addresses in answers.items():
        before = [rdata for time, rdata in changes[owner] if time <= times[response]]
        if before:
            assert addresses == before[-1]
            n_checked += 1
    assert n_checked > 30


def test_a_scan_with_the_lab_tables_finds_the_flux(cli: Cli, world: Path) -> None:
    tables = ["--asn-db", world / "asn.mmdb", "--country-db", world / "country.mmdb"]
    done = cli("scan", world / "upstream.pcap", *tables, "--json")
    found = {
        one["name"] for one in json.loads(done.stdout)["findings"]
        if one["verdict"].endswith("_flux") and one["verdict"] != "not_flux"
    }  # fmt: skip
    labels = json.loads((world / "labels.json").read_text())["names"]
    wanted = {name for name, label in labels.items() if label["flux"]}
    plain = {name for name, label in labels.items() if not label["flux"]}
    assert len(wanted & found) >= 6
    assert not plain & found


def test_splits_share_no_name_and_no_hour(tmp_path: Path) -> None:
    names, weeks = set(), set()
    for split in scenarios.SPLITS:
        synth(scenarios.load("walk", hours=0.25, split=split), tmp_path / split, ("parquet",))
        labels = json.loads((tmp_path / split / "labels.json").read_text())["names"]
        assert not names & set(labels)
        assert {label["split"] for label in labels.values()} == {split}
        names |= set(labels)
        weeks.add(json.loads((tmp_path / split / "card.json").read_text())["from"])
    assert len(weeks) == 3


def test_memory_does_not_grow_with_duration(tmp_path: Path) -> None:
    """What is kept between slices: versions that caches hold, and those that never change."""
    from unflux.lab.model.world import World
    from unflux.lab.synth.demand import Demand
    from unflux.lab.synth.play import Player

    scenario = scenarios.load("walk")
    services = [(name, settings) for name, _, settings in scenario.services]
    world = World(services, scenario.seed, scenario.start_s)
    player = Player(world, Demand(world, scenario.clients, scenario.seed), scenario.resolvers)
    kept = []
    for _ in player.slices(12):
        kept.append(len(world.versions.start))
    assert max(kept[24:]) < 1.5 * max(kept[4:24])


def test_the_command_line_lists_shows_and_plays(cli: Cli, tmp_path: Path) -> None:
    assert "walk" in cli("lab", "scenarios").stdout
    assert "[[service]]" in cli("lab", "show", "walk").stdout
    own = tmp_path / "mine.toml"
    own.write_text('hours = 0.5\n[[service]]\npreset = "cpe"\n[[service]]\npreset = "cdn"\n')
    done = cli("lab", "synth", own, "--out", tmp_path / "out", "--format", "zeek")
    assert done.returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "asn.mmdb", "card.json", "country.mmdb", "dns.log", "labels.json", "truth.ndjson",
    ]  # fmt: skip
    again = cli("lab", "synth", own, "--out", tmp_path / "out")
    assert again.returncode == 1
    assert "not empty" in again.stderr
    own.write_text('[[service]]\npreset = "cpe"\nttl_s = -5\ncolour = 1\n')
    wrong = cli("lab", "synth", own, "--out", tmp_path / "wrong")
    assert wrong.returncode == 1
    assert "ttl_s" in wrong.stderr
    assert "colour" in wrong.stderr
    assert not (tmp_path / "wrong").exists()


def test_no_half_written_world_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unflux.lab.synth.play import Player

    def broken(self: Player, queries: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Player, "_answer", broken)
    with pytest.raises(KeyboardInterrupt):
        synth(scenarios.load("walk", hours=1), tmp_path / "out", ("pcap",))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_playing_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "unflux", "lab", "synth", "medium", "--out", "world"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(400):
        if list(tmp_path.glob(".world.*/truth.ndjson")):
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "unflux: stopped; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


def test_a_world_in_which_nobody_asks_is_played(tmp_path: Path) -> None:
    scenario = tmp_path / "tiny.toml"
    scenario.write_text(
        'hours = 1\nclients = 12\nresolvers = 1\n[[service]]\npreset = "static"\n'
        "domains = 3\nvisits_per_h = 0.1\n"
    )
    made = synth(scenarios.load(str(scenario)), tmp_path / "tiny", FORMATS)
    assert (made.responses, made.names) == (0, 3)
    assert pq.read_table(tmp_path / "tiny" / "answers.parquet").num_rows == 0
    scenario.write_text(scenario.read_text().replace("0.1", "4"))
    made = synth(scenarios.load(str(scenario)), tmp_path / "few", FORMATS)
    assert made.responses == json.loads((tmp_path / "few" / "card.json").read_text())["responses"]
    assert 0 < made.responses < 100
