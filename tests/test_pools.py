"""The pool behind a name, and the order of its answers: every number by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CLIENT, Cli, a_response, response, udp_frame, write_pcap
from unflux import detect, engine, enrich, features, pipeline, sightings
from unflux.features import windows
from unflux.features.chao import chao2, chao2_sql, pool_size
from unflux.features.components import components
from unflux.sources.base import ReadOptions

START = 1_790_000_000.0 - 1_790_000_000 % 3600


def capture(path: Path, seen: list[tuple[float, bytes]]) -> Path:
    return write_pcap(path, [(START + at, udp_frame(wire, to=CLIENT)) for at, wire in seen])


@pytest.fixture
def table(tmp_path: Path, lab_tables: tuple[Path, Path]):
    def compute(seen: list[tuple[float, bytes]]) -> dict[str, dict]:
        history = sightings.reduce([capture(tmp_path / "a.pcap", seen)])
        computed = features.compute(history, enrich.load(*lab_tables))
        return {row["name"]: row for row in computed.table.to_pylist()}

    return compute


def host(number: int) -> str:
    return f"198.{18 + number // 250}.{number % 250}.1"


def test_domains_that_draw_from_one_list_are_one_pool(table) -> None:
    # Two domains, ten hosts each, eight of them in common; a third with ten others.
    seen = [
        (0, a_response("a.test.", 60, [host(n) for n in range(10)])),
        (1, a_response("www.b.test.", 60, [host(n) for n in range(2, 12)])),
        (2, a_response("c.test.", 60, [host(n) for n in range(100, 110)])),
    ]
    rows = table(seen)
    assert (rows["a.test."]["pool_names"], rows["a.test."]["pool_domains"]) == (2, 2)
    assert rows["www.b.test."]["pool_addresses"] == 12
    assert rows["c.test."]["pool_domains"] == 1


def test_customers_of_one_provider_are_one_domain_of_a_pool(table) -> None:
    # Below a suffix of the list's private section each name is its own registered domain, but all
    # belong to one operator.
    hosts = [host(n) for n in range(8)]
    seen = [
        (0, a_response("one.cloudfront.net.", 60, hosts)),
        (1, a_response("two.cloudfront.net.", 60, hosts)),
    ]
    row = table(seen)["one.cloudfront.net."]
    assert (row["pool_names"], row["pool_domains"]) == (2, 1)


def test_hosts_that_come_back_and_how_long_they_span(table) -> None:
    # One address at a time, ten minutes apart: x y x z w x. x comes at places 0, 2 and 5 of six
    # answers; it spans 5/6 of them, and (3-1)/(3+1) = 1/2 is expected of a host that stays.
    x, y, z, w = (host(n) for n in range(4))
    seen = [(600 * n, a_response("a.test.", 60, [one])) for n, one in enumerate([x, y, x, z, w, x])]
    row = table(seen)["a.test."]
    assert row["own_returning"] == 1
    assert row["own_dwell_ratio"] == pytest.approx((5 / 6) / (1 / 2))
    assert row["turnover_ratio"] == 1
    # Looked at every ten minutes, changed every time: the period is at most that.
    assert 570 <= row["rotation_period_s"] <= 630


def test_turnover_does_not_depend_on_how_often_one_looks(table) -> None:
    # {0,1} for six looks, then {1,2} for six: one of two is replaced when it changes.
    seen = [
        (120 * n, a_response("a.test.", 60, [host(n // 6), host(n // 6 + 1)])) for n in range(12)
    ]
    row = table(seen)["a.test."]
    assert row["turnover_ratio"] == 1 / 2
    assert row["retention"] == pytest.approx(21 / 22)


def test_a_sleeper_that_wakes_is_dated(table) -> None:
    seen = [(600 * n, a_response("a.test.", 60, [host(0)])) for n in range(8)]
    seen += [(600 * n, a_response("a.test.", 60, [host(n)])) for n in range(8, 18)]
    row = table(seen)["a.test."]
    # Expiry (TTL 60 s) is one minute after the answer of minute 80.
    assert row["active_since_us"] == round((START + 4800 + 60) * 1e6)
    assert row["active_retention"] == 0


def test_what_stands_in_most_answers_is_the_core(table) -> None:
    # Twelve looks: x in ten of them, y beside it in the fourth, z alone in the last two.
    x, y, z = host(0), host(1), host(2)
    looks = [[x], [x], [x], [x, y], [x], [x], [x], [x], [x], [x], [z], [z]]
    row = table([(120 * n, a_response("a.test.", 60, look)) for n, look in enumerate(looks)])
    found = row["a.test."]
    assert (found["core_addresses"], found["apart_ratio"], found["core_absence"]) == (1, 3 / 12, 2)


def test_networks_are_tested_one_after_the_other(table) -> None:
    row = table([(0, a_response("a.test.", 60, [host(0), host(1)]))])["a.test."]
    # Two addresses, two networks: each is four times as likely under flux.
    assert row["network_llr"] == pytest.approx(2 * math.log(4))


def test_the_size_of_a_closed_pool_is_estimated(table) -> None:
    # Ten of sixty hosts at random, thirty times: Chao2 from the counts of once and twice.
    rng = np.random.default_rng(5)
    draws = [sorted(rng.choice(60, 10, replace=False).tolist()) for _ in range(12)]
    seen = [
        (300 * n, a_response("a.test.", 60, [host(h) for h in drawn]))
        for n, drawn in enumerate(draws)
    ]
    row = table(seen)["a.test."]
    times = np.bincount(np.concatenate(draws), minlength=60)
    once, twice, seen_hosts = (times == 1).sum(), (times == 2).sum(), (times > 0).sum()
    assert row["sample_coverage"] == pytest.approx(1 - once / 120)
    estimate = seen_hosts + 11 / 12 * once * (once - 1) / (2 * (twice + 1))
    assert row["pool_estimate"] == pytest.approx(estimate)
    assert row["pool_low"] < estimate < row["pool_high"]
    assert row["pool_low"] <= 60 <= row["pool_high"]


@given(
    once=st.integers(0, 60), twice=st.integers(1, 60), more=st.integers(0, 60), n=st.integers(2, 99)
)
def test_chaos_formula_is_the_same_in_sql(once: int, twice: int, more: int, n: int) -> None:
    observed = once + twice + more
    spelled = ", ".join(chao2_sql(str(observed), str(once), str(twice), str(n)))
    in_sql = engine.query(f"SELECT * FROM (VALUES ({spelled})) AS found(a, b, c)").to_pylist()[0]
    assert list(in_sql.values()) == pytest.approx(list(chao2(observed, once, twice, n)))


def test_a_number_is_shown_where_it_says_something() -> None:
    # 20 seen once, 10 twice, 10 five times, in 30 answers: unseen = 29/30 · 20 · 19 / (2 · 11).
    pool = pool_size([1] * 20 + [2] * 10 + [5] * 10, 30)
    assert pool.chao is not None
    assert pool.chao.estimate == pytest.approx(40 + 29 / 30 * 380 / 22)
    assert pool.coverage == pytest.approx(1 - 20 / 90)
    assert 40 < pool.chao.low < pool.chao.estimate < pool.chao.high
    assert pool_size([1] * 50, 10).chao is None, "never twice: nothing to go by"
    assert pool_size([2] * 9, 10).chao is None, "too few"
    assert pool_size([], 0).chao is None
    for complete in (pool_size([2] * 30, 10), pool_size([5] * 4, 10)):
        assert complete.chao is not None
        assert complete.chao.estimate == complete.observed


def test_chaos_formula_by_hand() -> None:
    # 40 seen, ten once, ten twice, in 50 answers: unseen = 49/50 · 10 · 9 / (2 · 11).
    found = chao2(40, 10, 10, 50)
    unseen = 0.98 * 90 / 22
    variance = 10 * (0.5 * 0.98 + 0.98**2 + 0.25 * 0.98**2)
    factor = math.exp(1.959964 * math.sqrt(math.log(1 + variance / unseen**2)))
    assert found == pytest.approx((40 + unseen, 40 + unseen / factor, 40 + unseen * factor))


def test_hosts_that_stay_for_hours_are_seen_by_blocks(table) -> None:
    """Four hosts for two hours, four others then, and after half a day the first ones again."""
    seen = []
    for n in range(24 * 6):  # every ten minutes for a day
        listed = n // 12 % 6
        seen.append((600 * n, a_response("a.test.", 60, [host(4 * listed + n * 3 % 4)])))
    row = table(seen)["a.test."]
    # Three visits of a host span 8 of 36 looks of a block at most; 1/2 is expected of one that stays.
    assert row["block_dwell_ratio"] < 0.6
    assert row["pool_dwell_ratio"] > row["block_dwell_ratio"] + 0.1
    assert row["block_churn_z"] > 3
    assert 2 < row["pool_stay_low_h"] < row["pool_stay_h"] < 18


def test_hosts_that_stay_all_day_have_no_end(table) -> None:
    rng = np.random.default_rng(3)
    seen = [
        (600 * n, a_response("a.test.", 60, [host(h) for h in rng.choice(20, 3, replace=False)]))
        for n in range(24 * 6)
    ]
    row = table(seen)["a.test."]
    assert 0.9 < row["block_dwell_ratio"] < 1.1
    assert row["pool_stay_low_h"] > 24


def test_a_single_answer_has_no_turnover(table) -> None:
    rows = table(
        [
            (0, a_response("once.test.", 60, [host(n) for n in range(10)])),
            (0, a_response("still.test.", 60, [host(1), host(2)])),
            (600, a_response("still.test.", 60, [host(1), host(2)])),
        ]
    )
    assert rows["once.test."]["turnover_ratio"] is None
    assert (rows["still.test."]["n_pairs"], rows["still.test."]["turnover_ratio"]) == (1, None)


def test_name_servers_that_move_by_new_names(table) -> None:
    """Two servers a delegation, both of a new name each half hour, one address each."""

    def delegated(n: int) -> tuple[float, bytes]:
        names = [f"ns{2 * (n // 3) + one}.a.test." for one in range(2)]
        return 600 * n, response(
            "www.a.test.",
            answer=[("www.a.test.", 60, "A", [host(200)])],
            authority=[("a.test.", 300, "NS", names)],
            additional=[
                (name, 300, "A", [host(40 + int(name[2:].split(".")[0]))]) for name in names
            ],
        )

    row = table([delegated(n) for n in range(12)])["www.a.test."]
    # Four delegations, three moves; each server keeps its one address.
    assert (row["n_ns"], row["ns_changes"], row["ns_addresses"]) == (8, 3, 8)
    assert row["ns_address_retention"] == 1
    assert row["ns_turnover_ratio"] == 1
    assert row["ns_pool_ratio"] == 8 / 2


def test_name_servers_periods(table) -> None:
    # A name server's address that changes every twenty minutes, looked at every five.
    def delegated(n: int) -> tuple[float, bytes]:
        return 300 * n, response(
            "www.a.test.",
            answer=[("www.a.test.", 60, "A", [host(200)])],
            authority=[("a.test.", 300, "NS", ["ns1.a.test."])],
            additional=[("ns1.a.test.", 300, "A", [host(n // 4)])],
        )

    row = table([delegated(n) for n in range(48)])["www.a.test."]
    assert 1000 <= row["ns_address_period_s"] <= 1400
    assert row["ns_rrset_period_s"] is None


def test_what_only_papers_ask_for(table) -> None:
    # 198.18.0.1, .1.1, .2.1: three /24s, neighbours 256 apart; UA, RO, BR by the lab's table,
    # UTC+2, +2 and, for Brazil, -3: entropy of (2/3, 1/3).
    seen = [
        (0, a_response("a.test.", 60, [host(0), host(1), host(2)])),
        (
            1,
            response(
                "none.a.test.",
                authority=[("a.test.", 60, "SOA", ["n.a.test. h.a.test. 7 3600 600 86400 60"])],
            ),
        ),
        (2, response("a.test.", "NS", [("a.test.", 60, "NS", ["ns1.a.test."])])),
    ]
    row = table(seen)["a.test."]
    assert (row["n_subnets"], row["address_distance"], row["soa_retry_s"]) == (3, 256, 600)
    entropy = -(2 / 3) * math.log2(2 / 3) - (1 / 3) * math.log2(1 / 3)
    assert row["tz_entropy_bits"] == pytest.approx(entropy)


def test_clusters_are_cut_at_the_similarity_of_the_paper(table) -> None:
    # 8 of 10 and 10 in common: 8/12 · 1/(1 + e^(3-10)) = 0.666 ≥ 0.4; 3 of 10: 3/17 = 0.18 < 0.4.
    seen = [
        (0, a_response("a.test.", 60, [host(n) for n in range(10)])),
        (1, a_response("b.test.", 60, [host(n) for n in range(2, 12)])),
        (2, a_response("c.test.", 60, [host(n) for n in range(9, 19)])),
    ]
    rows = table(seen)
    assert [rows[f"{name}.test."]["cluster_names"] for name in "abc"] == [2, 2, 1]
    assert rows["a.test."]["cluster_addresses"] == 12
    assert rows["a.test."]["cluster_growth_ratio"] == 10  # ten addresses from one fresh answer
    assert rows["a.test."]["cluster_reach"] == 3  # c has been on 9, 10 and 11 too


def test_a_long_chain_is_one_component() -> None:
    n = 5_000
    order = np.random.default_rng(1).permutation(n)
    assert set(components(n, order[:-1], order[1:]).tolist()) == {0}


ANSWERS = st.lists(
    st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True), min_size=4, max_size=14
)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answers=ANSWERS, cut=st.integers(1, 13))
def test_a_verdict_on_a_prefix_never_uses_the_future(
    tmp_path: Path, lab_tables: tuple[Path, Path], answers: list[list[int]], cut: int
) -> None:
    """Reading until a moment says what reading only what came before it says."""
    seen = [
        (600.0 * n, a_response(f"{'ab'[n % 2]}.test.", 60, [host(h) for h in hosts]))
        for n, hosts in enumerate(answers)
    ]
    cut = min(cut, len(seen) - 1)
    tables = enrich.load(*lab_tables)
    whole = capture(tmp_path / "whole.pcap", seen)
    before = capture(tmp_path / "before.pcap", seen[:cut])
    until = ReadOptions(until_us=round((START + seen[cut][0]) * 1e6))

    def verdicts(path: Path, options: ReadOptions) -> list[dict]:
        history = sightings.reduce([path], options)
        judged = pipeline.judge(history, tables, detect.by_id("unflux"))
        return judged.table.select(["name", "verdict", "score", "confidence"]).to_pylist()

    assert verdicts(whole, until) == verdicts(before, ReadOptions())


def test_a_window_has_what_came_in_it_alone(tmp_path: Path, lab_tables: tuple[Path, Path]) -> None:
    # One host each ten minutes for five hours; the last three hours hold 18 of the 30 looks.
    seen = [(600 * n, a_response("a.test.", 60, [host(n)])) for n in range(30)]
    history = sightings.reduce([capture(tmp_path / "a.pcap", seen)])
    tables = enrich.load(*lab_tables)

    def row(window_s: int) -> dict:
        computed = features.compute(windows.last(history, window_s), tables).table
        return computed.to_pylist()[0]

    assert (row(10_800)["n_addresses"], row(10_800)["n_fresh"]) == (18, 18)
    assert (row(600)["n_addresses"], row(600)["n_pairs"]) == (1, 0)
    assert row(604_800)["n_fresh"] == 30
    with pytest.raises(ValueError, match="at least a second"):
        windows.last(history, 0)


@pytest.mark.parametrize("ttl_s", [60, 3000])
def test_a_window_is_what_reading_from_its_start_gives(
    tmp_path: Path, lab_tables: tuple[Path, Path], ttl_s: int
) -> None:
    """Below a cache, where minutes are those of expiry, too."""
    seen = [
        (3600 * 10 + 333 * n, a_response(f"{'ab'[n % 2]}.test.", ttl_s, [host(n % 9)]))
        for n in range(60)
    ]
    path = capture(tmp_path / "a.pcap", seen)
    start = round((START + 3600 * 10 + 333 * 25) * 1e6)
    window = windows.since(sightings.reduce([path]), start)
    read = sightings.reduce([path], ReadOptions(since_us=start))
    wanted = (
        "name",
        "n_addresses",
        "n_fresh",
        "n_pairs",
        "retention",
        "growth_events",
        "duration_s",
    )
    tables = enrich.load(*lab_tables)
    one, other = (
        features.compute(some, tables).table.select(wanted).to_pylist() for some in (window, read)
    )
    assert one == other


def test_names_of_a_registered_domain_rotate_together(table, tmp_path, lab_tables) -> None:
    # Twenty wildcard names, each asked for once: no name by itself shows that anything changes.
    seen = [(600 * n, a_response(f"x{n}.a.test.", 60, [host(n), host(n + 1)])) for n in range(20)]
    assert {row["n_pairs"] for row in table(seen).values()} == {0}
    history = sightings.reduce([tmp_path / "a.pcap"])
    tables = enrich.load(*lab_tables)
    [row] = features.compute(history, tables, level="registered_domain").table.to_pylist()
    assert row["name"] == "a.test."
    assert (row["n_addresses"], row["n_fresh"], row["n_pairs"]) == (21, 20, 19)
    assert row["retention"] == 1 / 2
    with pytest.raises(ValueError, match="level is"):
        features.compute(history, tables, level="zone")


def test_features_are_a_table_by_window_and_level(tmp_path, lab_tables, cli: Cli) -> None:
    seen = [(600 * n, a_response(f"x{n % 2}.a.test.", 60, [host(n)])) for n in range(30)]
    path = capture(tmp_path / "a.pcap", seen)
    asn, country = lab_tables
    chosen = ["--asn-db", asn, "--country-db", country]
    done = cli("decode", path, "--to", tmp_path / "features.parquet", *chosen)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / "features.parquet")
    rows = {(row["window"], row["name"]): row["n_fresh"] for row in table.to_pylist()}
    assert rows["all", "a.test."] == rows["7d", "a.test."] == 30
    assert rows["3h", "a.test."] == 18
    assert rows["3h", "x1.a.test."] == 9
    assert rows["10m", "x1.a.test."] == 1
    done = cli("explain", "x1.a.test", path, *chosen, "--windows", "--json")
    by_window = {
        (one["window"], one["level"]): one["n_fresh"] for one in json.loads(done.stdout)["windows"]
    }
    assert by_window["3h", "name"] == 9
    assert by_window["all", "registered_domain"] == 30
    done = cli("scan", path, *chosen, "--window", "soon")
    assert done.returncode == 2
    assert "write 90s, 10m" in done.stderr
