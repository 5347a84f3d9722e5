"""The same traffic gives the same sightings in whichever format it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import writers
from conftest import ROOT, response
from unflux import sightings
from unflux.sources.base import ReadOptions
from writers import Seen

START_US = 1_790_000_000_250_000
SOA = "ns1.flux.test. host.flux.test. 7 3600 600 86400 60"
DELEGATION = [("flux.test.", 3600, "NS", ["ns1.flux.test.", "ns2.flux.test."])]
GLUE = [
    ("ns1.flux.test.", 3600, "A", ["198.18.9.1"]),
    ("ns2.flux.test.", 3600, "AAAA", ["2001:db8::53"]),
]


def traffic() -> list[Seen]:
    """Several names, a chain, AAAA, a delegation with glue, failures, TTLs that age, two hours."""
    addresses = ["198.18.0.1", "198.18.0.2", "198.18.1.3"]
    answers = [
        response("www.flux.test.", "A", [("www.flux.test.", 300, "A", addresses)], DELEGATION, GLUE),
        response("www.flux.test.", "A", [("www.flux.test.", 240, "A", addresses)]),
        response("www.flux.test.", "A", [("www.flux.test.", 300, "A", ["198.18.7.7"])]),
        response(
            "shop.a.test.",
            "A",
            [
                ("shop.a.test.", 600, "CNAME", ["edge.b.test."]),
                ("edge.b.test.", 60, "CNAME", ["pop.c.test."]),
                ("pop.c.test.", 20, "A", ["198.19.0.1", "198.19.0.2"]),
            ],
        ),
        response("six.a.test.", "AAAA", [("six.a.test.", 60, "AAAA", ["2001:db8::1", "2001:db8::2"])]),
        response(
            "gone.flux.test.", "A", rcode="NXDOMAIN", authority=[("flux.test.", 60, "SOA", [SOA])]
        ),
        response("broken.test.", "A", rcode="SERVFAIL"),
        response("none.a.test.", "A", authority=[("flux.test.", 60, "SOA", [SOA])]),
        response("flux.test.", "NS", DELEGATION, additional=GLUE),
        response("a.test.", "MX", [("a.test.", 60, "MX", ["10 mx.a.test."])]),
        response("a.test.", "TXT", [("a.test.", 60, "TXT", ['"v=spf1 -all"'])]),
        response("1.0.18.198.in-addr.arpa.", "PTR", [("1.0.18.198.in-addr.arpa.", 60, "PTR", ["a.test."])]),
        response("www.flux.test.", "A", [("www.flux.test.", 300, "A", addresses)]),
    ]  # fmt: skip
    step_us = 61_000_001
    seen = [
        Seen(START_US + number * step_us, wire, f"198.19.254.{1 + number % 3}")
        for number, wire in enumerate(answers)
    ]
    return [*seen[:-1], Seen(START_US + 3_600_000_000, answers[-1], "198.19.254.1")]


# What each format cannot show, as data: docs/sources/README.md says the same in words.
NOTHING: dict[str, Any] = {}
NO_TXT = {"types": {"TXT"}}
EVE = {"types": {"TXT", "MX"}}
FORMATS: dict[str, dict[str, Any]] = {
    "pcap": NOTHING,
    "pcapng": NOTHING,
    "dnstap": NOTHING,
    "zeek_tsv": {"types": {"TXT", "MX"}, "sections": {"authority", "additional"}},
    "zeek_json": {"types": {"TXT", "MX"}, "sections": {"authority", "additional"}},
    "eve_v3": EVE,
    "eve_v2": EVE | {"sections": {"additional"}},
    "eve_v1": {"types": {"TXT", "MX", "SOA"}, "sections": {"additional"}, "no_questions": True},
    "dnscollector": NO_TXT,
    "dnscollector_flat": NO_TXT,
    "dnsmonster": NO_TXT,
    "dnsmonster_parquet": {"sections": {"answer", "authority", "additional"}, "no_answers": True},
}


def visible(seen: list[Seen], lost: dict[str, Any]) -> list[Seen]:
    """The same responses without what a format loses."""
    kept = []
    for one in seen:
        message = one.message
        for name in ("answer", "authority", "additional"):
            rrsets = getattr(message, name)
            whole = [
                rrset
                for rrset in rrsets
                if rrset.rdtype.name not in lost.get("types", ())
                and name not in lost.get("sections", ())
            ]
            rrsets[:] = whole
        kept.append(Seen(one.time_us, message.to_wire(max_size=65_535), one.client))
    return kept


def reduced(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    history = sightings.reduce([path], ReadOptions(vantage="client"))
    books = history.inputs[0].books
    assert (books.error, books.malformed, books.balanced) == (None, {}, True)
    keys = ("owner", "rdtype", "rdata", "bucket")
    rows = history.sightings_table().to_pylist()
    activity = history.activity_table().to_pylist()
    for row in activity:
        row["clients"].sort()
    return (
        sorted(rows, key=lambda row: [row[key] for key in keys]),
        sorted(activity, key=lambda row: [row[key] for key in ("owner", "rdtype", "bucket")]),
    )


FAILURES = ("nxdomain", "servfail", "refused", "nodata", "other_failures")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_sightings_of_the_capture(name: str, tmp_path: Path) -> None:
    lost = FORMATS[name]
    writers.pcap(tmp_path / "reference", visible(traffic(), lost))
    getattr(writers, name)(tmp_path / "log", traffic())
    expected, expected_activity = reduced(tmp_path / "reference")
    found, activity = reduced(tmp_path / "log")
    assert found == expected, "sightings differ"
    # Where an answer is lost, its response claims nothing: the capture without it says "no data".
    lost_questions = {
        (one.qname + ".", one.qtype)
        for one in traffic()
        if (one.qtype in lost.get("types", ()) and one.section("answer"))
        or ("no_answers" in lost and one.rcode == "NOERROR")
    }
    expected_activity = [
        row for row in expected_activity if (row["owner"], row["rdtype"]) not in lost_questions
    ]
    if "no_questions" in lost:
        expected_activity = [
            row for row in expected_activity if not any(row[kind] for kind in FAILURES)
        ]
    assert activity == expected_activity, "activity differs"


@pytest.mark.parametrize("name", FORMATS)
def test_the_table_of_the_docs_says_what_each_format_loses(name: str) -> None:
    page = (ROOT / "docs" / "sources" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    for word in {*FORMATS[name].get("types", ()), *FORMATS[name].get("sections", ())}:
        assert word in row, f"{word} is not in the row of {name}"
