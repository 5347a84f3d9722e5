"""dnstap: dnstap-pb (Google's protocol buffers) and dnspython as second opinions."""

from __future__ import annotations

import struct
from pathlib import Path

import dns.exception
import dns.message
import pytest
from dnstap_pb import Dnstap as Event
from hypothesis import given, settings
from hypothesis import strategies as st

from captures import frames_of, write_dnstap
from conftest import SHARED_DATA, a_response, flux_answers, needs_shared_data
from unflux import _native, sightings
from unflux.sources.base import Books, ReadOptions
from unflux.sources.dnstap import Dnstap

KINDS = {
    "AUTH_RESPONSE": "upstream",
    "RESOLVER_RESPONSE": "upstream",
    "CLIENT_RESPONSE": "client",
    "FORWARDER_RESPONSE": "client",
    "STUB_RESPONSE": "client",
    "TOOL_RESPONSE": "unknown",
}
START = 1_790_000_000


def event(
    wire: bytes, kind: str = "CLIENT_RESPONSE", *, second: int = START, identity: bytes = b"r1"
) -> bytes:
    one = Event(type=Event.MESSAGE, identity=identity, version=b"a server 1.0")
    message = one.message
    message.type = getattr(type(message), kind)
    message.socket_family, message.socket_protocol = 1, 1
    message.query_address, message.response_address = (
        bytes([198, 18, 9, 9]),
        bytes([198, 18, 0, 53]),
    )
    message.query_port, message.response_port = 4711, 53
    message.query_time_sec, message.query_time_nsec = second, 1_000
    message.response_time_sec, message.response_time_nsec = second, 123_456_789
    message.response_message = wire
    return one.SerializeToString()


def answers(path: Path, **options: object) -> tuple[list[dict], Books]:
    rows: list[dict] = []
    read = ReadOptions(**options)  # type: ignore[arg-type]
    books, _ = Dnstap().read_answers(
        path, lambda batch: rows.extend(batch.to_pylist()), 0, read, _native.Progress()
    )
    assert books.balanced
    return rows, books


@pytest.mark.parametrize(("kind", "vantage"), KINDS.items())
def test_each_kind_of_message_has_its_vantage(tmp_path: Path, kind: str, vantage: str) -> None:
    wire = a_response("a.test.", 60, ["198.18.0.1"])
    [row], _ = answers(write_dnstap(tmp_path / "a", [event(wire, kind)]))
    assert (row["vantage"], row["sensor"]) == (vantage, "r1")
    assert (row["client"], row["server"]) == ("198.18.9.9", "198.18.0.53")
    assert row["ts"].timestamp() == START + 0.123456


def test_queries_and_updates_are_counted_and_left_out(tmp_path: Path) -> None:
    query = dns.message.make_query("a.test.", "A").to_wire()
    frames = [event(query, "CLIENT_QUERY"), event(query, "UPDATE_RESPONSE"), event(query)]
    rows, books = answers(write_dnstap(tmp_path / "a", frames))
    assert rows == []
    assert books.skipped["query"].count == 2
    assert books.skipped["other_message"].count == 1


def test_damaged_frames_are_counted_one_by_one(tmp_path: Path) -> None:
    good = event(a_response("a.test.", 60, ["198.18.0.1"]))
    no_message = Event(type=Event.MESSAGE).SerializePartialToString()
    frames = [good, good[:-1], b"\x07", no_message, good]
    _, books = answers(write_dnstap(tmp_path / "a", frames))
    assert books.decoded == 2
    assert books.malformed["protobuf"].count == 2
    assert books.malformed["missing_field"].count == 1


@given(st.binary(max_size=300), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_as_google_reads_them_or_counted(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    good = event(a_response("a.test.", 60, ["198.18.0.1"]))
    frame = good[:at] + noise + good[at:]
    _, books = answers(write_dnstap(tmp_path_factory.mktemp("d") / "a", [frame]))
    assert books.items == 1


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x00200000])
def test_a_frame_of_impossible_length_ends_the_reading(tmp_path: Path, length: int) -> None:
    path = write_dnstap(tmp_path / "a", [event(a_response("a.test.", 60, ["198.18.0.1"]))])
    with path.open("ab") as out:
        out.write(struct.pack(">I", length) + b"\0" * 20)
    _, books = answers(path)
    assert (books.decoded, books.malformed["record_length"].count) == (1, 1)
    assert "cannot be true" in (books.error or "")


def test_both_sides_of_a_resolver_stay_apart(tmp_path: Path) -> None:
    wires = flux_answers(3)
    frames = [event(wire, "RESOLVER_RESPONSE") for wire in wires]
    frames += [event(wire, "CLIENT_RESPONSE") for wire in wires]
    history = sightings.reduce([write_dnstap(tmp_path / "a", frames)])
    vantages = history.sightings_table().column("vantage").to_pylist()
    assert vantages.count("client") == vantages.count("upstream") > 10


@needs_shared_data
def test_real_files_say_what_dnstap_pb_and_dnspython_say() -> None:
    files = [
        SHARED_DATA / "formats/compactor/test-scripts__test.dnstap",
        SHARED_DATA / "formats/dns-collector/tests__testsdata__dnstap__dnstap.fstrm",
    ]
    n_responses = 0
    for path in files:
        rows, books = answers(path)
        expected = []
        for frame in frames_of(path):
            message = Event.FromString(frame).message
            if message.type % 2 or not message.response_message:
                continue
            try:
                parsed = dns.message.from_wire(message.response_message, ignore_trailing=True)
            except dns.exception.DNSException:
                continue
            n_responses += 1
            expected += [
                (rrset.name.to_text().lower(), rrset.ttl, rdata.to_text())
                for section in (parsed.answer, parsed.authority, parsed.additional)
                for rrset in section
                for rdata in rrset
            ]
        assert [
            (row["owner"], row["ttl"], row["rdata"]) for row in rows if row["owner"]
        ] == expected
        assert books.decoded + sum(tally.count for tally in books.malformed.values()) > 0
    assert n_responses == 5
