"""Flux networks: who belongs together, how big with which certainty, the same from day to day."""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from conftest import Cli, flux_answers, udp_frame, write_pcap
from planted import planted
from unflux import detect, enrich, pipeline, sightings
from unflux.detect import FLUX_VERDICTS
from unflux.errors import UnfluxError
from unflux.evaluate.clusters import b_cubed
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.networks import (
    Network,
    Networks,
    baseline,
    clusters,
    curves,
    find_networks,
    identity,
    overlap,
    views,
)
from unflux.networks import layers as layers_room
from unflux.networks import membership as membership_room
from unflux.networks import size as size_room
from unflux.networks.answers import Answers, answers_of
from unflux.networks.candidates import Incidence, pairs_of
from unflux.pipeline import Judged
from unflux.share import network_pictures
from unflux.share.svg import Svg

SCENARIO = """
title = "Networks of every kind in one small world"
hours = 6
clients = 300
resolvers = 1
[[service]]
preset = "pharma"
count = 2
domains = 6
[[service]]
preset = "akamai17"
domains = 10
[[service]]
preset = "double"
domains = 6
[[service]]
preset = "ns_only"
domains = 6
[[service]]
preset = "cname"
domains = 4
[[service]]
preset = "static"
domains = 60
[[service]]
preset = "time_pool"
[[service]]
preset = "cdn"
domains = 6
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    (folder / "kinds.toml").write_text(SCENARIO)
    synth(scenarios.load(str(folder / "kinds.toml")), folder / "world", ("parquet",))
    return folder / "world"


@pytest.fixture(scope="module")
def judged(world: Path) -> Judged:
    history = sightings.reduce([world / "answers.parquet"])
    tables = enrich.load(world / "asn.mmdb", world / "country.mmdb")
    return pipeline.judge(history, tables, detect.by_id("unflux"))


@pytest.fixture(scope="module")
def found(judged: Judged) -> Networks:
    return find_networks(judged)


def labels_of(world: Path) -> dict[str, dict]:
    return json.loads((world / "labels.json").read_text())["names"]


def of_kind(found: Networks, world: Path, kind: str) -> list[Network]:
    labels = labels_of(world)
    return [
        one
        for one in found.networks
        if any(labels.get(name.name, {}).get("kind") == kind for name in one.names)
    ]


# ------------------------------------------------------------------------------- the statistics


def exact(pool: int, a: int, b: int, x: int) -> float:
    return math.comb(b, x) * math.comb(pool - b, a - x) / math.comb(pool, a)


@pytest.mark.parametrize(("pool", "a", "b"), [(40, 10, 10), (400, 50, 120), (5_000, 300, 40)])
def test_tails_bound_the_hypergeometric_sums_closely(pool: int, a: int, b: int) -> None:
    terms = [exact(pool, a, b, x) for x in range(min(a, b) + 1)]
    for x in range(min(a, b) + 1):
        above, below = sum(terms[x:]), sum(terms[: x + 1])
        if x > a * b / pool and above > 1e-290:
            bound = float(overlap.log_tail_above(x, pool, a, b))
            assert math.log(above) - 1e-6 <= bound <= min(0, math.log(above) + math.log(3))
        if x < a * b / pool and below > 1e-290:
            bound = float(overlap.log_tail_below(x, pool, a, b))
            assert math.log(below) - 1e-6 <= bound <= min(0, math.log(below) + math.log(3))


def test_two_answers_of_one_short_list_share_all_of_their_pools() -> None:
    # Ten of forty, seen twice over: 2.5 in common is a Jaccard index of 0.14 and a share of 1.
    assert overlap.corrected_share(2.5, 10, np.array(0.25)) == pytest.approx(1.0)
    assert overlap.corrected_share(0, 10, np.array(0.25)) == 0


def test_candidate_pairs_have_exact_counts() -> None:
    rng = np.random.default_rng(3)
    node, code = rng.integers(0, 30, 2_000), rng.integers(0, 60, 2_000)
    incidence = Incidence.of(node, code, np.ones(2_000, np.int64), 30)
    sets = {n: set(code[node == n].tolist()) for n in range(30)}
    # An address counts for less the more nodes have it: by ln(1 + nodes / those with it).
    holders = {c: len(set(node[code == c].tolist())) for c in range(60)}
    pairs = pairs_of(incidence)
    assert len(pairs) > 50
    for place, (a, b) in enumerate(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)):
        common = sets[a] & sets[b]
        assert pairs.common[place] == len(common)
        for one, value in ((a, pairs.value_a[place]), (b, pairs.value_b[place])):
            worth = [
                ((node == one) & (code == c)).sum() * math.log1p(30 / holders[c]) for c in common
            ]
            assert value == pytest.approx(sum(worth))


def test_pairs_stay_few_on_an_address_that_everybody_has() -> None:
    node = np.concatenate([np.arange(5_000), np.arange(5_000)])
    code = np.repeat([0, 1], 5_000)
    pairs = pairs_of(Incidence.of(node, code, np.ones(10_000, np.int64), 5_000))
    assert len(pairs) <= 2 * 3 * 5_000


# ----------------------------------------------------------------------------------- clustering


@pytest.mark.parametrize("kind", ["whole", "partitioned", "overlapping", "hubs"])
@pytest.mark.parametrize("seed", range(3))
def test_planted_networks_are_found_ahead_of_the_baseline(kind: str, seed: int) -> None:
    incidence, truth = planted(seed + 100, kind)
    ours = b_cubed(clusters.cluster(incidence).group.tolist(), truth)
    theirs = b_cubed(baseline.perdisci(incidence).tolist(), truth)
    assert ours.f1 >= (0.95 if kind == "whole" else 0.85)
    assert ours.f1 > theirs.f1


def test_the_order_of_rows_does_not_matter_and_the_seed_decides_all() -> None:
    incidence, _ = planted(7, "overlapping")
    order = np.random.default_rng(0).permutation(len(incidence.node))
    shuffled = Incidence.of(
        incidence.node[order], incidence.code[order], incidence.weight[order], incidence.n_nodes
    )
    first, again = clusters.cluster(incidence), clusters.cluster(shuffled)
    assert first.group.tolist() == again.group.tolist()


def test_names_that_share_only_a_hub_stay_apart() -> None:
    rng = np.random.default_rng(1)
    node = np.repeat(np.arange(300), 11)
    code = rng.integers(1, 10**7, len(node))
    code[::11] = 0
    found = clusters.cluster(Incidence.of(node, code, np.ones(len(node), np.int64), 300))
    assert found.n_groups == 300


def test_without_leiden_one_sentence_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "graspologic_native", None)
    with pytest.raises(UnfluxError, match=r"pip install 'unflux\[networks\]'"):
        clusters.cluster(planted(1, "whole", n_networks=2)[0])


def test_the_lab_s_networks_are_found_and_no_pool_of_volunteers_with_them(
    world: Path, judged: Judged, found: Networks
) -> None:
    labels = labels_of(world)
    placed = {name.name: one.id for one in found.networks for name in one.names}
    table = judged.table.filter(pc.is_in(judged.table.column("verdict"), pa.array(FLUX_VERDICTS)))
    called = {name.rstrip(".") for name in table.column("name").to_pylist()}
    flux = [name for name, label in labels.items() if label["flux"]]
    assert len([name for name in flux if name in called]) > 25
    assert not [name for name in called if name not in placed]
    mine = [name for name in flux if name in placed]
    score = b_cubed([placed[name] for name in mine], [labels[name]["network"] for name in mine])
    assert score.f1 >= 0.95
    assert not [name for name in placed if name in labels and not labels[name]["flux"]]


def test_hosting_and_c2_fall_apart_only_without_name_servers(world: Path, judged: Judged) -> None:
    labels = labels_of(world)
    layers = layers_room.layers_of(judged)
    member = membership_room.membership(judged, layers)
    names = [name.rstrip(".") for name in layers.members.column("name").to_pylist()]
    rows = [n for n, name in enumerate(names) if labels.get(name, {}).get("kind") == "akamai17"]
    halves = [labels[names[row]]["sub_network"] for row in rows]
    assert len(set(member.network[rows].tolist())) == 1
    assert b_cubed(member.by_addresses[rows].tolist(), halves).f1 == 1
    assert b_cubed(member.sub_network[rows].tolist(), halves).f1 == 1


# ------------------------------------------------------------------------------ what is said of it


def test_roles_and_kinds_are_those_of_the_lab(world: Path, found: Networks) -> None:
    (double,) = of_kind(found, world, "double")
    assert double.kind == "double_flux"
    assert double.roles["both"] > 0.5 * sum(double.roles.values())
    assert double.ns_rotation_s is not None
    (ns_only,) = of_kind(found, world, "ns_only")
    assert ns_only.kind == "ns_flux"
    assert set(ns_only.roles) == {"dns"}
    for one in of_kind(found, world, "pharma"):
        assert set(one.roles) == {"web"}
        assert one.kind == "single_flux"


def test_every_agent_was_one_in_truth(world: Path, found: Networks) -> None:
    truth: dict[str, set[str]] = {}
    for line in (world / "truth.ndjson").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "agents":
            truth.setdefault(event["network"], set()).update(event["added"])
    labels = labels_of(world)
    for one in found.networks:
        network = next(labels[name.name]["network"] for name in one.names if name.name in labels)
        agents = {agent.address for agent in one.agents}
        static = {a.address for a in one.agents if a.role == "dns"} - truth[network]
        # Name servers that do not rotate yet, at the very start, are fixed servers.
        assert len(agents - truth[network] - static) <= 0.02 * len(agents)
        assert len(one.agents) > 20
        assert sum(one.asns.values()) == len(one.agents)
        assert all(agent.first_seen <= agent.last_seen for agent in one.agents)


def test_growth_adds_up(found: Networks) -> None:
    for one in found.networks:
        growth = one.growth
        assert sum(growth.new) == growth.total[-1] <= len(one.agents)
        assert all(new <= seen for new, seen in zip(growth.new, growth.seen, strict=True))
        assert growth.by_hour_of_day is None  # six hours are no day


def test_lifetimes_are_those_of_kaplan_and_meier() -> None:
    # Watched for 40 h, so gone is who was not seen in the last 10 h. One is there from the start and
    # is left out. Of the others two stay 4 h, one 8 h, and one came in the end and is still there
    # after 2 h: of 4, one is lost from sight at 2 h, two of 3 leave at 4 h, one of 1 at 8 h.
    hour = 3_600_000_000
    spans = [(0, 40), (2, 6), (4, 8), (10, 18), (38, 40)]
    rows = pa.table({
        "code": [code for code, _ in enumerate(spans)],
        "first_us": [first * hour for first, _ in spans],
        "last_us": [last * hour for _, last in spans],
    })  # fmt: skip
    life = curves.lifetime_of(rows)
    assert (life.n, life.n_gone, life.quiet_h, life.median_h) == (4, 3, 10, 4)
    assert dict(life.survival) == {0: 1, 1: 1, 2: 1, 3: 1, 6: pytest.approx(1 / 3, abs=1e-4)}


def test_links_name_their_ends(found: Networks) -> None:
    for one in found.networks:
        assert one.links
        for name, agent, count in one.links:
            assert one.names[name].name
            assert one.agents[agent].count >= count > 0


def test_sleepers_wait_on_the_network_s_own_name_servers(world: Path, found: Networks) -> None:
    labels = labels_of(world)
    for one in found.networks:
        members = {name.name for name in one.names}
        for sleeper in one.sleepers:
            assert sleeper.name not in members
            label = labels.get(sleeper.name)
            assert label is None or label["flux"], sleeper.name


# -------------------------------------------------------------------------------------------- size


def closed_pool(seed: int, size: int, k: int, n_answers: int, weights=None) -> Answers:
    rng = np.random.default_rng(seed)
    codes = [rng.choice(size, k, replace=False, p=weights) for _ in range(n_answers)]
    minutes = np.arange(n_answers, dtype=np.int64) * 5
    return Answers(
        np.repeat(np.arange(n_answers), k), np.concatenate(codes), minutes,
        np.zeros(n_answers, np.int64),
    )  # fmt: skip


@pytest.mark.parametrize(("size", "k", "n_answers"), [(60, 5, 24), (300, 10, 60), (1_000, 10, 144)])
def test_intervals_hold_the_truth_in_nine_of_ten_closed_pools(size, k, n_answers) -> None:
    runs = [closed_pool(seed, size, k, n_answers) for seed in range(120)]
    estimates = [size_room.of_window(one, 0, n_answers * 5) for one in runs]
    known = [one for one in estimates if one.low is not None]
    assert len(known) >= 80
    held = sum(one.low - 0.5 <= size <= one.high + 0.5 for one in known)
    assert held / len(known) >= 0.9


def test_unequal_chances_give_a_lower_bound() -> None:
    weights = np.random.default_rng(5).lognormal(0, 1.2, 800)
    weights /= weights.sum()
    estimates = [
        size_room.of_window(closed_pool(seed, 800, 8, 70, weights), 0, 350).estimate
        for seed in range(40)
    ]
    assert np.mean([one for one in estimates if one is not None]) < 800


def test_too_few_answers_give_no_number() -> None:
    size = size_room.size_of(closed_pool(1, 1_000, 5, 4))
    assert size.estimate is None
    assert "too few answers" in size.note
    assert size.observed <= 20


def test_churn_shortens_the_window_and_is_said() -> None:
    rng = np.random.default_rng(2)
    codes, minutes = [], []
    for answer in range(24 * 30):  # 100 hosts at a time, each stays for five hours
        minute = answer * 2
        first = minute // 3
        codes.append(first + rng.choice(100, 8, replace=False))
        minutes.append(minute)
    answers = Answers(
        np.repeat(np.arange(len(minutes)), 8), np.concatenate(codes),
        np.array(minutes, np.int64), np.zeros(len(minutes), np.int64),
    )  # fmt: skip
    size = size_room.size_of(answers)
    assert size.stay_h is not None
    assert 2 < size.stay_h < 9
    assert size.window_h == 1
    # In an hour, 20 join; so 100 at a time are up to 120 in the window.
    assert size.estimate == pytest.approx(115, rel=0.2)
    assert size.observed > 400


def test_repeated_answers_count_once(judged: Judged) -> None:
    layers = layers_room.layers_of(judged)
    answers = answers_of(layers.ip_rows)
    assert answers.n > 100
    of_answer: dict[int, frozenset[int]] = {
        number: frozenset(code for _, code in slots)
        for number, slots in itertools.groupby(
            zip(answers.answer.tolist(), answers.code.tolist(), strict=True), key=lambda one: one[0]
        )
    }
    last: dict[int, frozenset[int]] = {}
    for number in range(answers.n):
        name = int(answers.name[number])
        assert last.get(name) != of_answer[number]
        last[name] = of_answer[number]


# ----------------------------------------------------------------------------------- from day to day


def seen(names: set[str], agents: set[str], day: int = 1) -> identity.Seen:
    at = f"2026-01-{day:02}T00:00:00.000000Z"
    return identity.Seen(frozenset(names), frozenset(agents), at, at)


def test_ids_last_while_names_and_addresses_move_on() -> None:
    (first,), state = identity.name_all([seen({"a", "b", "c"}, {"1", "2", "3"})], identity.State())
    (second,), state = identity.name_all([seen({"c", "d", "e"}, {"3", "4", "5"}, 2)], state)
    (third,), state = identity.name_all([seen({"x", "y"}, {"4", "5", "6"}, 3)], state)
    assert first.id == second.id == third.id
    assert not third.events
    assert state.networks[0].first_seen.startswith("2026-01-01")
    (other,), _ = identity.name_all([seen({"q"}, {"99"}, 4)], state)
    assert other.id != first.id


def test_splits_and_merges_are_told() -> None:
    whole = seen(set("abcdef"), set("123456"))
    (one,), state = identity.name_all([whole], identity.State())
    halves = [seen(set("abcd"), set("1234"), 2), seen(set("ef"), set("56"), 2)]
    (large, small), state = identity.name_all(halves, state)
    assert large.id == one.id
    assert small.id != one.id
    assert small.events == [f"split from {one.id}"]
    (again,), state = identity.name_all([seen(set("abcdef"), set("123456"), 3)], state)
    assert again.id == one.id
    assert again.events == [f"merged: {small.id} went into it"]
    assert {known.id: known.ended for known in state.networks}[small.id] == one.id


def test_a_state_file_is_kept_whole_and_refused_when_it_is_something_else(tmp_path: Path) -> None:
    _, state = identity.name_all([seen({"a"}, {"1"})], identity.State())
    identity.save(state, tmp_path / "networks.json")
    assert identity.load(tmp_path / "networks.json") == state
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UnfluxError, match="no file of known networks"):
        identity.load(tmp_path / "other.json")


# ------------------------------------------------------------------------------------------ pictures


def test_pictures_are_well_formed_and_hold_what_they_are_about(found: Networks) -> None:
    one = found.networks[0]
    for draw in network_pictures.PICTURES.values():
        text = draw(one).file()
        root = ElementTree.fromstring(text)  # noqa: S314  our own output
        assert root.tag.endswith("svg")
        assert one.id in text
    drawn = network_pictures.countries(one).inline()
    assert drawn.count('class="full"') == len([code for code in one.countries if len(code) == 2])


def test_names_of_operators_cannot_run_in_pictures(found: Networks) -> None:
    evil = "</text><script>alert(1)</script>\"'&\x00\x1b.test"
    one = found.networks[0]
    names = [msgspec.structs.replace(one.names[0], name=evil), *one.names[1:]]
    picture = network_pictures.graph(msgspec.structs.replace(one, names=names))
    for text in (picture.file(), picture.inline()):
        root = ElementTree.fromstring(text)  # noqa: S314  our own output
        assert not [tag for tag in root.iter() if tag.tag.endswith("script")]
        assert "<script" not in text
    picture = Svg(10, 10, evil)
    picture.add("circle", "bar", r='1" onload="alert(1)')
    circles = [one for one in ElementTree.fromstring(picture.file()).iter() if "r" in one.attrib]  # noqa: S314
    assert ["onload" in one.attrib for one in circles] == [False]


def test_pictures_become_png_where_the_package_is(
    found: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)  # as if it were not installed
    with pytest.raises(UnfluxError, match=r"pip install 'unflux\[pictures\]'"):
        network_pictures.write_networks(found, tmp_path, png=True)
    monkeypatch.undo()
    pytest.importorskip("resvg_py", reason="pip install 'unflux[pictures]'")
    picture = network_pictures.ases(found.networks[0])
    head = picture.png()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(head[16:20]) == round(2 * picture.width)


def test_views_are_bounded(found: Networks) -> None:
    for one in found.networks:
        assert len(views.timeline(one)) <= views.MAX_TIMELINE
        drawn = views.graph(one)
        assert len(drawn.nodes) <= views.MAX_GRAPH_AGENTS + views.MAX_GRAPH_NAMES
        assert len(drawn.nodes) + drawn.n_left_out == len(one.names) + len(one.agents)
        assert views.accumulation(one).total[-1].value == one.growth.total[-1]


# ---------------------------------------------------------------------------------- the command line


def test_the_command_keeps_ids_beside_the_dataset(
    world: Path, judged: Judged, cli: Cli, tmp_path: Path
) -> None:
    dataset = tmp_path / "history"
    sightings.write_dataset(judged.history, dataset)
    tables = ("--asn-db", world / "asn.mmdb", "--country-db", world / "country.mmdb")
    done = cli("networks", dataset, "--json", *tables)
    assert done.returncode == 0, done.stderr
    networks = json.loads(done.stdout)["networks"]
    wanted = {"id", "names", "agents", "layers", "sub_networks", "size", "first_seen", "last_seen"}
    assert all(wanted <= set(one) for one in networks)
    assert {"estimate", "low", "high", "window_h", "method"} <= set(networks[0]["size"])
    assert (dataset / "networks.json").is_file()
    again = cli("networks", dataset, "--pictures", tmp_path / "pictures", *tables)
    assert again.returncode == 0, again.stderr
    for one in networks:
        assert one["id"] in again.stdout
        assert (tmp_path / "pictures" / f"{one['id']}-graph.svg").is_file()
    assert "addresses, not machines" in again.stdout


def test_one_network_is_shown_by_its_id_a_name_or_an_address(
    cli: Cli, world: Path, found: Networks
) -> None:
    where = (world / "answers.parquet", "--asn-db", world / "asn.mmdb",
             "--country-db", world / "country.mmdb")  # fmt: skip
    (double,) = of_kind(found, world, "double")
    only = {agent.address for agent in double.agents}.difference(
        *({agent.address for agent in one.agents} for one in found.networks if one is not double)
    )
    shown = [
        cli("networks", *where, "--show", wanted).stdout
        for wanted in (double.id, double.names[0].name.upper() + ".", min(only))
    ]
    assert shown[0] == shown[1] == shown[2]
    assert shown[0].startswith(f"{double.id} double_flux: {len(double.names)} names")
    assert f"{len(double.agents)} addresses" in shown[0].splitlines()[0]
    for said in ("size at a time", "stay", "rotation", "origin ASes", "delegations", "verdict"):
        assert said in shown[0], said
    told = json.loads(cli("networks", *where, "--show", double.id, "--json").stdout)
    assert [one["id"] for one in told["networks"]] == [double.id]
    none = cli("networks", *where, "--show", "nobody.test")
    assert none.returncode == 1
    assert "no network is called nobody.test" in none.stderr


def test_an_input_without_flux_has_no_networks(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "pdns.ndjson"
    log.write_text(
        '{"rrname":"a.test","rrtype":"A","rdata":"198.18.0.1","time_first":1767571200,"time_last":1767571200,"count":1}\n'
    )
    done = cli("networks", log, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["networks"] == []
    assert "0 flux networks" in cli("networks", log).stdout


def test_one_name_alone_is_a_network_of_one(cli: Cli, tmp_path: Path) -> None:
    frames = [(number * 400.0, udp_frame(answer)) for number, answer in enumerate(flux_answers(12))]
    done = cli("networks", write_pcap(tmp_path / "one.pcap", frames), "--json")
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["networks"]
    assert [name["name"] for name in one["names"]] == ["flux.test"]
    assert len(one["agents"]) > 50
    assert one["overlaps"] == []
