"""Features by hand: every expected number shows its arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from conftest import CLIENT, a_response, response, udp_frame, write_pcap
from unflux import enrich, features, sightings
from unflux.features import FEATURES

START = 1_790_000_000.0 - 1_790_000_000 % 3600


@pytest.fixture
def table(tmp_path: Path, lab_tables: tuple[Path, Path]):
    """Features of a capture by name."""

    def compute(seen: list[tuple[float, bytes]]) -> dict[str, dict]:
        frames = [(START + at, udp_frame(wire, to=CLIENT)) for at, wire in seen]
        history = sightings.reduce([write_pcap(tmp_path / "a.pcap", frames)])
        computed = features.compute(history, enrich.load(*lab_tables))
        return {row["name"]: row for row in computed.table.to_pylist()}

    return compute


def test_the_answer_layer(table) -> None:
    # Three answers of two addresses, 300 s apart: {1,2} → {2,3} → {2,3}; every host in its own /24.
    one, two, three = "198.18.1.1", "198.18.2.1", "198.19.3.1"
    seen = [
        (0, a_response("a.test.", 300, [one, two])),
        (300, a_response("a.test.", 300, [two, three])),
        (600, a_response("a.test.", 300, [two, three])),
    ]
    row = table(seen)["a.test."]
    assert (row["n_addresses"], row["n_asns"], row["n_prefixes"]) == (3, 3, 3)
    assert (row["n_fresh"], row["n_pairs"]) == (3, 2)
    assert row["retention"] == (1 + 2) / (2 + 2)
    assert row["change_ratio"] == 1 / 2
    assert row["novelty_ratio"] == 1 / 4  # one new of the four slots after the first answer
    assert row["growth_events"] == 1
    assert row["growth_ratio"] == 3 / 3
    assert row["answers_per_response"] == 2
    assert row["fluxiness"] == 3 / 2
    assert row["network_ratio"] == (3 - 1) / (3 - 1)
    assert row["asn_concentration"] == pytest.approx(3 * (1 / 3) ** 2)
    assert row["prefix_entropy_ratio"] == pytest.approx(1)  # three /26, one address in each
    assert row["ttl_max_s"] == 300
    assert row["duration_s"] == 600
    assert row["new_per_hour"] == 1 / (600 / 3600)


def test_failures(table) -> None:
    seen = [
        (0, a_response("a.test.", 60, ["198.18.1.1"])),
        (100, response("a.test.", rcode="SERVFAIL")),
        (200, response("a.test.", rcode="SERVFAIL")),
        (300, response("gone.test.", rcode="NXDOMAIN")),
    ]
    rows = table(seen)
    assert rows["a.test."]["fail_ratio"] == 2 / 3
    assert rows["gone.test."]["fail_ratio"] == 1
    assert rows["gone.test."]["n_addresses"] == 0


def test_sharing_counts_registered_domains(table) -> None:
    # 198.18.1.1 serves a.test, www.a.test (same domain) and b.test: two domains. 198.18.2.1: one.
    shared, own = "198.18.1.1", "198.18.2.1"
    seen = [
        (0, a_response("a.test.", 60, [shared, own])),
        (1, a_response("www.a.test.", 60, [shared])),
        (2, a_response("b.test.", 60, [shared])),
    ]
    row = table(seen)["a.test."]
    assert (row["shared_ratio"], row["max_domains_per_address"]) == (1 / 2, 2)
    assert row["address_idf"] == pytest.approx((math.log(2 / 2) + math.log(2 / 1)) / 2)


def test_the_name_server_layer(table) -> None:
    # ns1 moves from one network to another between two responses; ns2 stays and is a web host too.
    def delegated(at: int, ns1: str) -> tuple[float, bytes]:
        return at, response(
            "www.a.test.",
            answer=[("www.a.test.", 60, "A", ["198.18.2.1"])],
            authority=[("a.test.", 600, "NS", ["ns1.a.test.", "ns2.a.test."])],
            additional=[
                ("ns1.a.test.", 600, "A", [ns1]),
                ("ns2.a.test.", 600, "A", ["198.18.2.1"]),
            ],
        )

    row = table([delegated(0, "198.18.1.1"), delegated(1200, "198.18.7.1")])["www.a.test."]
    assert row["zone"] == "a.test."
    assert (row["n_ns"], row["ns_change_ratio"]) == (2, 0)
    assert (row["ns_addresses"], row["ns_networks"]) == (3, 3)
    assert row["ns_addresses_per_host"] == 3 / 2
    assert row["ns_address_retention"] == (0 + 1) / (1 + 1)
    assert row["web_dns_overlap"] == 1 / 3
    assert row["ns_address_ttl_max_s"] == 600


def test_a_delegation_of_the_suffix_is_not_the_names_own(table) -> None:
    wire = response(
        "www.a.co.uk.",
        answer=[("www.a.co.uk.", 60, "A", ["198.18.2.1"])],
        authority=[("uk.", 600, "NS", ["nsa.nic.uk."])],
    )
    assert table([(0, wire)])["www.a.co.uk."]["n_ns"] is None


def test_special_addresses_are_decoys_unless_a_table_maps_them(table) -> None:
    row = table([(0, a_response("a.test.", 60, ["198.18.1.1", "10.0.0.1"]))])["a.test."]
    assert row["special_ratio"] == 1 / 2


def test_names_of_features_are_unique_and_documented() -> None:
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
    for feature in FEATURES:
        assert feature.meaning and feature.unit and feature.range and feature.source


def test_how_long_addresses_stay(table) -> None:
    # Ten hours, an answer of five each hour: four hosts that stay, and one that is another every
    # two hours (seen at t and t + 1 h). Whole time: 9 h.
    stay = [f"198.18.{host}.1" for host in range(1, 5)]
    seen = [
        (3600 * hour, a_response("a.test.", 60, [*stay, f"198.19.{hour // 2}.1"]))
        for hour in range(10)
    ]
    row = table(seen)["a.test."]
    # Those that stay: 9 h of 9 h * 9/11 expected. The five others: 1 h of 9 h * 1/3 expected.
    assert row["n_returning"] == 9
    assert row["dwell_ratio"] == pytest.approx((4 * 9 + 5 * 1) / (4 * 9 * 9 / 11 + 5 * 9 / 3))
    assert row["pool_ratio"] == 9 / 5


def test_an_hour_is_too_short_to_tell_who_stays(table) -> None:
    seen = [
        (600 * n, a_response("a.test.", 60, [f"198.18.{host}.1" for host in range(5)]))
        for n in range(5)
    ]
    assert table(seen)["a.test."]["dwell_ratio"] is None


def test_siblings_are_other_registered_domains_with_the_same_addresses(table) -> None:
    hosts = [f"198.18.{host}.1" for host in range(20)]
    seen = [
        (0, a_response("www.a.test.", 60, hosts[:10])),
        (1, a_response("b.a.test.", 60, hosts[:10])),  # the same registered domain: no sibling
        (2, a_response("c.test.", 60, hosts[:8])),  # 8 of a's 10
        (3, a_response("d.test.", 60, hosts[8:20])),  # 2 of a's 10, and 2 of its own 12
    ]
    rows = table(seen)
    assert (rows["www.a.test."]["sibling_overlap"], rows["www.a.test."]["n_siblings"]) == (0.8, 1)
    assert rows["c.test."]["sibling_overlap"] == 1
    assert rows["d.test."]["n_siblings"] == 0


def test_an_alias_has_the_addresses_at_its_end(table) -> None:
    def chain(target: str) -> bytes:
        links = [("www.a.test.", 300, "CNAME", ["b.test."]), ("b.test.", 60, "CNAME", [target])]
        addresses = [f"198.18.{host}.1" for host in range(6)]
        return response("www.a.test.", "A", [*links, (target, 20, "A", addresses)])

    rows = table([(0, chain("c.test.")), (100, chain("c.test."))])
    alias, end = rows["www.a.test."], rows["c.test."]
    assert end["n_addresses"] == alias["n_addresses"] == 6
    assert alias["address_name_id"] == end["name_id"] != alias["name_id"]
    assert alias["n_cnames"] > 0
    assert end["address_name_id"] == end["name_id"]


def test_an_alias_of_itself_ends(table) -> None:
    loop = [("a.test.", 300, "CNAME", ["b.test."]), ("b.test.", 300, "CNAME", ["a.test."])]
    rows = table([(0, response("a.test.", "A", loop))])
    assert rows["a.test."]["n_addresses"] == 0
