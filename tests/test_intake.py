"""What a dataset takes in of a file: each answer once, none left out unsaid."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli, a_response, flux_answers, udp_frame, write_pcap
from unflux import sightings
from unflux.sightings import Dataset, History
from unflux.sightings.taken import Chosen, content_of
from unflux.sources.base import ReadOptions

START = 1_790_000_000.0
HOUR = 3600


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Twelve answers in an hour on port 53, and one on port 5353."""
    frames = [
        (START + 300 * number, udp_frame(wire)) for number, wire in enumerate(flux_answers(12))
    ]
    frames.append(
        (START + 10, udp_frame(a_response("printer.test.", 60, ["198.18.9.9"]), ports=(5353, 4711)))
    )
    return write_pcap(tmp_path / "dns.pcap", frames)


def rows(*paths: Path, **options: Any) -> list[str]:
    """Rows of both tables; the clients of a row come in no order."""
    history = sightings.reduce(list(paths), ReadOptions(**options))
    tables = (history.sightings_table(), history.activity_table())
    found = [row for table in tables for row in table.to_pylist()]
    return sorted(repr(row | {"clients": sorted(row.get("clients", ()))}) for row in found)


def save(dataset: Path, *files: Path, format_name: str | None = None, **options: Any) -> History:
    """What `scan --save` does before it judges."""
    if "since" in options:
        options["since_us"] = round((START + options.pop("since")) * 1_000_000)
    if "until" in options:
        options["until_us"] = round((START + options.pop("until")) * 1_000_000)
    how = ReadOptions(**options)
    return sightings.add_to(Dataset.open(dataset), files, how, format_name=format_name)


def n_decoded(history: History) -> int:
    return sum(one.books.decoded for one in history.inputs)


def notes(history: History) -> list[str]:
    return [one.note or "" for one in history.inputs]


def error_of(history: History) -> str:
    [one] = history.inputs
    return one.books.error or ""


def test_two_halves_of_a_file_are_the_whole_file(capture: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    first = save(dataset, capture, until=1500)
    second = save(dataset, capture, since=1500)
    assert (n_decoded(first), n_decoded(second)) == (5, 7)
    assert rows(dataset) == rows(capture)
    assert [one.known for one in save(dataset, capture).inputs] == [True]


def test_of_times_that_overlap_only_what_is_new_is_read(capture: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    save(dataset, capture, since=900, until=1800)
    whole = save(dataset, capture)
    assert n_decoded(whole) == 12 - 3
    assert notes(whole) == [
        "only --until 2026-09-21T14:28:20Z was read: the rest was taken in before",
        "only --since 2026-09-21T14:43:20Z was read: the rest was taken in before",
    ]
    assert rows(dataset) == rows(capture)


def test_another_port_is_another_part_of_a_capture(capture: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    save(dataset, capture)
    both = save(dataset, capture, ports=(5353, 53))
    assert notes(both) == ["only --port 5353 was read: the rest was taken in before"]
    assert n_decoded(both) == 1
    assert rows(dataset) == rows(capture, ports=(53, 5353))


def test_what_is_asked_for_otherwise_is_told_and_never_counted_twice(
    cli: Cli, capture: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    save(dataset, capture)
    before = rows(dataset)
    again = save(dataset, capture, vantage="client", clients="drop")
    assert again.inputs[0].known
    assert notes(again)[0].startswith("taken in with --vantage unknown --clients keep: what is in")
    assert rows(dataset) == before
    told = cli("scan", capture, "--save", dataset, "--clients", "drop")
    assert "taken in before: 1 file, not read again" in told.stdout
    assert "note on 1 file: taken in with --clients keep" in told.stdout
    entry = json.loads(cli("scan", capture, "--save", dataset, "--json").stdout)
    assert entry["summary"]["inputs"][0]["note"] is None


def cof_log(path: Path) -> Path:
    """One row, about an hour."""
    row = {"rrname": "a.test.", "rrtype": "A", "rdata": "198.18.0.1", "time_first": int(START),
           "time_last": int(START) + HOUR, "count": 2}  # fmt: skip
    path.write_text(json.dumps(row) + "\n")
    return path


def test_a_file_that_was_read_in_the_wrong_format_can_be_read_in_the_right_one(
    tmp_path: Path,
) -> None:
    log, dataset = cof_log(tmp_path / "dns.log"), tmp_path / "dataset"
    assert n_decoded(save(dataset, log, format_name="eve")) == 0
    assert n_decoded(save(dataset, log)) == 1
    [note] = notes(save(dataset, log, format_name="dnsmonster"))
    assert note.startswith("taken in with --format cof: what is in stays")


def test_rows_that_reach_over_time_are_not_taken_in_by_parts(tmp_path: Path) -> None:
    log, dataset = cof_log(tmp_path / "cof.json"), tmp_path / "dataset"
    save(dataset, log, until=60)
    before = rows(dataset)
    assert "was taken in before for another time" in error_of(save(dataset, log, since=60))
    assert rows(dataset) == before


def test_a_log_that_grew_is_not_counted_twice(cli: Cli, capture: Path, tmp_path: Path) -> None:
    growing, dataset = tmp_path / "growing.pcap", tmp_path / "dataset"
    content = capture.read_bytes()
    record = 16 + len(udp_frame(flux_answers(1)[0]))
    growing.write_bytes(content[: 24 + 6 * record])
    assert n_decoded(save(dataset, growing)) == 6
    growing.write_bytes(content)
    done = cli("scan", growing, "--save", dataset)
    assert done.returncode == 1
    assert "has grown since it was taken in" in done.stderr
    advised = done.stderr.partition("--since ")[2].partition(")")[0]
    assert cli("scan", growing, "--save", dataset, "--since", advised).returncode == 0
    assert rows(dataset) == rows(capture)
    assert save(dataset, growing).inputs[0].known


def test_what_is_cut_off_is_counted_once_and_told_each_time(capture: Path, tmp_path: Path) -> None:
    packed, dataset = tmp_path / "cut.pcap.gz", tmp_path / "dataset"
    content = gzip.compress(capture.read_bytes(), 0)
    packed.write_bytes(content[: len(content) // 2])
    first = save(dataset, packed)
    before = rows(dataset)
    assert 0 < n_decoded(first) < 12
    again = save(dataset, packed)
    assert error_of(again) == (f"was taken in before as far as it can be read: {error_of(first)}")
    assert rows(dataset) == before


def test_a_dataset_of_an_earlier_unflux_is_read_and_its_files_count_as_whole(
    capture: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    save(dataset, capture, until=1500)
    manifest = dataset / "manifest.json"
    content = json.loads(manifest.read_text())
    known = ("path", "blake2b", "size_bytes", "format")
    content["inputs"] = [{key: one[key] for key in known} for one in content["inputs"]]
    manifest.write_text(json.dumps(content))
    [again] = save(dataset, capture).inputs
    assert again.known
    assert "was not written down" in (again.note or "")


def test_what_out_wrote_knows_its_inputs(cli: Cli, capture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cli("scan", capture, "--until", str(START + 1500), "--out", out)
    assert done.returncode == 0, done.stderr
    save(out, capture)
    assert rows(out) == rows(capture)
    assert save(out, capture).inputs[0].known


def test_a_time_that_ends_before_it_begins_is_refused(cli: Cli, capture: Path) -> None:
    done = cli("scan", capture, "--since", str(START), "--until", str(START))
    assert done.returncode == 2
    assert "--since is not before --until" in done.stderr


def test_beginnings_are_hashed_like_files_of_their_own(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000  # two blocks and a part of one
    path = tmp_path / "whole"
    path.write_bytes(content)
    sizes = (1, 1 << 20, 1_500_000, len(content), len(content) + 1)
    found = content_of(path, sizes)
    assert found.size_bytes == len(content)
    assert set(found.beginnings) == {1, 1 << 20, 1_500_000}
    for size, digest in found.beginnings.items():
        (tmp_path / "part").write_bytes(content[:size])
        assert content_of(tmp_path / "part").blake2b == digest


@pytest.mark.parametrize(
    ("asked", "held", "left"),
    [
        (Chosen(), [], [Chosen()]),
        (Chosen(), [Chosen()], []),
        (Chosen(), [Chosen(3, 5), Chosen(7, None)], [Chosen(None, 3), Chosen(5, 7)]),
        (Chosen(4, 6), [Chosen(None, 5), Chosen(1, 2)], [Chosen(5, 6)]),
        (Chosen(1, 3), [Chosen(3, 9)], [Chosen(1, 3)]),
        (Chosen(1, 9), [Chosen(0, 5), Chosen(4, 9)], []),
        (Chosen(ports=(53, 54)), [Chosen(ports=(54, 55))], [Chosen(ports=(53,))]),
        (
            Chosen(0, 9, (53, 54)),
            [Chosen(0, 5, (53,))],
            [Chosen(5, 9, (53,)), Chosen(0, 9, (54,))],
        ),
    ],
)
def test_what_is_left_is_what_was_asked_for_without_what_is_held(
    asked: Chosen, held: list[Chosen], left: list[Chosen]
) -> None:
    assert asked.without(held) == left


def test_a_copy_in_the_same_run_is_read_once(capture: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pcap"
    copy.write_bytes(capture.read_bytes())
    together = save(tmp_path / "dataset", capture, copy)
    assert [one.known for one in together.inputs] == [False, True]
    assert rows(tmp_path / "dataset") == rows(capture)
    assert len(Dataset.open(tmp_path / "dataset").manifest.inputs) == 1


def test_the_dataset_itself_is_no_input(cli: Cli, capture: Path, tmp_path: Path) -> None:
    """It lies among the logs, or is named: its parts would count twice."""
    dataset = tmp_path / "dataset"
    save(dataset, capture)
    before = rows(dataset)
    (tmp_path / ".out.unflux-abcdefgh").mkdir()  # what a killed `scan --out` left
    (tmp_path / ".out.unflux-abcdefgh" / "dns.pcap").write_bytes(capture.read_bytes()[:-1])
    for named in (tmp_path, dataset):
        history = save(dataset, named)
        assert n_decoded(history) == 0
        assert (
            notes(history)[-1] == "the dataset itself is no input: what it holds is judged anyway"
        )
        assert rows(dataset) == before
    told = cli("scan", dataset, "--save", dataset)
    assert (told.returncode, told.stderr) == (0, "")


def test_of_a_dataset_below_a_directory_only_what_counts_is_read(
    capture: Path, tmp_path: Path
) -> None:
    dataset = Dataset.open(tmp_path / "logs" / "dataset")
    sightings.add_to(dataset, [capture], ReadOptions())
    part = dataset.files[0]
    part.with_name("part-00099.parquet").write_bytes(part.read_bytes())
    assert rows(tmp_path / "logs") == rows(capture)


def test_a_manifest_of_something_else_makes_no_dataset(capture: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "manifest.json").write_text('{"name": "a web site"}')
    (site / "dns.pcap").write_bytes(capture.read_bytes())
    assert rows(site) == rows(capture)


def test_the_same_log_packed_otherwise_is_pointed_out(capture: Path, tmp_path: Path) -> None:
    packed, dataset = tmp_path / "dns.pcap.gz", tmp_path / "dataset"
    packed.write_bytes(gzip.compress(capture.read_bytes()))
    assert notes(save(dataset, capture)) == [""]
    [note] = notes(save(dataset, packed))
    assert note.startswith(f"it has as many answers as {capture}, from the same moment")
    together = save(tmp_path / "other", capture, packed)
    assert [bool(one) for one in notes(together)] == [False, True]
