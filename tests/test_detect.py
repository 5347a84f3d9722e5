"""Detectors: the contract that all keep, and what ours says of real and made-up names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from conftest import (
    ROOT,
    SHARED_DATA,
    a_response,
    flux_answers,
    needs_shared_data,
    response,
    udp_frame,
    write_pcap,
)
from unflux import detect, enrich, features, pipeline, sightings
from unflux.detect import DETECTORS, FLUX_VERDICTS, VERDICTS, Finding
from unflux.pipeline import ScanOptions

START = 1_790_000_000.0 - 1_790_000_000 % 3600


def judge(
    path: Path, tables: tuple[Path, Path] | None = None, detector: str = "unflux"
) -> dict[str, Finding]:
    asn, country = tables or (None, None)
    options = ScanOptions(asn_db=asn, country_db=country, min_score=0, detector_id=detector)
    return {finding.name: finding for finding in pipeline.scan([path], options).findings}


def capture(path: Path, seen: list[tuple[float, bytes]]) -> Path:
    return write_pcap(path, [(START + at, udp_frame(wire)) for at, wire in seen])


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of the README, built by its own script."""
    subprocess.run([sys.executable, "examples/make_example.py"], cwd=ROOT, check=True)
    return ROOT / "examples" / "out"


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.id)
def test_detectors_keep_the_contract(detector: detect.Detector, example: Path) -> None:
    history = sightings.reduce([example / "flux-example.pcap"])
    tables = enrich.load(example / "asn.mmdb", example / "country.mmdb")
    table = features.compute(history, tables).table
    before = table.slice(0)
    judged = detector.judge(table)
    assert table.equals(before)
    assert judged.num_rows == table.num_rows
    assert judged.column("name").to_pylist() == table.column("name").to_pylist()
    assert set(judged.column("verdict").to_pylist()) <= set(VERDICTS)
    scores = judged.column("score").to_pylist()
    assert all(0 <= score <= 1 for score in scores)
    order = list(range(table.num_rows))[::-1]
    again = detector.judge(table.take(pa.array(order)))
    assert again.column("score").to_pylist() == scores[::-1]
    for row in judged.to_pylist():
        reasons = detector.reasons(row)
        assert all(0 <= reason.weight <= 1 for reason in reasons)
        assert all("nan" not in reason.says for reason in reasons)
        for explanation in detector.explanations(row):
            assert explanation.says


def test_the_example_is_told_as_its_labels_say(example: Path) -> None:
    labels = json.loads((example / "labels.json").read_text())["names"]
    found = judge(example / "flux-example.pcap", (example / "asn.mmdb", example / "country.mmdb"))
    for name, label in labels.items():
        if name not in found:
            assert label["kind"] == "static", name  # the least popular were not asked for
            continue
        verdict = found[name].verdict
        if label["flux"]:
            assert verdict == label["kind"], name
        elif label["kind"] == "volunteer_pool":
            assert verdict == "ambiguous"
            matching = [one.name for one in found[name].benign_explanations if one.match]
            assert matching == ["volunteer_pool"]
        else:
            assert verdict in ("not_flux", "insufficient"), name
    agents = {agent.address for agent in found["c2.mother.test"].agent_list}
    assert len(agents) == found["c2.mother.test"].n_addresses


@needs_shared_data
@pytest.mark.parametrize(
    ("capture_name", "name"),
    [("locky-2017-09-05.pcap", "tealfortera.org"), ("locky-2017-09-07.pcap", "leypart.su")],
)
def test_real_flux_is_found(capture_name: str, name: str) -> None:
    geo = SHARED_DATA / "geo"
    tables = (geo / "asn.mmdb", geo / "geo-whois-asn-country.mmdb")
    found = judge(SHARED_DATA / "flux" / capture_name, tables)
    flux = [one for one in found.values() if one.verdict in FLUX_VERDICTS]
    assert [one.name for one in flux] == [name]
    assert flux[0].verdict == "single_flux"
    assert (len(flux[0].agent_list), flux[0].n_asns) == (10, 9)
    assert flux[0].confidence == "low"  # one answer is all that was seen
    assert flux[0].n_clients == 1


@needs_shared_data
@pytest.mark.parametrize("folder", ["benign/iot", "benign/zeek-competition", "benign/zeek-small"])
def test_no_ordinary_name_is_called_flux(folder: str) -> None:
    geo = SHARED_DATA / "geo"
    files = [
        path
        for path in sorted((SHARED_DATA / folder).rglob("*"))
        if path.suffix in (".pcap", ".gz", ".log") and "json" not in path.name
    ]
    options = ScanOptions(asn_db=geo / "asn.mmdb", country_db=geo / "geo-whois-asn-country.mmdb")
    together = pipeline.scan(files, options).findings
    assert [one.name for one in together if one.verdict in FLUX_VERDICTS] == []


@needs_shared_data
def test_no_household_capture_alone_has_flux() -> None:
    geo = SHARED_DATA / "geo"
    options = ScanOptions(asn_db=geo / "asn.mmdb", country_db=geo / "geo-whois-asn-country.mmdb")
    for path in sorted((SHARED_DATA / "benign/iot").glob("*.pcap")):
        assert not [one for one in pipeline.scan([path], options).findings if one.is_flux], path


def test_without_an_as_table_nothing_is_called_flux(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("unflux.enrich.tables.OWN_TABLES", tmp_path)
    monkeypatch.setattr("unflux.enrich.tables.DIRECTORIES", ())
    seen = [(300 * number, wire) for number, wire in enumerate(flux_answers(12))]
    options = ScanOptions(min_score=0)
    result = pipeline.scan([capture(tmp_path / "a.pcap", seen)], options)
    assert [one.is_flux for one in result.findings] == [False]
    assert any("origin AS" in spot for spot in result.summary["blind_spots"])


def test_seen_once_and_narrow_is_insufficient(tmp_path: Path, lab_tables) -> None:
    path = capture(tmp_path / "a.pcap", [(0, a_response("a.test.", 60, ["198.18.1.1"]))])
    assert judge(path, lab_tables)["a.test"].verdict == "insufficient"


def test_static_names_are_not_flux(tmp_path: Path, lab_tables) -> None:
    wire = a_response("a.test.", 300, ["198.18.1.1", "198.18.1.2"])
    path = capture(tmp_path / "a.pcap", [(300 * number, wire) for number in range(6)])
    finding = judge(path, lab_tables)["a.test"]
    assert (finding.verdict, finding.agent_list) == ("not_flux", [])


def test_rotation_over_networks_is_single_flux(tmp_path: Path, lab_tables) -> None:
    seen = [(300 * number, wire) for number, wire in enumerate(flux_answers(12))]
    finding = judge(capture(tmp_path / "a.pcap", seen), lab_tables)["flux.test"]
    assert (finding.verdict, finding.confidence) == ("single_flux", "high")
    assert all(agent.evidence == "rotated" for agent in finding.agent_list)
    assert finding.reasons[0].feature == "n_networks"


def drawn(name: str, n: int, *, step_s: int = 600, k: int = 6) -> list[tuple[float, bytes]]:
    """Answers of k hosts at random out of a list of 150 that stays, each in a network of its own."""
    rng = np.random.default_rng(7)
    return [
        (
            step_s * number,
            a_response(name, 300, [f"198.18.{host}.9" for host in rng.choice(150, k, False)]),
        )
        for number in range(n)
    ]


def test_flux_that_may_be_a_pool_of_volunteers_is_of_low_confidence_and_not_for_long(
    tmp_path: Path, lab_tables
) -> None:
    early = judge(capture(tmp_path / "early.pcap", drawn("pool.test.", 6)), lab_tables)["pool.test"]
    assert (early.verdict, early.confidence) == ("single_flux", "low")
    later = judge(capture(tmp_path / "later.pcap", drawn("pool.test.", 48)), lab_tables)
    assert later["pool.test"].verdict == "ambiguous"
    matching = [one.name for one in later["pool.test"].benign_explanations if one.match]
    assert matching == ["volunteer_pool"]


def test_a_parked_name_that_wakes_is_flux_though_most_answers_were_the_parked_one(
    tmp_path: Path, lab_tables
) -> None:
    parked = [
        (300 * number, a_response("flux.test.", 300, ["198.19.7.1"])) for number in range(100)
    ]
    awake = [(300 * (100 + n), wire) for n, wire in enumerate(flux_answers(12))]
    finding = judge(capture(tmp_path / "a.pcap", parked + awake), lab_tables)["flux.test"]
    assert finding.verdict == "single_flux"
    few = judge(capture(tmp_path / "b.pcap", parked + awake[:3]), lab_tables)["flux.test"]
    assert few.verdict == "ambiguous"
    assert "mixed_answers" in [one.name for one in few.benign_explanations if one.match]


def test_agents_of_two_flux_names_are_shared(tmp_path: Path, lab_tables) -> None:
    seen = []
    for number in range(12):
        hosts = [f"198.18.{(number * 7 + place) % 250}.9" for place in range(10)]
        seen += [
            (300 * number, a_response("one.test.", 300, hosts)),
            (300 * number + 1, a_response("two.test.", 300, hosts)),
        ]
    found = judge(capture(tmp_path / "a.pcap", seen), lab_tables)
    assert {agent.evidence for agent in found["one.test"].agent_list} == {"shared"}


def test_a_cdn_in_one_network_is_not_flux(tmp_path: Path, lab_tables) -> None:
    seen = [
        (60 * number, a_response("c.test.", 20, [f"198.18.1.{number * 4 % 250 + place}" for place in (1, 2, 3, 4)]))
        for number in range(30)
    ]  # fmt: skip
    finding = judge(capture(tmp_path / "a.pcap", seen), lab_tables)["c.test"]
    assert finding.verdict == "not_flux"
    assert "cdn" in [one.name for one in finding.benign_explanations if one.match]


def test_rotating_name_servers_alone_are_ns_flux(tmp_path: Path, lab_tables) -> None:
    seen = []
    for number in range(8):
        glue = [
            (f"ns{host}.a.test.", 300, "A", [f"198.18.{number * 4 + host}.1"]) for host in range(4)
        ]
        wire = response(
            "www.a.test.",
            answer=[("www.a.test.", 300, "A", ["198.19.200.1"])],
            authority=[("a.test.", 300, "NS", [f"ns{host}.a.test." for host in range(4)])],
            additional=glue,
        )
        seen.append((600 * number, wire))
    finding = judge(capture(tmp_path / "a.pcap", seen), lab_tables)["www.a.test"]
    assert finding.verdict == "ns_flux"
    assert {reason.feature for reason in finding.reasons} >= {"ns_networks", "ns_turnover_ratio"}


def test_baselines_say_what_their_formulas_say(tmp_path: Path, lab_tables) -> None:
    # 8 addresses in 8 ASes: Holz 1.32·8 + 18.54·8 = 158.9 > 142.38; anomalous-dns the same (·8/8).
    eight = [f"198.18.{host}.1" for host in range(8)]
    # 10 addresses in 8 ASes: 161.5 is over; ·8/10 = 129.2 is not.
    ten = [*eight, "198.18.0.2", "198.18.1.2"]
    seen = [
        (0, a_response("eight.test.", 300, eight)),
        (1, a_response("ten.test.", 300, ten)),
        (2, a_response("long.test.", 1800, eight)),
    ]
    path = capture(tmp_path / "a.pcap", seen)
    verdicts = {
        detector: {name: one.verdict for name, one in judge(path, lab_tables, detector).items()}
        for detector in ("holz2008", "anomalous_dns")
    }
    assert verdicts["holz2008"] == {
        "eight.test": "single_flux",
        "ten.test": "single_flux",
        "long.test": "not_flux",
    }
    assert verdicts["anomalous_dns"] == {
        "eight.test": "single_flux",
        "ten.test": "not_flux",
        "long.test": "not_flux",
    }


@pytest.mark.parametrize("name", ["score.json", "trained.json"])
def test_what_is_learned_is_learned_from_the_training_split(name: str) -> None:
    card = json.loads((Path(detect.__file__).parent / name).read_text())["card"]
    assert card["trained_on"].startswith("unflux lab synth medium --split train, seed 1, ")


def test_an_unknown_detector_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="known ones: unflux"):
        detect.by_id("oracle")


def judged(detector_id: str, **values: object) -> tuple[str, float]:
    """Verdict and score of one row of features."""
    row = {
        "n_addresses": 1, "n_asns": 1, "n_prefixes": 1, "prefix_ratio": 1.0, "ttl_max_s": 300,
        "answers_max": 1, "n_fresh": 10, "growth_events": 0, "n_networks": 1, "n_countries": 1,
        "n_subnets": 1, "n_ns": 2, "address_distance": None, "soa_retry_s": None, "ns_asns": 1,
        "ns_networks": 1, "ns_address_retention": 1.0, "activity_10min": 1,
        "cluster_addresses": 1, "cluster_names": 1, "cluster_ttl_s": 300.0, "cluster_reach": 1,
        "cluster_prefix_ratio": 1.0, "cluster_entropy_ratio": 1.0, "cluster_growth_ratio": 0.1,
        "tz_entropy_bits": None,
    } | values  # fmt: skip
    table = detect.by_id(detector_id).judge(pa.Table.from_pylist([row]))
    return table.column("verdict")[0].as_py(), table.column("score")[0].as_py()


def test_stalmans_by_hand() -> None:
    # 1.32·2 + 18.54·2 + 5 = 44.72 < 50; with three of each 1.32·3 + 18.54·3 + 5 = 64.58.
    assert judged("stalmans", n_addresses=2, n_asns=2)[0] == "not_flux"
    verdict, score = judged("stalmans", n_addresses=3, n_asns=3)
    assert (verdict, score) == ("single_flux", pytest.approx(64.58 / 114.58, abs=1e-5))
    assert judged("stalmans", n_addresses=3, n_asns=None)[0] == "insufficient"


def test_fluxor_by_hand() -> None:
    # At the flux means: the squares of flux vanish, those of benign are
    # ((98.13-2.86)/3.89)², ((261.49-4592.53)/7668.74)², ((63.75-1.27)/0.65)², ((38.36-1.11)/0.36)².
    at_means = {"n_addresses": 98, "ttl_max_s": 261, "n_prefixes": 64, "n_asns": 38}
    assert judged("fluxor", **at_means) == ("single_flux", 1.0)
    assert judged("fluxor", n_addresses=3, ttl_max_s=4600)[0] == "not_flux"


def test_perdisci_filters_by_hand() -> None:
    wide = {"n_addresses": 12, "answers_max": 5, "prefix_ratio": 0.9}
    assert judged("perdisci_filters", **wide)[0] == "single_flux"  # F1, and |R| >= 10
    assert judged("perdisci_filters", **wide | {"ttl_max_s": 10801})[0] == "not_flux"  # F1: TTL
    assert judged("perdisci_filters", **wide | {"answers_max": 2})[0] == "not_flux"  # F1: |P|
    still = wide | {"n_fresh": 101, "prefix_ratio": 0.4}
    assert judged("perdisci_filters", **still)[0] == "not_flux"  # F2: seen often, hardly grew
    assert judged("perdisci_filters", **still | {"growth_events": 3})[0] == "single_flux"


def test_the_rule_of_thumb_by_hand() -> None:
    assert judged("cisa_rule", n_addresses=10)[0] == "single_flux"
    assert judged("cisa_rule", n_addresses=9)[0] == "not_flux"
    assert judged("cisa_rule", n_addresses=10, ttl_max_s=301) == ("not_flux", 0.0)


def test_stalmans_count_by_hand() -> None:
    # 3 A + 2 NS + 1.5·3 /24 + 1.5·3 ASN + 1 + 2·1 = 17; with two countries 19.
    three = {"n_addresses": 3, "n_subnets": 3, "n_asns": 3}
    assert judged("stalmans_count", **three) == ("not_flux", pytest.approx(17 / 35, abs=1e-5))
    assert judged("stalmans_count", **three, n_countries=2)[0] == "single_flux"


def test_nazario_by_hand() -> None:
    # TTL 300, six addresses, far apart, three ASes: four points. A fourth name server: five.
    four = {"n_addresses": 6, "address_distance": 70_000.0, "n_asns": 3}
    assert judged("nazario2008", **four) == ("not_flux", pytest.approx(4 / 9, abs=1e-5))
    assert judged("nazario2008", **four, n_ns=4)[0] == "single_flux"
    assert judged("nazario2008", **four, soa_retry_s=600)[0] == "single_flux"


def test_caglayan_by_hand() -> None:
    assert judged("caglayan2009", n_networks=6)[0] == "not_flux"
    assert judged("caglayan2009", n_networks=7) == ("single_flux", pytest.approx(7 / 13, abs=1e-5))
    moving = {"ns_networks": 7, "ns_address_retention": 0.5}
    assert judged("caglayan2009", **moving)[0] == "ns_flux"
    assert judged("caglayan2009", **moving, n_networks=7)[0] == "double_flux"


def test_the_tree_of_fluxbuster_by_hand() -> None:
    grown = {"cluster_addresses": 40, "cluster_growth_ratio": 0.5, "cluster_reach": 109}
    assert judged("fluxbuster", **grown)[0] == "single_flux"  # the branch of 926 of 1,020
    assert judged("fluxbuster", **grown | {"cluster_addresses": 29})[0] == "not_flux"
    assert judged("fluxbuster", **grown | {"cluster_growth_ratio": 0.12})[0] == "not_flux"
    assert judged("fluxbuster", **grown | {"cluster_ttl_s": 20.0})[0] == "not_flux"
    narrow = grown | {"cluster_entropy_ratio": 0.4}
    assert judged("fluxbuster", **narrow)[0] == "not_flux"
    assert judged("fluxbuster", **narrow | {"cluster_reach": 1221})[0] == "single_flux"


def test_a_trained_tree_is_read_as_data() -> None:
    from unflux.detect.trained import tree_sql

    tree = {"feature": "x", "at": 2.5, "low": {"flux_ratio": 0.0}, "high": {"flux_ratio": 0.9}}
    assert tree_sql(tree) == "CASE WHEN x <= 2.5 THEN 0.0 ELSE 0.9 END"


def test_flux_in_one_network_needs_other_domains_and_hosts_that_are_used_up(
    tmp_path: Path, lab_tables
) -> None:
    """Six domains draw two addresses at a time from a list of one network that moves on."""

    def world(step: int) -> list[tuple[float, bytes]]:
        return [
            (
                300 * number + domain,
                a_response(
                    f"d{domain}.test.",
                    60,
                    [
                        f"198.18.7.{1 + (number * step // 4 + (number * 7 + domain * 3 + k * 5) % 12) % 250}"
                        for k in range(2)
                    ],
                ),
            )
            for number in range(60)
            for domain in range(6)
        ]

    moving = judge(capture(tmp_path / "moving.pcap", world(4)), lab_tables)
    staying = judge(capture(tmp_path / "staying.pcap", world(0)), lab_tables)
    assert {moving[f"d{n}.test"].verdict for n in range(6)} == {"single_flux"}
    assert {staying[f"d{n}.test"].verdict for n in range(6)} == {"not_flux"}
    assert moving["d0.test"].pool_domains == 6
    assert "pool_domains" in {reason.feature for reason in moving["d0.test"].reasons}


def test_tenants_of_a_cloud_and_a_fleet_are_not_flux_though_their_hosts_come_and_go(
    tmp_path: Path, lab_tables
) -> None:
    """Eight domains in one network, two addresses of those that are up; hosts are up in turns."""

    def world(name: str, hosts: int, apart: int) -> dict[str, detect.Finding]:
        seen = []
        for number in range(96):
            up = [host for host in range(250) if (number + 11 * host) % 32 < 12]
            for domain in range(8):
                of = range(domain * apart, domain * apart + hosts)
                there = [host for host in up if host in of]
                two = {there[(number * 7 + domain * 3 + k * 5) % len(there)] for k in range(2)}
                wire = a_response(f"d{domain}.test.", 60, [f"198.18.7.{1 + host}" for host in two])
                seen.append((450 * number + domain, wire))
        return judge(capture(tmp_path / f"{name}.pcap", seen), lab_tables)

    def verdicts(findings: dict[str, detect.Finding]) -> set[str]:
        return {findings[f"d{domain}.test"].verdict for domain in range(8)}

    rented = world("rented", 60, 0)
    tenants = world("tenants", 40, 28)  # each meets its neighbours on 12 hosts
    fleet = world("fleet", 12, 0)
    assert {found["d3.test"].pool_domains for found in (rented, tenants, fleet)} == {8}
    assert verdicts(rented) == {"single_flux"}
    assert verdicts(tenants) == {"not_flux"}
    assert verdicts(fleet) == {"not_flux"}


def test_periods_stand_in_findings(tmp_path: Path, lab_tables) -> None:
    seen = [(300 * number, wire) for number, wire in enumerate(flux_answers(12))]
    finding = judge(capture(tmp_path / "a.pcap", seen), lab_tables)["flux.test"]
    assert finding.rotation_period_s == pytest.approx(300, rel=0.1)
    assert finding.ns_period_s is None
    assert any("change about every" in reason.says for reason in finding.reasons)
