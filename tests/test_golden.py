"""One sample and one golden file for each text format: what becomes of every line is known."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import ROOT, SHARED_DATA, needs_shared_data
from unflux import sightings, sources
from unflux._native import Progress, Reducer
from unflux.sources.base import ReadOptions

GOLDEN = ROOT / "tests" / "golden"
SAMPLES = {
    folder.name: next(path for path in folder.iterdir() if path.name != "golden.json")
    for folder in sorted(GOLDEN.iterdir())
    if folder.is_dir() and folder.name not in ("__pycache__", "exports")
}


TEXTS = [name for name in SAMPLES if name != "dnsmonster_parquet"]
"""Those that have lines, and may be packed."""


def told(path: Path, **options: Any) -> dict[str, Any]:
    """Books, sightings and activity of a file, as plain JSON."""
    history = sightings.reduce([path], ReadOptions(**options))
    rows = [
        f"{row['time_first']:%m-%dT%H:%M:%S.%f} {row['owner']} {row['rdtype']} {row['rdata']} "
        f"ttl {row['ttl_min']}-{row['ttl_max']} count {row['count']} of {row['count_raw']} "
        f"{row['vantage']}"
        for row in history.sightings_table().to_pylist()
    ]
    activity = [
        f"{row['owner']} {row['rdtype']} responses {row['responses']} answers {row['answers_sum']} "
        f"nxdomain {row['nxdomain']} servfail {row['servfail']} nodata {row['nodata']} "
        f"clients {row['n_clients']}"
        for row in history.activity_table().to_pylist()
    ]
    books = asdict(history.inputs[0].books)
    return {
        "format": history.inputs[0].source,
        "books": books,
        "sightings": sorted(rows),
        "activity": sorted(activity),
    }


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_becomes_what_its_golden_file_says(name: str, tmp_path: Path) -> None:
    sample, golden = SAMPLES[name], GOLDEN / name / "golden.json"
    found = told(sample)
    if os.environ.get("UNFLUX_GOLDEN") == "write":
        golden.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(golden.read_text())
    assert found["format"] == name
    if name in TEXTS:
        packed = tmp_path / "sample.gz"
        packed.write_bytes(gzip.compress(sample.read_bytes()))
        assert told(packed) == found
    assert told(sample, threads=2) == found


def test_samples_are_what_their_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("make_samples", GOLDEN / "make_samples.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, (file, lines) in module.SAMPLES.items():
        assert (GOLDEN / name / file).read_text() == "\n".join(lines()) + "\n", name


@pytest.mark.parametrize("name", TEXTS)
def test_counts_in_are_counts_out(name: str) -> None:
    history = sightings.reduce([SAMPLES[name]])
    books = history.inputs[0].books
    assert books.balanced
    assert books.items - books.assembled == len(SAMPLES[name].read_bytes().splitlines())


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cuts=st.lists(st.tuples(st.integers(0, 20_000), st.binary(max_size=6)), max_size=6),
    line=st.binary(max_size=80),
)
def test_any_damage_is_a_row_or_one_counted_oddity(
    name: str, tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, bytes]], line: bytes
) -> None:
    content = bytearray(SAMPLES[name].read_bytes())
    for place, put in cuts:
        at = 8 + place % (len(content) - 8)  # the first bytes tell a packed file
        content[at : at + len(put)] = put
    content += line.replace(b"\n", b" ") + b"\n"
    path = tmp_path_factory.mktemp("damaged") / "log"
    path.write_bytes(content)
    source = sources.by_name(name)
    into = Reducer()
    books = source.read(path, into, ReadOptions(), Progress())
    assert books.error is None
    assert books.balanced
    assert books.items - books.assembled == content.count(b"\n")


@needs_shared_data
def test_a_real_eve_file_is_read_whole() -> None:
    path = SHARED_DATA / "formats/suricata-eve/slips-test6-malicious.suricata.json"
    history = sightings.reduce([path])
    books = history.inputs[0].books
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    answers = [
        line["dns"]
        for line in lines
        if line["event_type"] == "dns" and line["dns"]["type"] == "answer"
    ]
    assert (books.items, books.decoded) == (len(lines), len(answers))
    assert not books.malformed
    assert books.records + sum(t.count for t in books.records_left_out.values()) == sum(
        len(answer.get("answers", [])) + len(answer.get("authorities", [])) for answer in answers
    )
    expected = {
        (record["rrname"].lower().rstrip(".") + ".", record["rrtype"])
        for answer in answers
        for record in answer.get("answers", [])
    }
    table = history.sightings_table()
    found = set(zip(table["owner"].to_pylist(), table["rdtype"].to_pylist(), strict=True))
    assert expected <= found


def test_records_of_version_1_stay_together_across_chunks(tmp_path: Path) -> None:
    """Several megabytes on several threads give the books and tables of one thread."""
    part = (
        '{{"timestamp":"2026-09-21T14:{minute:02}:{second:02}.000000+0000","flow_id":{flow},'
        '"event_type":"dns","src_ip":"198.19.254.1","src_port":1,"dest_ip":"198.19.255.53",'
        '"dest_port":53,"proto":"UDP","dns":{{"type":"answer","id":{flow},"rcode":"NOERROR",'
        '"rrname":"n{name}.test","rrtype":"A","ttl":60,"rdata":"198.18.0.{place}"}}}}\n'
    )
    path = tmp_path / "eve.json"
    with path.open("w") as out:
        for flow in range(9000):
            for place in range(1, 8):
                minute, second = divmod(flow // 3, 60)
                out.write(
                    part.format(
                        minute=minute % 60, second=second, flow=flow, name=flow % 50, place=place
                    )
                )
    one, two = told(path, threads=1), told(path, threads=2)
    assert one == two
    assert (one["books"]["decoded"], one["books"]["assembled"]) == (9000, 9000)
    assert all("answers 1260 " in row for row in one["activity"])  # 180 responses of 7 records


MONSTER = "dnsmonster_parquet"


def test_parquet_of_dnsmonster_tells_failures_and_says_that_it_has_no_answers() -> None:
    history = sightings.reduce([SAMPLES[MONSTER]])
    books = history.inputs[0].books
    assert (books.items, books.decoded, books.balanced) == (18, 3, True)
    assert history.sightings_table().num_rows == 0
    assert not any(row["nodata"] for row in history.activity_table().to_pylist())
    assert "holds no answers" in sources.by_name(MONSTER).blind_spots[0]


def test_parquet_of_dnsmonster_is_told_by_its_end_in_large_files(tmp_path: Path) -> None:
    rows = pq.read_table(SAMPLES[MONSTER]).take(list(range(18)) * 6000)
    path = tmp_path / "large"
    pq.write_table(rows, path, row_group_size=7777, compression="none", use_dictionary=False)
    books = sightings.reduce([path]).inputs[0].books
    assert (books.items, books.decoded, books.balanced) == (108_000, 18_000, True)
    assert books.malformed["bad_field"].first == 18
    dropped = sightings.reduce([path], ReadOptions(clients="drop"))
    assert not any(row["n_clients"] for row in dropped.activity_table().to_pylist())
    later = sightings.reduce([path], ReadOptions(since_us=books.time_first_us or 0))
    assert later.inputs[0].books.decoded == 18_000


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), max_size=4))
def test_damaged_parquet_of_dnsmonster_is_one_sentence_or_counted(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, bytes]]
) -> None:
    content = bytearray(SAMPLES[MONSTER].read_bytes())
    for place, put in cuts:
        at = 8 + place % (len(content) - 8)
        content[at : at + len(put)] = put
    path = tmp_path_factory.mktemp("damaged") / "x.parquet"
    path.write_bytes(content)
    books = sources.by_name(MONSTER).read(path, Reducer(), ReadOptions(), Progress())
    assert books.balanced
    assert books.error is None or "Parquet" in books.error


def test_parquet_of_strangers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"query_name": ["a.test."], "rcode": [0]}), path)
    error = sightings.reduce([path]).inputs[0].books.error
    assert error == "this Parquet file was not written by unflux"
