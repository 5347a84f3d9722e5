"""dnspython as a third opinion: what it composes is what the core reads."""

from __future__ import annotations

from pathlib import Path

import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import udp_frame, write_pcap
from unflux import _native
from unflux.sources.base import Books, ReadOptions
from unflux.sources.pcap import Pcap

LABEL = st.binary(min_size=1, max_size=12)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: dns.name.Name([*labels, b""]))
RDATA = st.one_of(
    st.tuples(st.just("A"), st.ip_addresses(v=4).map(str)),
    st.tuples(st.just("AAAA"), st.ip_addresses(v=6).map(str)),
    st.tuples(st.sampled_from(["NS", "CNAME", "PTR", "DNAME"]), NAME.map(str)),
    st.tuples(st.just("MX"), st.tuples(st.integers(0, 65_535), NAME).map(lambda t: f"{t[0]} {t[1]}")),
    st.tuples(st.just("SRV"), NAME.map(lambda name: f"1 2 53 {name}")),
    st.tuples(st.just("SOA"), st.tuples(NAME, NAME).map(lambda t: f"{t[0]} {t[1]} 1 2 3 4 5")),
    st.tuples(st.just("TYPE65280"), st.binary(max_size=20).map(
        lambda raw: f"\\# {len(raw)} {raw.hex()}".rstrip())),
)  # fmt: skip
RECORD = st.tuples(NAME, st.integers(0, 2**31 - 1), RDATA)

HTTPS = [
    '1 . alpn="h3,h2" ipv4hint="198.18.0.1,198.18.0.2" ipv6hint="2001:db8::1"',
    '2 svc.test. mandatory="port" port="8443"',
    '1 . alpn="a\\\\,b" key65333="x y"',
    "0 other.test.",
]
TXT = ['"plain"', '"two" "pieces"', '"quote \\" and \\\\ and \\200"', '""']


def decode(wire: bytes, path: Path) -> tuple[list[dict], Books]:
    write_pcap(path, [(1_790_000_000.5, udp_frame(wire))])
    rows: list[dict] = []
    books, _ = Pcap().read_answers(
        path, lambda batch: rows.extend(batch.to_pylist()), 0, ReadOptions(), _native.Progress()
    )
    return rows, books


def same(row: dict, owner: str, ttl: int, rdata: dns.rdata.Rdata) -> bool:
    """Our text, read by dnspython, is the record that dnspython composed."""
    again = dns.rdata.from_text(dns.rdataclass.IN, rdata.rdtype, row["rdata"])
    return (
        row["owner"] == owner.lower()
        and row["ttl"] == ttl
        and row["rdtype"] == dns.rdatatype.to_text(rdata.rdtype)
        and again.to_digestable() == rdata.to_digestable()
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sections=st.lists(st.lists(RECORD, max_size=4), min_size=3, max_size=3), qname=NAME)
def test_what_dnspython_composes_is_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, sections: list, qname: dns.name.Name
) -> None:
    message = dns.message.make_response(dns.message.make_query(qname, "A"))
    expected = []
    parts = (message.answer, message.authority, message.additional)
    for section, records in zip(parts, sections, strict=True):
        for owner, ttl, (rdtype, text) in records:
            rrset = dns.rrset.from_text(owner, ttl, "IN", rdtype, text)
            section.append(rrset)
            expected.append((str(owner), ttl, rrset[0]))
    wire = message.to_wire(max_size=65_535)
    rows, books = decode(wire, tmp_path_factory.mktemp("wire") / "t.pcap")
    assert books.decoded == 1
    found = [row for row in rows if row["owner"] is not None]
    assert len(found) == len(expected)
    assert rows[0]["qname"] == str(qname).lower()
    for row, record in zip(found, expected, strict=True):
        assert same(row, *record)


@pytest.mark.parametrize(("rdtype", "texts"), [("HTTPS", HTTPS), ("TXT", TXT)])
def test_types_with_a_shape_of_their_own_are_shown_as_dnspython_reads_them(
    tmp_path: Path, rdtype: str, texts: list[str]
) -> None:
    message = dns.message.make_response(dns.message.make_query("a.test.", rdtype))
    for text in texts:
        message.answer.append(dns.rrset.from_text("a.test.", 60, "IN", rdtype, text))
    rows, _ = decode(message.to_wire(max_size=65_535), tmp_path / "t.pcap")
    assert len(rows) == len(texts)
    for row, rrset in zip(rows, message.answer, strict=True):
        assert same(row, "a.test.", 60, rrset[0])


@settings(max_examples=300, deadline=None)
@given(wire=st.binary(max_size=300))
def test_any_payload_is_one_item_in_the_books(
    tmp_path_factory: pytest.TempPathFactory, wire: bytes
) -> None:
    _, books = decode(wire, tmp_path_factory.mktemp("wire") / "t.pcap")
    assert books.items == 1
    assert books.balanced
    assert books.error is None
