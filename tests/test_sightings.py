"""Reduce, merge, keep: sightings are the same however the packets were split."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CLIENT, a_response, flux_answers, response, udp_frame, write_pcap
from unflux import sightings, tables
from unflux.errors import MalformedInput, UnfluxError
from unflux.sightings import History
from unflux.sources.base import ReadOptions

START = 1_790_000_000.0

Seen = tuple[float, bytes, str]


def capture(path: Path, seen: list[Seen]) -> Path:
    return write_pcap(path, [(START + at, udp_frame(wire, to=to)) for at, wire, to in seen])


def sorted_rows(history: History) -> tuple[list[dict], list[dict]]:
    keys = [(name, "ascending") for name in ("owner", "rdtype", "bucket", "vantage")]
    rows = history.sightings_table().sort_by([*keys, ("rdata", "ascending")]).to_pylist()
    activity = history.activity_table().sort_by(keys).to_pylist()
    for row in activity:
        row["clients"] = sorted(row["clients"])
    return rows, activity


RESPONSES = st.lists(
    st.tuples(
        st.floats(0, 20_000),
        st.sampled_from(
            [
                a_response("a.test.", 300, ["198.18.0.1", "198.18.0.2"]),
                a_response("A.test.", 60, ["198.18.0.2"]),
                response("www.a.test.", "A", [("www.a.test.", 30, "CNAME", ["a.test."])]),
                response("a.test.", "NS", [("a.test.", 9, "NS", ["ns1.a.test.", "ns2.a.test."])]),
                response("b.test.", rcode="NXDOMAIN"),
                response("a.test.", "AAAA"),
                response("m.test.", "MX", [("m.test.", 5, "MX", ["10 a.test."])]),
                response("h.test.", "HTTPS", [("h.test.", 5, "HTTPS", ['1 . alpn="h2"'])]),
                response("t.test.", "TXT", [("t.test.", 5, "TXT", ['"a b"'])]),
            ]
        ),
        st.sampled_from([f"198.19.254.{host}" for host in range(1, 90)]),
    ),
    min_size=1,
    max_size=120,
)


@settings(max_examples=40, deadline=None)
@given(seen=RESPONSES, data=st.data())
def test_two_captures_merge_to_what_one_would_have_given(
    tmp_path_factory: pytest.TempPathFactory, seen: list[Seen], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    to_first = data.draw(st.lists(st.booleans(), min_size=len(seen), max_size=len(seen)))
    first = [one for one, mine in zip(seen, to_first, strict=True) if mine]
    second = [one for one, mine in zip(seen, to_first, strict=True) if not mine]
    whole = sightings.reduce([capture(folder / "all.pcap", seen)])
    paths = [capture(folder / "1.pcap", first), capture(folder / "2.pcap", second)]
    assert sorted_rows(sightings.reduce(paths)) == sorted_rows(whole)
    assert sorted_rows(sightings.reduce(paths[::-1])) == sorted_rows(whole)


@settings(max_examples=15, deadline=None)
@given(seen=RESPONSES)
def test_what_was_saved_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, seen: list[Seen]
) -> None:
    folder = tmp_path_factory.mktemp("save")
    history = sightings.reduce([capture(folder / "a.pcap", seen)])
    sightings.write_dataset(history, folder / "dataset")
    again = sightings.reduce([folder / "dataset"])
    assert sorted_rows(again) == sorted_rows(history)
    assert all(one.books.balanced and not one.books.error for one in again.inputs)


def test_cached_copies_are_one_observation(tmp_path: Path) -> None:
    # Fetched at 0 s with TTL 300, then copies that expire at the same second; fetched anew at 300.
    ages = [(0, 300), (10, 290), (100, 200), (299, 1), (300, 300)]
    seen = [(at, a_response("a.test.", ttl, ["198.18.0.1"]), CLIENT) for at, ttl in ages]
    [row] = sightings.reduce([capture(tmp_path / "a.pcap", seen)]).sightings_table().to_pylist()
    assert (row["count"], row["count_raw"]) == (2, 5)
    assert (row["ttl_max"], row["ttl_min"]) == (300, 1)


def test_upstream_every_response_is_fresh(tmp_path: Path) -> None:
    seen = [(at, a_response("a.test.", 300, ["198.18.0.1"]), CLIENT) for at in range(10)]
    path = capture(tmp_path / "a.pcap", seen)
    history = sightings.reduce([path], ReadOptions(vantage="upstream"))
    [row] = history.sightings_table().to_pylist()
    assert (row["count"], row["vantage"]) == (10, "upstream")


def test_a_record_twice_in_a_response_counts_once(tmp_path: Path) -> None:
    wire = response(
        "ns1.test.",
        "A",
        answer=[("ns1.test.", 60, "A", ["198.18.0.1"])],
        additional=[("NS1.test.", 60, "A", ["198.18.0.1"])],
    )
    history = sightings.reduce([capture(tmp_path / "a.pcap", [(0, wire, CLIENT)])])
    assert history.sightings_table().to_pylist()[0]["count_raw"] == 1
    assert history.activity_table().to_pylist()[0]["responses"] == 1


def test_hundreds_of_clients_are_estimated(tmp_path: Path) -> None:
    wire = a_response("a.test.", 60, ["198.18.0.1"])
    clients = [f"198.19.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    seen = [(number / 100, wire, client) for number, client in enumerate(clients)]
    [row] = sightings.reduce([capture(tmp_path / "a.pcap", seen)]).activity_table().to_pylist()
    assert len(row["clients"]) == 64
    assert 600 < row["n_clients"] < 1500  # relative error of a bottom-64 sample: 1/√62 = 13 %


def test_clients_can_be_left_out(tmp_path: Path) -> None:
    path = capture(tmp_path / "a.pcap", [(0, a_response("a.test.", 60, ["198.18.0.1"]), CLIENT)])
    history = sightings.reduce([path], ReadOptions(clients="drop"))
    [row] = history.activity_table().to_pylist()
    assert (row["clients"], row["n_clients"]) == ([], 0)


def test_threads_do_not_change_the_result(tmp_path: Path) -> None:
    # Large enough (over 2 × 8 MiB) that the file is cut in two.
    answers = flux_answers(500)
    seen = [(at / 10, answers[at % 500], f"198.19.254.{at % 60 + 1}") for at in range(75_000)]
    path = capture(tmp_path / "big.pcap", seen)
    assert path.stat().st_size > 17 << 20
    one, two = (sightings.reduce([path], ReadOptions(threads=n)) for n in (1, 2))
    assert sorted_rows(one) == sorted_rows(two)
    assert one.inputs[0].books == two.inputs[0].books


def test_tables_have_the_schemas_that_are_promised(tmp_path: Path) -> None:
    path = capture(tmp_path / "a.pcap", [(0, flux_answers(1)[0], CLIENT)])
    history = sightings.reduce([path])
    assert history.sightings_table().schema.equals(tables.SIGHTINGS)
    assert history.activity_table().schema.equals(tables.ACTIVITY)
    empty = sightings.reduce([write_pcap(tmp_path / "none.pcap", [])])
    assert empty.sightings_table().num_rows == 0
    assert empty.sightings_table().schema.equals(tables.SIGHTINGS)


def test_strict_stops_at_the_first_fault(tmp_path: Path) -> None:
    good = udp_frame(a_response("a.test.", 60, ["198.18.0.1"]))
    path = write_pcap(tmp_path / "a.pcap", [(START, good), (START, udp_frame(b"\0" * 5))])
    with pytest.raises(MalformedInput) as caught:
        sightings.reduce([path], strict=True)
    assert caught.value.oddity.kind == "short_dns_header"
    assert caught.value.oddity.position == 24 + 16 + len(good)
    with pytest.raises(UnfluxError, match="cannot be read"):
        sightings.reduce([tmp_path / "absent"], strict=True)


def test_a_dataset_is_not_written_over_other_files(tmp_path: Path) -> None:
    history = sightings.reduce([write_pcap(tmp_path / "a.pcap", [])])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    with pytest.raises(UnfluxError, match="not empty"):
        sightings.write_dataset(history, tmp_path / "mine")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sightings.whole_file(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_numbers_in_dictionaries_are_the_same_in_all_batches(tmp_path: Path) -> None:
    seen = [(hour * 3600, wire, CLIENT) for hour, wire in enumerate(flux_answers(3))]
    history = sightings.reduce([capture(tmp_path / "a.pcap", seen)])
    assert len(history.sightings) == 3
    for batch in history.sightings:
        column = batch.column("rdata")
        assert isinstance(column, pa.DictionaryArray)
        assert column.dictionary.equals(history.rdata)


def memory_of(history: History) -> set[int]:
    """Where the values of all columns and of their dictionaries stand."""
    arrays = [column for batch in history.sightings + history.activity for column in batch.columns]
    arrays += [array.flatten() for array in arrays if pa.types.is_list(array.type)]
    arrays += [array.dictionary for array in arrays if pa.types.is_dictionary(array.type)]
    buffers = [buffer for array in arrays for buffer in array.buffers()]
    return {buffer.address for buffer in buffers if buffer is not None and buffer.size}


def test_canonical_order_keeps_nothing_of_what_was_there_before(tmp_path: Path) -> None:
    wire = a_response("a.test.", 300, ["198.18.0.1", "198.18.0.2"])
    seen = [(3600.0 * hour, wire, CLIENT) for hour in range(5)]
    before = sightings.reduce([capture(tmp_path / "a.pcap", seen)])
    assert not memory_of(before) & memory_of(before.canonical())
