"""Played worlds: the same bytes again, clean packets, one story in every format, true labels."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from conftest import ROOT, Cli
from unflux import pipeline, sightings
from unflux.evaluate import load_labels
from unflux.lab import scenarios
from unflux.lab.model.world import World
from unflux.lab.synth.run import synth
from unflux.pipeline import ScanOptions

FORMATS = ("parquet", "pcap", "dnstap", "zeek", "cof")
KINDS = """
hours = 1
clients = 60
taps = ["clients", "upstream", "tld"]
[[service]]
preset = "double"
domains = 6
visits_per_h = 60
[[service]]
preset = "v6"
[[service]]
preset = "https"
[[service]]
preset = "cname"
[[service]]
preset = "akamai17"
domains = 4
[[service]]
preset = "mail_pool"
rdtype = "MX"
[[service]]
preset = "elb"
domains = 10
[[service]]
preset = "nowhere"
domains = 30
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of the smallest scenario in every format."""
    directory = tmp_path_factory.mktemp("lab") / "walk"
    synth(scenarios.load("walk", hours=2), directory, FORMATS)
    return directory


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of all kinds of records at all taps."""
    directory = tmp_path_factory.mktemp("lab")
    scenario = directory / "kinds.toml"
    scenario.write_text(KINDS)
    synth(scenarios.load(str(scenario)), directory / "kinds", FORMATS)
    return directory / "kinds"


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


def test_the_card_says_how_to_make_the_same_bytes_again(cli: Cli, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_bytes(b'hours = 0.5\r\nclients = 20\n[[service]]\npreset = "cpe"\n')
    out = tmp_path / "one"
    done = cli("lab", "synth", own, "--out", out, "--seed", 5, "--split", "test", "--tap", "tld",
               "--format", "cof", "--format", "parquet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = json.loads((out / "card.json").read_text())
    assert card["scenario_sha256"] == hashlib.sha256(own.read_bytes()).hexdigest()
    assert len(card["presets_sha256"]) == 64
    assert (card["numpy"], card["pyarrow"]) == (np.__version__, pa.__version__)
    assert card["seed"] == 5
    moved = tmp_path / "elsewhere" / f"{card['scenario']}.toml"
    moved.parent.mkdir()
    moved.write_bytes(own.read_bytes())
    again = scenarios.load(
        str(moved), seed=card["seed"], split=card["split"], taps=card["taps"], hours=card["hours"]
    )
    assert again.seed == card["drawn_seed"]
    synth(again, tmp_path / "two", card["formats"])
    assert digests(tmp_path / "two") == digests(out)
    # Under another name it is another world, which the card tells as well.
    other = own.rename(tmp_path / "other.toml")
    assert scenarios.load(str(other), seed=5, split="test").seed != card["drawn_seed"]


def test_an_hour_is_the_first_hour_of_two(world: Path, tmp_path: Path) -> None:
    synth(scenarios.load("walk", hours=1), tmp_path / "one", ("zeek",))
    one = (tmp_path / "one" / "dns.log").read_text()
    assert (world / "dns.log").read_text().startswith(one)
    assert one.count("\n") > 100


def test_how_much_is_played_at_once_does_not_show(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unflux.lab.synth.play.SLICES", (1,))
    synth(scenarios.load("walk", hours=2), tmp_path / "small", ("pcap", "zeek", "parquet"))
    one, other = digests(world), digests(tmp_path / "small")
    for name in ("clients.pcap", "upstream.pcap", "dns.log", "truth.ndjson"):
        assert one[name] == other[name], name
    tables = [pq.read_table(at / "answers.parquet") for at in (world, tmp_path / "small")]
    first, second = (table.sort_by([("response", "ascending")]) for table in tables)
    for name in ("ts", "response", "owner", "rdata", "ttl", "server"):
        assert first.column(name).to_pylist() == second.column(name).to_pylist(), name


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
@pytest.mark.parametrize("tap", ["clients", "upstream", "tld"])
def test_packets_are_clean_in_tshark(kinds: Path, tap: str) -> None:
    bad = '_ws.malformed || _ws.expert.group == "Checksum" || udp.checksum.status == 0'
    options = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    capture = str(kinds / f"{tap}.pcap")
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


def test_captures_and_dnstap_hold_what_the_table_holds(
    world: Path, kinds: Path, tmp_path: Path
) -> None:
    table = pq.read_table(kinds / "answers.parquet")
    for tap in ("clients", "upstream", "tld"):
        part = table.filter(pc.equal(table.column("sensor"), tap))
        alone = tmp_path / f"{tap}.parquet"
        pq.write_table(part, alone)
        assert rows(alone) == rows(kinds / f"{tap}.pcap")
    assert rows(tmp_path / "tld.parquet") == rows(kinds / "tld.fstrm")
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


FLUX = [name for name, preset in scenarios.presets().items() if preset.get("flux")]
MORE = """
[[service]]
preset = "akamai17"
domains = 6
start_h = 0.4
end_h = 0.8
[[service]]
preset = "https"
bogon_ratio = 0.2
end_h = 0.7
[[service]]
preset = "cname"
chain = [600, 300]
start_h = 0.3
[[service]]
preset = "pharma"
rdtype = "MX"
domains = 5
[[service]]
preset = "v6"
start_h = 0.5
[[service]]
preset = "storm"
start_h = 0.3
[[service]]
preset = "double"
domains = 4
ns_from_h = 0.5
[[service]]
preset = "ns_only"
chain = [60]
domains = 4
end_h = 0.9
"""
"""Flux of every kind that starts, ends, moves or is reached otherwise than its preset says."""


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of every flux preset, some of which change half-way."""
    directory = tmp_path_factory.mktemp("lab")
    scenario, busy = directory / "flux.toml", "start_h = 0.4\n"
    presets = "".join(
        f'[[service]]\npreset = "{name}"\n{busy if name == "sleeper" else ""}' for name in FLUX
    )
    scenario.write_text(f'hours = 1.0\nclients = 60\ntaps = ["upstream"]\n{presets}{MORE}')
    synth(scenarios.load(str(scenario)), directory / "flux", ["parquet"])
    return directory / "flux"


def at(row: dict) -> str:
    return row["ts"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def test_every_change_of_the_truth_is_what_was_answered(flux: Path) -> None:
    """All that resolvers got for flux names is what the truth says at that time, and all of it."""
    labels = json.loads((flux / "labels.json").read_text())["names"]
    changes: dict[tuple[str, str], list[tuple[str, set[str]]]] = {}
    networks = {}
    for event in truth(flux):
        if event["event"] == "rrset":
            rdata, key = set(event["rdata"]), (event["name"] + ".", event["rdtype"])
            assert all(one in " ".join(rdata) for one in event.get("decoys", ()))
            changes.setdefault(key, []).append((event["t"], rdata))
        elif event["event"] == "alias":
            key = event["name"] + ".", "CNAME"
            changes.setdefault(key, []).append((event["t"], {event["target"] + "."}))
        elif event["event"] in ("network", "starts"):
            networks[event["network"]] = networks.get(event["network"], {}) | event
    answers: dict[tuple[int, str, str], set[str]] = {}
    asked = {}
    for row in pq.read_table(flux / "answers.parquet").to_pylist():
        network = networks[labels[row["qname"].removeprefix("mx1.")[:-1]]["network"]]
        asked[row["response"]] = row, network
        if row["section"] == "answer":
            key = row["response"], row["owner"], row["rdtype"]
            answers.setdefault(key, set()).add(row["rdata"])
        elif row["rcode"] == "NXDOMAIN":  # after the end
            answers[row["response"], row["qname"], row["qtype"]] = set()
    checked: dict[tuple[str, str, int], int] = {}
    for (response, owner, rdtype), rdata in answers.items():
        row, network = asked[response]
        if network["per_query"] and at(row) >= network["t"]:
            continue
        if not rdata and (owner, rdtype) not in changes:
            continue  # behind an alias, or the type that it has not
        before = [one for time, one in changes[owner, rdtype] if time <= at(row)]
        assert rdata == before[-1], (network["network"], owner, rdtype, at(row))
        key = network["preset"], rdtype, len(before)
        checked[key] = checked.get(key, 0) + 1
    assert {preset for preset, _, _ in checked} == set(FLUX)
    assert {rdtype for _, rdtype, _ in checked} == {"A", "AAAA", "CNAME", "HTTPS", "MX"}
    moved = {preset for preset, _, n in checked if n > 1}
    assert moved == set(FLUX) - {"storm", "ns_only"}
    assert sum(checked.values()) > 800


def test_agents_are_behind_every_flux_answer_that_is_no_decoy(flux: Path) -> None:
    """A network that is answered anew with each query has no rrsets but its lists."""
    labels = json.loads((flux / "labels.json").read_text())["names"]
    listed: dict[str, set[str]] = {}
    storms = set()
    for event in truth(flux):
        if event["event"] == "agents":
            listed.setdefault(event["network"], set()).update(event["added"])
        elif event["event"] == "network" and event["per_query"]:
            storms.add(event["network"])
    assert len(storms) == 2
    n_checked = 0
    parked = set()
    for row in pq.read_table(flux / "answers.parquet").to_pylist():
        network = labels.get(row["qname"][:-1], {}).get("network")
        if network in storms and row["section"] == "answer":
            parked |= {row["rdata"]} - listed[network]
            n_checked += 1
    assert len(parked) == 1
    assert n_checked > 50


def test_the_truth_says_when_a_network_starts_ends_and_becomes_of_another_kind(flux: Path) -> None:
    networks: dict[str, list[tuple[str, str, str]]] = {}
    for event in truth(flux):
        if event["event"] in ("network", "starts", "changes", "ends"):
            verdict = event.get("verdict_at_start", event["verdict"])
            story = networks.setdefault(event["network"], [])
            story.append((event["event"], event["t"][11:19], verdict))
    stories = {name.split("-")[0]: one for name, one in networks.items()}
    begins = "network", "00:00:00"
    assert stories["sleeper"] == [(*begins, "not_flux"), ("starts", "00:24:00", "single_flux")]
    assert stories["akamai17"] == [
        (*begins, "not_flux"), ("starts", "00:24:00", "single_flux"), ("ends", "00:48:00", "not_flux")
    ]  # fmt: skip
    assert stories["double"] == [(*begins, "single_flux"), ("changes", "00:30:00", "double_flux")]
    assert stories["ns_only"] == [(*begins, "ns_flux"), ("ends", "00:54:00", "not_flux")]
    assert stories["pharma"] == [(*begins, "single_flux")]


def test_the_top_level_sees_what_the_truth_registers(kinds: Path) -> None:
    """Each referral has the name servers of that time, with their glue; nothing else is seen."""
    changes: dict[str, list[tuple[str, list[str]]]] = {}
    for event in truth(kinds):
        if event["event"] == "name_servers":
            changes.setdefault(event["zone"] + ".", []).append((event["t"], event["glue"]))
            moving = event["name"].endswith(event["zone"]) and event["rotating"]
            assert moving or len(changes[event["zone"] + "."]) == 1
    table = pq.read_table(kinds / "answers.parquet")
    seen = table.filter(pc.equal(table.column("sensor"), "tld")).to_pylist()
    assert {row["server"] for row in seen} == {"198.19.192.53"}
    assert {row["section"] for row in seen} == {"authority", "additional"}
    assert {row["rdtype"] for row in seen if row["section"] == "authority"} == {"NS", "SOA"}
    glue: dict[tuple[int, str], list[str]] = {}
    for row in seen:
        if row["section"] == "authority":
            name = row["owner"]
        elif name in changes:
            glue.setdefault((at(row), name), []).append(row["rdata"])
    for (when, name), addresses in glue.items():
        assert addresses == [servers for since, servers in changes[name] if since <= when][-1]
    assert len(glue) >= 15
    assert len({tuple(addresses) for addresses in glue.values()}) >= 8
    upstream = table.filter(pc.equal(table.column("sensor"), "upstream"))
    same = upstream.filter(pc.equal(upstream.column("server"), "198.19.192.53"))
    assert same.num_rows == len(seen)


def test_mail_is_answered_with_exchanges_and_their_addresses(kinds: Path) -> None:
    table = pq.read_table(kinds / "answers.parquet").to_pylist()
    named = {row["rdata"].split(" ")[1] for row in table if row["rdtype"] == "MX"}
    assert named
    assert named <= {row["owner"] for row in table if row["rdtype"] == "A"}
    asked = [row for row in table if row["qtype"] == "A" and row["qname"] in named]
    assert asked
    assert all(row["owner"] == row["qname"] for row in asked if row["section"] == "answer")


def test_formats_say_which_tap_they_need(tmp_path: Path) -> None:
    only_tld = scenarios.load("walk", hours=1, taps=["tld"])
    with pytest.raises(ValueError, match="zeek is written of the tap clients"):
        synth(only_tld, tmp_path / "out", ["zeek"])
    with pytest.raises(scenarios.ScenarioError, match="taps are some of"):
        scenarios.load("walk", taps=["nowhere"])
    synth(only_tld, tmp_path / "out", ["cof", "pcap", "dnstap"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "asn.mmdb", "card.json", "country.mmdb", "labels.json", "pdns.ndjson", "tld.fstrm",
        "tld.pcap", "truth.ndjson",
    ]  # fmt: skip
    delegations = (tmp_path / "out" / "pdns.ndjson").read_text()
    assert '"rrtype":"NS"' in delegations


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


def test_a_network_that_changes_its_kind_half_way_is_called_by_what_it_has_shown(
    tmp_path: Path,
) -> None:
    own = tmp_path / "late.toml"
    own.write_text(
        'clients = 50\n[[service]]\npreset = "late_double"\ndomains = 3\nns_from_h = 2\n'
        "visits_per_h = 30\n"
    )
    called, labelled = {}, {}
    for hours in (2, 4):
        synth(scenarios.load(str(own), hours=hours), tmp_path / f"{hours}", ("parquet",))
        at = tmp_path / f"{hours}"
        options = ScanOptions(asn_db=at / "asn.mmdb", country_db=at / "country.mmdb")
        findings = pipeline.scan([at / "answers.parquet"], options).findings
        verdicts = {one.name.removesuffix("."): one.verdict for one in findings}
        names = json.loads((at / "labels.json").read_text())["names"]
        called[hours] = {verdicts[name] for name in names}
        known = load_labels(at / "labels.json").values()
        to_us = int((scenarios.START.timestamp() + 3600 * hours - 60) * 1e6)
        labelled[hours] = {label.at(to_us).verdict for label in known}
    assert called == labelled == {2: {"single_flux"}, 4: {"double_flux"}}
    events = map(json.loads, (tmp_path / "4" / "truth.ndjson").read_text().splitlines())
    told = [one for one in events if one["event"] == "name_servers"]
    moved = [one["t"] for one in told if one.get("rotating", True)]
    assert min(moved) == "2026-01-05T02:00:00.000Z"
    assert len(moved) > 3 * 2 * 4  # a period is 15 minutes at most


def test_the_page_of_the_suites_says_what_they_hold(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "lab" / "suites.md").read_text(encoding="utf-8")
    cells = {row.split(" | ")[0]: row.split(" | ")[1:] for row in re.findall(r"\| (.+) \|", page)}
    for suite in ("small", "medium"):
        scenario = scenarios.load(suite)
        services = [(name, settings) for name, _, settings in scenario.services]
        world = World(services, scenario.seed, scenario.start_s)
        there = [of for one in world.named if (of := services[one.service][1]).exists]
        n_flux, n = sum(of.flux for _, of in services), len(services)
        assert cells[suite][:4] == [
            f"{n_flux}, {n - n_flux}", f"{len(there):,}", f"{sum(of.flux for of in there)}",
            f"{scenario.hours:g}",
        ]  # fmt: skip
    made = synth(scenarios.load("small"), tmp_path / "small", ("parquet",))
    assert cells["small"][4] == f"{made.responses:,}"


def test_memory_does_not_grow_with_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept between slices: versions that caches hold, and those that never change."""
    from unflux.lab.synth.demand import Demand
    from unflux.lab.synth.play import Player

    scenario = scenarios.load("walk")
    services = [(name, settings) for name, _, settings in scenario.services]
    world = World(services, scenario.seed, scenario.start_s)
    player = Player(world, Demand(world, scenario.clients, scenario.seed), scenario.resolvers)
    monkeypatch.setattr("unflux.lab.synth.play.FORGET_FROM", 500)
    kept = []
    for _ in player.slices(24):
        kept.append(len(world.versions.start))
    assert max(kept[12:]) < 1.5 * max(kept[2:12])


def test_every_preset_is_shown_as_a_scenario_that_plays_it(tmp_path: Path) -> None:
    plain, whole = tmp_path / "plain" / "own.toml", tmp_path / "whole" / "own.toml"
    plain.parent.mkdir()
    whole.parent.mkdir()
    for name in scenarios.presets():
        plain.write_text(f'[[service]]\npreset = "{name}"\n')
        whole.write_text(scenarios.text_of_preset(name))
        assert scenarios.load(str(whole)).services == scenarios.load(str(plain)).services


def test_a_preset_is_shown_as_a_file_to_copy(cli: Cli, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(cli("lab", "show", "double").stdout)
    assert "ns_period_s" in own.read_text()
    assert scenarios.load(str(own)).services[0][1] == "double"
    told = cli("lab", "synth", "double", "--out", tmp_path / "other")
    assert "`unflux lab show double` prints a scenario" in told.stderr


def test_the_command_line_lists_shows_and_plays(cli: Cli, tmp_path: Path) -> None:
    assert "walk" in cli("lab", "scenarios").stdout
    assert "[[service]]" in cli("lab", "show", "walk").stdout
    assert "`unflux lab show NAME` prints" in cli("lab", "scenarios", "show", "walk").stderr
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
