"""Everything together in the live lab: a watch that blocks at unbound, a tracker, the trace of
agents, and networks, each held against what the lab says is true.

Two labs run at once, for as long as the slower needs: in the one, a watch protects the resolver;
in the other, a tracker follows the names, and every packet is captured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import ROOT, Cli
from test_lab_live import needs_lab
from unflux.evaluate.clusters import b_cubed
from unflux.lab.live.session import Lab, LabOptions
from unflux.track.settings import Settings

sys.path.insert(0, str(ROOT / "bench"))

import trace_live
import track_live
import watch_live

pytestmark = needs_lab

WATCHED = """
title = "two networks that infected hosts ask, and look-alikes"
clients = 30
[[service]]
name = "single"
preset = "pharma"
domains = 2
ttl_s = 300
rotation_s = 300
failure_ratio = 0
visits_per_h = 60
infected = 3
poll_s = 120
[[service]]
name = "double"
preset = "double"
list_size = 24 # few answers come before the names are blocked: they have to show that one list is behind
domains = 2
ttl_s = 300
rotation_s = 300
failure_ratio = 0
visits_per_h = 60
infected = 3
poll_s = 120
[[service]]
preset = "cdn"
domains = 3
visits_per_h = 60
[[service]]
preset = "time_pool"
domains = 1
[[service]]
preset = "round_robin"
domains = 3
visits_per_h = 60
[[service]]
preset = "static"
domains = 5
visits_per_h = 60
"""
WATCH_SPEED, WATCH_AT_MOST_S = 10.0, 150.0
"""300 s are 30 s; a window tells minutes apart, so the block comes after one to two of them."""
TRACK_SPEED, TRACK_S = 60.0, 50.0
BUDGETS = track_live.scaled(TRACK_SPEED) | {"per_name_server_s": 10.0, "overall_s": 60.0}
"""Low enough to be reached while everything is new."""


class Runs:
    """Both labs' directories, and what was measured in them."""

    def __init__(self, folder: Path) -> None:
        self.watched, self.tracked = folder / "watched", folder / "tracked"
        with ThreadPoolExecutor(2) as both:
            watch: Future[dict[str, watch_live.Block]] = both.submit(self._watch)
            both.submit(self._track).result()
            self.seen = watch.result()

    def _watch(self) -> dict[str, watch_live.Block]:
        self.watched.mkdir()
        scenario = self.watched / "scenario.toml"
        scenario.write_text(WATCHED)

        def all_blocked(lab: Lab) -> bool:
            seen = watch_live.of_clients(lab.out / "clients.pcap", lab.resolver)
            asked = [seen.get(name) for name in flux_names(lab.labels())]
            return all(one and one.first_blocked_s for one in asked)

        return watch_live.play(
            str(scenario), WATCH_SPEED, WATCH_AT_MOST_S, self.watched, all_blocked
        )

    def _track(self) -> None:
        self.tracked.mkdir()
        scenario = self.tracked / "scenario.toml"
        scenario.write_text(trace_live.scenario(visits=240))
        with Lab(str(scenario), LabOptions(speed=TRACK_SPEED, whole=True),
                 self.tracked / "lab") as lab:  # fmt: skip
            track_live.follow(lab, self.tracked, BUDGETS, TRACK_S)


def flux_names(labels: dict) -> list[str]:
    return sorted(name for name, entry in labels.items() if entry["flux"])


def labels_of(folder: Path) -> dict:
    return json.loads((folder / "lab/labels.json").read_text())["names"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    yield Runs(tmp_path_factory.mktemp("e2e"))


def test_c2_under_single_and_double_flux_is_blocked_within_three_rotations(runs: Runs) -> None:
    labels = labels_of(runs.watched)
    period_s = 300 / WATCH_SPEED
    for name in flux_names(labels):
        block = runs.seen[name]
        assert block.first_blocked_s is not None, (runs.watched / "watch.log").read_text()
        periods = (block.first_blocked_s - block.first_answer_s) / period_s
        assert periods <= 3, (name, periods)
    wrongly = [name for name, one in runs.seen.items() if one.first_blocked_s is not None]
    assert set(wrongly) <= set(flux_names(labels))
    assert len(runs.seen) > len(flux_names(labels)) + 5, "look-alikes were asked for"
    truth = [json.loads(line)
             for line in (runs.watched / "lab/truth.ndjson").read_text().splitlines()]  # fmt: skip
    infected = {one["network"] for one in truth if one["event"] == "infected"}
    assert len(infected) == 2
    said = (runs.watched / "watch.log").read_text()
    assert said.count(" watching ") == 1 and " blocked name=" in said


def test_networks_of_a_live_run_are_those_of_the_truth(runs: Runs, cli: Cli) -> None:
    lab = runs.watched / "lab"
    # What the watch itself saw and kept: it ended with the last block, and a minute less shows less.
    done = cli("networks", runs.watched / "state", "--json", "--no-state", "--asn-db",
               lab / "asn.mmdb", "--country-db", lab / "country.mmdb")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {
        name["name"]: one["id"]
        for one in json.loads(done.stdout)["networks"]
        for name in one["names"]
    }
    labels = labels_of(runs.watched)
    flux = flux_names(labels)
    assert set(flux) <= set(found)
    placed = [found[name] for name in flux]
    assert b_cubed(placed, [labels[name]["network"] for name in flux]).f1 == 1.0


def test_the_tracker_records_what_networks_publish_and_keeps_its_budgets(runs: Runs) -> None:
    settings = Settings(**BUDGETS)
    found = track_live.judge(runs.tracked / "lab", runs.tracked, TRACK_SPEED, settings)
    assert found.n_published > 50
    assert found.seen_ratio >= 0.9, found.rows()
    assert found.moves["right"] == found.moves.total(), found.rows()
    assert found.n_moving == 8, "the names of ns_only and double"
    assert found.n_agents == found.n_agents_right
    # The servers' side: a bucket's burst and what fills it in a second.
    assert 10 < found.most_of_a_server <= 2 * settings.per_name_server_s + 1, found.rows()
    assert found.most_of_all <= 2 * settings.overall_s + 1
    assert min(found.gaps) >= settings.floor_s
    assert found.n_outside == 0


def test_the_trace_of_busy_agents_names_who_is_behind_them(runs: Runs) -> None:
    events = [
        json.loads(line) for line in (runs.tracked / "lab/truth.ndjson").read_text().splitlines()
    ]
    truth = trace_live.Truth(events)
    assert all(len(behind) >= 2 for behind in truth.behind.values()), "mothership, back ends"
    path = runs.tracked / "lab/all.pcap"
    others = trace_live.others(path, truth)
    assert list(others.values()).count("clients") >= 50
    found = trace_live.judge(path, truth, others)
    busy = sum(
        (counts for kind, counts in found.items() if kind.startswith("agents with ")
         and not kind.endswith("fewer than 10")),
        start=type(found["clients"])(),
    )  # fmt: skip
    assert busy.total() >= 20, found
    assert busy["right"] >= 0.95 * busy.total(), found
    for kind in ("clients", "plain web servers"):
        assert found[kind]["wrong"] == 0, found
