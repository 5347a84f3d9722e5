"""Formats: told by content, and the same traffic gives the same sightings whichever way."""

from __future__ import annotations

import gzip
import json
from ipaddress import ip_address
from pathlib import Path

import pyarrow as pa
import pytest

from conftest import (
    SHARED_DATA,
    a_response,
    needs_shared_data,
    response,
    udp_frame,
    write_pcap,
)
from unflux import sightings, sources
from unflux.sources.base import ReadOptions

ZEEK_TSV = """\
#separator \\x09
#set_separator	,
#empty_field	(empty)
#unset_field	-
#path	dns
#fields	ts	uid	id.orig_h	id.orig_p	id.resp_h	id.resp_p	query	qclass	qtype	rcode	TC	answers	TTLs
1790000000.250000	C1	198.19.254.1	4711	198.19.255.53	53	www.a.test	1	1	0	F	b.a.test,198.18.0.1,198.18.0.2	600.0,60.0,60.0
1790000001.000000	C2	198.19.254.2	4711	198.19.255.53	53	gone.test	1	1	3	F	-	-
1790000002.000000	C3	198.19.254.2	4711	198.19.255.53	53	slow.test	1	1	-	F	-	-
1790000003.000000	C4	198.19.254.2	4711	198.19.255.53	53	m.test	1	15	0	F	mx.m.test	60.0
1790000004.000000	C5	not-an-address	4711	198.19.255.53	53	a.test	1	1	0	F	198.18.0.1	60.0
too	short
"""


def rows(path: Path, **options: object) -> list[dict]:
    history = sightings.reduce([path], ReadOptions(**options))  # type: ignore[arg-type]
    keys = [(name, "ascending") for name in ("owner", "rdtype", "rdata", "bucket")]
    return history.sightings_table().sort_by(keys).to_pylist()


def books(path: Path) -> sources.Books:
    return sightings.reduce([path]).inputs[0].books


def test_zeek_rows_become_sightings(tmp_path: Path) -> None:
    path = tmp_path / "dns.log"
    path.write_text(ZEEK_TSV)
    found = [(row["owner"], row["rdtype"], row["rdata"], row["ttl_max"]) for row in rows(path)]
    assert found == [
        ("b.a.test.", "A", "198.18.0.1", 60),
        ("b.a.test.", "A", "198.18.0.2", 60),
        ("www.a.test.", "CNAME", "b.a.test.", 600),
    ]
    kept = books(path)
    assert kept.balanced
    assert (kept.items, kept.decoded) == (12, 3)
    assert kept.skipped["comment"].count == 6
    assert kept.skipped["unanswered_query"].first == 9
    assert kept.malformed["bad_field"].first == 11
    assert kept.malformed["field_count"].first == 12
    assert kept.records_left_out["rdata_cut_short_by_log"].first == 10


def test_gzip_makes_no_difference(tmp_path: Path) -> None:
    plain, packed = tmp_path / "dns.log", tmp_path / "dns.log.gz"
    plain.write_text(ZEEK_TSV)
    packed.write_bytes(gzip.compress(ZEEK_TSV.encode()))
    assert rows(plain) == rows(packed)
    good_row = ZEEK_TSV.splitlines()[6].replace("1790000000", "{}")
    many = "".join(good_row.format(1_790_000_000 + number) + "\n" for number in range(5000))
    packed.write_bytes(gzip.compress((ZEEK_TSV + many).encode())[:-20])
    cut = books(packed)
    assert cut.error is not None
    assert 3 < cut.decoded <= 5003
    assert cut.balanced


@needs_shared_data
def test_real_zeek_logs_say_the_same_in_tsv_and_json() -> None:
    folder = SHARED_DATA / "benign" / "zeek-competition"
    tsv, as_json = rows(folder / "dns.log.gz"), rows(folder / "dns.json.gz")
    assert len(tsv) > 3000
    assert tsv == as_json


@needs_shared_data
def test_every_small_zeek_log_is_read_and_balanced() -> None:
    files = [path for path in (SHARED_DATA / "benign/zeek-small").rglob("*dns*") if path.is_file()]
    history = sightings.reduce(files)
    assert len(history.inputs) > 70
    for one in history.inputs:
        assert one.source == "zeek", one.path
        assert one.books.balanced
        assert not one.books.malformed, one.path


def test_a_capture_and_its_zeek_log_agree(tmp_path: Path) -> None:
    capture = write_pcap(
        tmp_path / "a.pcap",
        [(1_790_000_000.25, udp_frame(a_response("a.test.", 60, ["198.18.0.1", "198.18.0.2"])))],
    )
    log = tmp_path / "dns.json"
    row = {
        "ts": 1790000000.25, "id.orig_h": "198.19.254.1", "id.resp_h": "198.19.255.53",
        "query": "A.test", "qclass": 1, "qtype_name": "A", "rcode_name": "NOERROR",
        "answers": ["198.18.0.1", "198.18.0.2"], "TTLs": [60.0, 60.0],
    }  # fmt: skip
    log.write_text(json.dumps(row) + "\n")
    assert rows(capture) == rows(log)


def test_cof_lines_become_history(tmp_path: Path) -> None:
    path = tmp_path / "pdns.ndjson"
    lines = [
        {"rrname": "A.test", "rrtype": "A", "rdata": ["198.18.0.1", "198.18.0.2"],
         "time_first": 1_790_000_000, "time_last": 1_790_900_000, "count": 12},
        {"rrname": "a.test.", "rrtype": "NS", "rdata": "ns.test.", "zone_time_first": 1_790_000_000,
         "zone_time_last": 1_790_000_000},
        {"rrname": "a.test.", "rrtype": "A", "rdata": "nonsense", "time_first": 1, "time_last": 1},
        {"rrname": "a.test.", "rrtype": "A", "rdata": "198.18.0.1", "time_first": 1},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    first, *_, ns = rows(path)
    assert (first["rdata"], first["count"], first["vantage"]) == ("198.18.0.1", 12, "history")
    assert first["ttl_max"] is None
    assert (first["time_last"] - first["time_first"]).total_seconds() == 900_000
    assert (ns["rdtype"], ns["count"]) == ("NS", 1)
    kept = books(path)
    assert kept.balanced
    assert {kind: tally.first for kind, tally in kept.malformed.items()} == {
        "bad_field": 3,
        "missing_field": 4,
        "not_json": 5,
    }


def test_time_limits_leave_out_and_count(tmp_path: Path) -> None:
    frames = [
        (float(at), udp_frame(a_response("a.test.", 60, ["198.18.0.1"]))) for at in (10, 20, 30)
    ]
    path = write_pcap(tmp_path / "a.pcap", frames)
    history = sightings.reduce([path], ReadOptions(since_us=15_000_000, until_us=30_000_000))
    kept = history.inputs[0].books
    assert (kept.decoded, kept.skipped["outside_time"].count) == (1, 2)


def test_other_ports_are_read_when_asked_for(tmp_path: Path) -> None:
    frame = udp_frame(a_response("a.test.", 60, ["198.18.0.1"]), ports=(5353, 5353))
    path = write_pcap(tmp_path / "a.pcap", [(1.0, frame)])
    assert books(path).skipped["other_port"].count == 1
    assert len(rows(path, ports=(53, 5353))) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\x0a\x0d\x0d\x0a" + b"\0" * 20, "pcapng"),
        (b"\x28\xb5\x2f\xfd\0", "zstd"),
        (b"hello, world\n", "in no format that unflux knows"),
        (b"\xd4\xc3\xb2\xa1\x02\0", "ends inside its header"),
        (b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + b"\0" * 8 + b"\xff\xff\0\0\x63\0\0\0", "link layer 99"),
        (b"PAR1 is not enough", "cannot be read"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert sentence in (books(path).error or "")


def test_a_directory_without_a_dataset_says_so(tmp_path: Path) -> None:
    assert "directory" in (books(tmp_path).error or "")


def test_a_capture_that_is_cut_keeps_what_came_before(tmp_path: Path) -> None:
    frame = udp_frame(a_response("a.test.", 60, ["198.18.0.1"]))
    path = write_pcap(tmp_path / "a.pcap", [(1.0, frame), (2.0, frame)])
    path.write_bytes(path.read_bytes()[:-10])
    kept = books(path)
    assert (kept.decoded, kept.error) == (1, None)
    assert kept.malformed["file_cut_in_record"].first == 24 + 16 + len(frame)


def test_packets_cut_by_snaplen_are_counted(tmp_path: Path) -> None:
    frame = udp_frame(a_response("a.test.", 60, ["198.18.0.1"]))
    kept = books(write_pcap(tmp_path / "a.pcap", [(1.0, frame)], snaplen=60))
    assert kept.malformed["cut_by_snaplen"].count == 1


def test_a_damaged_parquet_file_says_so(tmp_path: Path) -> None:
    capture = write_pcap(
        tmp_path / "a.pcap", [(1.0, udp_frame(a_response("a.test.", 60, ["198.18.0.1"])))]
    )
    good = tmp_path / "sightings.parquet"
    sightings.write_table(sightings.reduce([capture]).sightings_table(), good)
    content = bytearray(good.read_bytes())
    content[4:200] = b"\xff" * 196
    good.write_bytes(content)
    assert "cannot be read" in (books(good).error or "")


def test_a_capture_without_packets_is_fine(tmp_path: Path) -> None:
    kept = books(write_pcap(tmp_path / "a.pcap", []))
    assert (kept.items, kept.error) == (0, None)


def test_a_record_of_impossible_length_ends_the_reading_and_says_so(tmp_path: Path) -> None:
    frame = udp_frame(a_response("a.test.", 60, ["198.18.0.1"]))
    path = write_pcap(tmp_path / "a.pcap", [(1.0, frame), (2.0, frame), (3.0, frame)])
    content = bytearray(path.read_bytes())
    second = 24 + 16 + len(frame)
    content[second + 8 : second + 12] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    kept = books(path)
    assert (kept.decoded, kept.malformed["record_length"].first) == (1, second)
    assert f"the record at byte {second} cannot be true" in (kept.error or "")


@pytest.mark.parametrize("year", ["2019999999999", "99999999999999", "0001"])
def test_a_year_that_somebody_made_up_is_malformed(tmp_path: Path, year: str) -> None:
    path = tmp_path / "x.cof"
    row = {"rrname": "a.test", "rrtype": "A", "rdata": "198.18.0.1", "time_last": 1,
           "time_first": f"{year}-03-24T17:31:17Z"}  # fmt: skip
    path.write_text(json.dumps(row) + "\n")
    assert books(path).malformed["bad_field"].count == 1


def test_more_record_types_than_anybody_has_seen(tmp_path: Path) -> None:
    def many(first: int, count: int) -> bytes:
        records = b"".join(
            b"\xc0\x0c" + kind.to_bytes(2) + b"\0\1\0\0\0\1\0\0"
            for kind in range(first, first + count)
        )
        return b"\0\7\x80\0\0\1" + count.to_bytes(2) + b"\0\0\0\0\1a\0\0\1\0\1" + records

    frames = [(1.0, udp_frame(many(first, 500))) for first in range(300, 65_000, 500)]
    path = write_pcap(tmp_path / "types.pcap", frames)
    assert len({row["rdtype"] for row in rows(path)}) == 500 * len(frames)


def test_gzip_of_several_members_is_told_by_content(tmp_path: Path) -> None:
    path = tmp_path / "dns.log.gz"
    cut = ZEEK_TSV.index("1790000001")
    parts = (b"", ZEEK_TSV[:20].encode(), ZEEK_TSV[20:cut].encode(), ZEEK_TSV[cut:].encode())
    path.write_bytes(b"".join(gzip.compress(part) for part in parts))
    assert books(path).decoded == 3


def test_an_rrset_need_not_stand_together(tmp_path: Path) -> None:
    both = [
        ("a.test.", 60, kind, [rdata])
        for number in range(5)
        for kind, rdata in (("A", f"198.18.0.{number}"), ("AAAA", f"2001:db8::{number}"))
    ]
    message = b"".join([response("a.test.", "ANY", [])[:6], (10).to_bytes(2), b"\0\0\0\0"])
    message += response("a.test.", "ANY", [])[12:]
    for _, ttl, kind, [rdata] in both:
        value = ip_address(rdata).packed
        number = {"A": 1, "AAAA": 28}[kind]
        message += b"\xc0\x0c" + number.to_bytes(2) + b"\0\1" + ttl.to_bytes(4)
        message += len(value).to_bytes(2) + value
    history = sightings.reduce([write_pcap(tmp_path / "a.pcap", [(1.0, udp_frame(message))])])
    activity = history.activity_table().to_pylist()
    assert [(row["rdtype"], row["answers_max"], row["responses"]) for row in activity] == [
        ("A", 5, 1),
        ("AAAA", 5, 1),
    ]


def test_times_that_no_calendar_has_are_malformed(tmp_path: Path) -> None:
    capture = write_pcap(
        tmp_path / "a.pcap", [(1.0, udp_frame(a_response("a.test.", 60, ["198.18.0.1"])))]
    )
    table = sightings.reduce([capture]).sightings_table()
    early = pa.array([-(2**63)], pa.timestamp("us", tz="UTC"))
    place = table.schema.get_field_index("time_first")
    path = tmp_path / "sightings.parquet"
    sightings.write_table(table.set_column(place, table.schema.field(place), early), path)
    assert books(path).malformed["bad_field"].count == 1
