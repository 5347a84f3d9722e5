"""Scenario files that are wrong: everything is told at once, in sentences, before anything is made."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from unflux.lab import scenarios
from unflux.lab.model.world import World
from unflux.lab.scenarios import ScenarioError
from unflux.lab.synth.run import synth

FLUX = {"preset": "pharma"}
ODD = [
    0, 1, -1, 3, 500, 2**31, 2**63, 10**18, 10**400, 0.5, 1e12, math.nan, math.inf, True, "", "x", "a..b",
    "{n}", "{x}", "foo.test", ".test.", "x" * 300, [], [1], [1, 2], [2, 1], [1, 2, 3, 4], [math.nan],
    [1e12], [300.5], [-5], [10**400, 10**401], ["x"], ["cdn"], [[1]], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"chain": [1e12]}, "chain has at most 3 TTLs: whole numbers from 0 to 604800"),
        ({"chain": [math.nan]}, "chain has at most 3 TTLs"),
        ({"chain": [300.5]}, "chain has at most 3 TTLs"),
        ({"chain": [99999999999]}, "chain has at most 3 TTLs"),
        ({"chain": [-5]}, "chain has at most 3 TTLs"),
        ({"chain": [True]}, "chain has at most 3 TTLs"),
        ({"chain": [1, 2, 3, 4]}, "chain has at most 3 TTLs"),
        ({"ttl_s": 10**400}, "ttl_s is from 0 to 604800, not a number of hundreds of digits"),
        ({"k": 2.5}, "k is a whole number"),
        ({"labels": ["x" * 100]}, "labels of 1 to 63 letters"),
        ({"labels": ["a..b"]}, "labels of 1 to 63 letters"),
        ({"labels": ["www."]}, "labels of 1 to 63 letters"),
        ({"labels": ["{label}" * 4]}, "labels of 1 to 63 letters"),
        ({"shared_zone": "{n}." + "y" * 64, "domains": 2}, "labels of 1 to 63 letters"),
        ({"apex": "..test."}, "apex is a domain under test or example"),
        ({"apex": ".test."}, "apex is a domain under test or example"),
        ({"apex": "test."}, "apex is a domain under test or example"),
        ({"apex": "x" * 64 + ".test."}, "apex is a domain under test or example"),
        ({"apex": "{n}.test."}, "apex is a domain under test or example"),
        ({"apex": "google.com"}, "apex is a domain under test or example"),
        ({"shared_zone": "x", "domains": 20}, "shared_zone needs {n}"),
        ({"shared_zone": "{label}", "domains": [1, 2]}, "shared_zone needs {n}"),
        ({"apex": "foo.test.", "count": 2}, "apex is one domain"),
        ({"apex": "foo.test.", "shared_zone": "{n}"}, "is in no shared_zone"),
        ({"start_h": 3, "end_h": 2}, "it would end (end_h) before it starts"),
        ({"start_h": [1, 5], "end_h": [4, 8]}, "it would end (end_h) before it starts"),
        ({"preset": "double", "ns_from_h": 2, "end_h": 1}, "before its name servers move"),
        ({"preset": "cdn", "verdict": "single_flux"}, "verdict single_flux is for flux networks"),
        ({"exists": False}, "a flux network has names that exist"),
        ({"infected": 1_001}, "infected is more than there are clients, 1000"),
        ({"k": 8, "list_size": 5}, "k, up to 8, is more than there are to choose from, 5"),
        ({"k": 8, "population": 5}, "k, up to 8, is more than there are to choose from, 5"),
        ({"preset": "double", "ns_count": 13, "list_size": 12}, "ns_count, up to 13, is more than there are"),
        ({"preset": "v6", "bogon_ratio": 0.1}, "which AAAA records cannot hold"),
        ({"targets": 2}, "they need a chain"),
        ({"preset": "cname", "sub_networks": 2}, "they exclude sub_networks"),
        ({"name": "x" * 101}, "at most 100 of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_told_in_one_sentence(settings: dict[str, Any], told: str) -> None:
    [error] = scenarios.check({"service": [FLUX | settings]})
    assert error.startswith("service 1: ")
    assert told in error


def test_what_follows_from_another_error_is_not_told() -> None:
    assert scenarios.check({"clients": -4, "service": [{"preset": "static"}]}) == [
        "clients is from 1 to 8000, not -4"
    ]


@pytest.mark.parametrize("hours", [-1, 0, float("nan"), 1e9])
def test_hours_have_limits_whoever_calls(hours: float) -> None:
    with pytest.raises(scenarios.ScenarioError, match="hours is from"):
        scenarios.load("walk", hours=hours)


def test_a_file_that_is_no_text_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"hours = \xff")
    with pytest.raises(scenarios.ScenarioError, match="not text in UTF-8"):
        scenarios.load(str(path))


@pytest.mark.parametrize("name", ["late_double", "sleeper"])
def test_a_preset_that_changes_after_hours_is_shown_for_a_day(name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(scenarios.text_of_preset(name))
    drawn = scenarios.load(str(path))
    [(_, _, settings)] = drawn.services
    assert 0 < max(settings.start_h, settings.ns_from_h) < drawn.hours


def test_a_registered_domain_has_one_owner() -> None:
    services = [
        FLUX | {"apex": apex} for apex in ("foo.test.", "FOO.test", "bar.foo.test.", "b.example")
    ]
    first, second = scenarios.check({"service": services})
    assert first == "service 2: apex foo.test. is that of service 1 already"
    assert second == "service 3: apex bar.foo.test. lies in foo.test., the apex of service 1"


def test_what_a_setting_may_be_is_told_with_everything_else_that_is_wrong() -> None:
    errors = scenarios.check({
        "clients": "many",
        "service": [
            {"preset": "nosuch", "k": 99, "colour": 1, "apex": "google.com"},
            {"preset": 7, "name": "my net", "ttl_s": [300, 60]},
            {"name": "my net", "count": 0, "domains": -1},
            {"preset": "parked", "domains": 500_000, "count": 3},
            "no table",
        ],
    })  # fmt: skip
    told = "\n".join(errors)
    for text in (
        "clients has the wrong type", "no preset 'nosuch'", "1: k is from", "1: colour is not",
        "1: apex is", "2: preset is a name", "2: name has", "2: ttl_s: the range", "3: name has",
        "3: count is from", "3: domains is from", "service 5 is no table",
        "domains of all services together",
    ):  # fmt: skip
        assert told.count(text) == 1, text
    assert len(errors) == 13


@pytest.mark.parametrize("key", sorted({*scenarios.SETTING_NAMES, "count", "name", "preset"}))
def test_no_value_of_a_setting_is_a_surprise(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told as an error, or drawn into settings within the ranges."""
    path = tmp_path / "odd.toml"
    path.write_text("")
    n_drawn = 0
    for value in ODD:
        table = FLUX | {key: value}
        monkeypatch.setattr("tomllib.loads", lambda _, table=table: {"service": [table]})
        if scenarios.check({"service": [table]}):
            with pytest.raises(ScenarioError):
                scenarios.load(str(path))
            continue
        settings = scenarios.load(str(path)).services[0][2]
        n_drawn += 1
        for name, (low, high) in scenarios.LIMITS.items():
            if hasattr(settings, name):
                assert low <= getattr(settings, name) <= high
        assert all(isinstance(ttl_s, int) for ttl_s in settings.chain)
    assert n_drawn or key in ("rdtype", "selection", "ns", "verdict", "preset")


def test_an_apex_needs_no_dot_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[[service]]\npreset = "pharma"\napex = "Foo.test"\nlabels = ["WWW"]\n')
    services = [(name, settings) for name, _, settings in scenarios.load(str(path)).services]
    assert World(services, 1, 0.0).named[0].name == "www.foo.test."


def test_the_longest_names_are_played(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    long = "x" * 63 + "." + "y" * 25
    path.write_text(
        f'hours = 1\nclients = 20\n[[service]]\npreset = "pharma"\nrdtype = "MX"\ndomains = 1\n'
        f'visits_per_h = 200\napex = "{long}.test"\nlabels = ["{long}"]\n'
        f'[[service]]\npreset = "cname"\nshared_zone = "{{label}}{{n}}.{long[:70]}"\n'
        "visits_per_h = 50\n"
    )
    synth(scenarios.load(str(path)), tmp_path / "out", ["pcap", "parquet"])
    owners = pq.read_table(tmp_path / "out" / "answers.parquet").column("owner").to_pylist()
    assert 180 < max(len(owner) for owner in owners if owner) < 254


def test_a_preset_infects_no_more_clients_than_there_are(tmp_path: Path) -> None:
    path = tmp_path / "few.toml"
    path.write_text('clients = 3\n[[service]]\npreset = "storm"\n')
    assert scenarios.load(str(path)).services[0][2].infected == 3
