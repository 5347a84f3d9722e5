"""The tracker in the lab's world, on a virtual clock: what it records, and what follows from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from track_lab import ROOT_SERVER, Ideal, LabWorld, Played, play
from unflux import detect, enrich, pipeline
from unflux._native import Reducer
from unflux.detect.base import FLUX_VERDICTS
from unflux.lab import scenarios
from unflux.lab.model import plan
from unflux.sightings import History
from unflux.track import Settings, Tracker
from unflux.track.period import estimate
from unflux.track.record import answers, heard
from unflux.track.verdicts import findings_of

PRESETS = ("single_a", "pharma", "double", "double_slow", "ns_only")
HOURS = 24
WAYS = {"resolver": {"resolvers": ["198.19.255.53"]}, "authoritative": {"hints": [ROOT_SERVER]}}


@dataclass
class Day:
    lab: LabWorld
    played: Played
    ideal: Ideal
    findings: dict


@pytest.fixture(scope="module", params=WAYS)
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """A day of five networks of two names each."""
    folder = tmp_path_factory.mktemp("track")
    text = "".join(f'[[service]]\npreset = "{preset}"\ndomains = 2\n' for preset in PRESETS)
    (folder / "day.toml").write_text(f"clients = 10\nhours = {HOURS}\n{text}")
    scenario = scenarios.load(str(folder / "day.toml"), seed=3)
    lab = LabWorld(scenario)
    tracker = Tracker(Settings(), started_s=scenario.start_s, seed=1, **WAYS[request.param])
    for one in lab.world.named:
        tracker.add(one.name, scenario.start_s)
    ideal = Ideal(lab, tracker.settings.floor_s)
    played = play(lab, tracker, scenario.start_s, HOURS, ideal)
    plan.write_tables(folder)
    return Day(lab, played, ideal, judged(played, folder))


def judged(played: Played, folder: Path) -> dict:
    """By the reducer and the detector that all inputs go through."""
    rows = [heard(query, response, round(at_s * 1e6)) for at_s, query, response in played.heard]
    into = Reducer()
    books, error = into.add_answers(answers([row for row in rows if row is not None]))
    assert error is None
    assert books["decoded"] == sum(row is not None for row in rows)
    sightings, activity = into.finish(1)
    history = History(sightings, activity, [], {"unflux"}, [])
    assert history.activity_table().column("clients").combine_chunks().flatten() == pa.array(
        [], pa.string()
    )
    enrichment = enrich.load(folder / "asn.mmdb", folder / "country.mmdb")
    found = pipeline.judge(history, enrichment, detect.by_id("unflux"))
    names = list(played.tracker.names)
    scan = pipeline.Scan({}, [], history, found)
    return {f"{one.name}.": one for one in findings_of(scan, names)}


def test_nearly_all_rotations_that_the_budget_can_see_are_recorded(day: Day) -> None:
    recorded = Counter(
        one.name
        for one in day.played.events
        if one.kind == "addresses"
        and one.name == one.detail.get("owner", one.name)
        and not one.detail.get("first")
    )
    visible = {name: n for name, n in day.ideal.n_changes.items() if n}
    assert len(visible) == 8, "every network but the one whose addresses stay"
    share = sum(min(recorded[name], n) for name, n in visible.items()) / sum(visible.values())
    assert share >= 0.95, share
    for name, n in visible.items():
        assert recorded[name] >= 0.9 * n, (name, recorded[name], n)


def test_the_period_of_name_servers_is_found(day: Day) -> None:
    rotating = [
        one
        for one in day.lab.world.named
        if day.lab.world.services[one.service].settings.ns == "rotating"
    ]
    assert len(rotating) == 6
    for one in rotating:
        zone = day.played.tracker.names[one.name].zone
        found = estimate([sample for sample in day.played.samples if sample.zone == zone])
        truth = day.lab.world.services[one.service].settings.ns_period_s
        if found.seconds is None:  # they move more often than their TTLs let anybody look
            assert found.at_most_s is not None
            assert found.at_most_s >= truth
            continue
        assert abs(found.seconds / truth - 1) <= 0.10, (one.name, found, truth)


def test_still_name_servers_have_no_period(day: Day) -> None:
    still = [
        one
        for one in day.lab.world.named
        if day.lab.world.services[one.service].settings.ns != "rotating"
    ]
    for one in still:
        zone = day.played.tracker.names[one.name].zone
        found = estimate([sample for sample in day.played.samples if sample.zone == zone])
        assert (found.seconds, found.n_changes) == (None, 0)


def test_single_and_double_flux_are_told_apart(day: Day) -> None:
    """Every network by its verdict, and by the moves of its name servers."""
    for number, service in enumerate(day.lab.world.services):
        names = [one.name for one in day.lab.world.named if one.service == number]
        verdicts = {day.findings[name].verdict for name in names}
        wanted = service.settings.verdict
        assert verdicts == {wanted}, (service.name, verdicts)
        for name in names:
            zone = day.played.tracker.names[name].zone
            found = estimate([one for one in day.played.samples if one.zone == zone])
            assert found.moves == (wanted != "single_flux"), (name, found)


def test_listed_agents_were_published(day: Day) -> None:
    n_agents = 0
    for one in day.lab.world.named:
        finding = day.findings[one.name]
        if finding.verdict not in FLUX_VERDICTS or one.name not in day.ideal.n_changes:
            continue
        agents = {agent.address for agent in finding.agent_list}
        assert agents <= day.ideal.published[one.service], (
            one.name,
            agents - day.ideal.published[one.service],
        )
        n_agents += len(agents)
    assert n_agents > 500


def test_own_queries_are_nobodys_traffic(day: Day) -> None:
    assert all(finding.n_clients == 0 for finding in day.findings.values())
