"""Directories, many files at once, and datasets that grow."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import (
    Cli,
    a_response,
    flux_answers,
    interrupted_after,
    udp_frame,
    write_pcap,
)
from unflux import sightings
from unflux.errors import UnfluxError
from unflux.sightings import Dataset, files
from unflux.sources.base import ReadOptions

START = 1_790_000_000.0


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Twelve small captures in two folders, and a file that is no log."""
    folder = tmp_path / "logs"
    for number, wire in enumerate(flux_answers(12)):
        below = folder / f"day{number % 2}"
        below.mkdir(parents=True, exist_ok=True)
        write_pcap(below / f"{number:02}.pcap", [(START + 300 * number, udp_frame(wire))])
    (folder / "readme.txt").write_text("about these captures\n")
    return folder


def rows(history: sightings.History) -> list[dict]:
    return sorted(history.sightings_table().to_pylist(), key=repr) + sorted(
        history.activity_table().to_pylist(), key=repr
    )


def test_a_directory_is_read_and_what_is_no_log_is_named(cli: Cli, logs: Path) -> None:
    done = cli("scan", logs, "--json")
    assert done.returncode == 0
    summary = json.loads(done.stdout)["summary"]
    assert summary["counts"]["decoded"] == 12
    assert summary["passed_over"] == [str(logs / "readme.txt")]


def test_files_in_parallel_give_what_they_give_one_by_one(logs: Path) -> None:
    one = sightings.reduce([logs], ReadOptions(threads=1))
    many = sightings.reduce([logs], ReadOptions(threads=4))
    assert rows(one) == rows(many)
    assert [one.path for one in one.inputs] == [one.path for one in many.inputs]


def test_a_file_named_twice_is_read_once(logs: Path) -> None:
    history = sightings.reduce([logs, logs / "day0", logs / "day0" / "00.pcap"])
    assert sum(one.books.decoded for one in history.inputs) == 12


def test_rows_of_a_part_lie_by_owner_so_that_a_look_up_passes_most_of_them_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n{number * 37 % 100:02}.test." for number in range(100)]  # in no order of text
    frames = [(START + at, udp_frame(a_response(name, 60, ["198.18.0.1"])))
              for at, name in enumerate(names)]  # fmt: skip
    monkeypatch.setattr(files, "ROWS_PER_GROUP", 10)
    history = sightings.reduce([write_pcap(tmp_path / "one.pcap", frames)])
    for path in sightings.Dataset.open(tmp_path / "dataset").add(history):
        groups = pq.ParquetFile(path).metadata
        owners = [groups.row_group(at).column(0).statistics for at in range(groups.num_row_groups)]
        assert len(owners) >= 10
        assert all(one.max <= after.min for one, after in pairwise(owners))


def test_a_dataset_takes_each_content_once(cli: Cli, logs: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    first = json.loads(cli("scan", logs / "day0", "--save", dataset, "--json").stdout)
    shutil.copy(logs / "day0" / "00.pcap", logs / "day1" / "copy.pcap")
    done = cli("scan", logs, "--save", dataset, "--json")
    second = json.loads(done.stdout)
    known = [entry["path"] for entry in second["summary"]["inputs"] if entry["known"]]
    assert len(known) == 7
    assert first["summary"]["counts"]["decoded"] == second["summary"]["counts"]["decoded"] == 6
    whole = sightings.reduce([logs / "day0", *sorted((logs / "day1").glob("[0-9]*"))])
    assert rows(sightings.reduce([dataset])) == rows(whole)
    [finding] = second["findings"]
    assert finding["verdict"] == "single_flux"
    again = json.loads(cli("scan", dataset, "--json").stdout)
    assert again["findings"][0]["score"] == finding["score"]


def test_a_run_that_is_interrupted_leaves_what_was_whole(logs: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "dataset")
    with interrupted_after(4), pytest.raises(KeyboardInterrupt):
        sightings.add_to(dataset, [logs], ReadOptions())
    half = Dataset.open(tmp_path / "dataset")
    assert len(half.manifest.inputs) == 4
    whole = sightings.add_to(half, [logs], ReadOptions())
    assert rows(whole) == rows(sightings.reduce([logs]))
    assert sum(one.known for one in whole.inputs) == 4


def test_a_part_that_the_manifest_does_not_name_does_not_count(logs: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "dataset")
    history = sightings.add_to(dataset, [logs], ReadOptions())
    part = dataset.files[0]
    shutil.copy(part, part.with_name("part-00099.parquet"))
    assert rows(sightings.reduce([tmp_path / "dataset"])) == rows(history)


def test_only_one_process_adds_at_a_time(logs: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "dataset")
    with dataset.locked(), pytest.raises(UnfluxError, match="another unflux"):
        sightings.add_to(Dataset.open(tmp_path / "dataset"), [logs], ReadOptions())


def test_a_directory_of_something_else_is_refused(cli: Cli, logs: Path) -> None:
    done = cli("scan", logs, "--save", logs)
    assert done.returncode == 1
    assert "holds something else" in done.stderr
    assert sorted(path.name for path in logs.iterdir()) == ["day0", "day1", "readme.txt"]


def test_a_manifest_cannot_point_outside(logs: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "dataset")
    sightings.add_to(dataset, [logs], ReadOptions())
    manifest = tmp_path / "dataset" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["parts"].append("../../../etc/passwd")
    manifest.write_text(json.dumps(content))
    with pytest.raises(UnfluxError, match=r"'\.\./\.\./\.\./etc/passwd' is no part of a dataset"):
        Dataset.open(dataset.directory)


def clients_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return json.loads(done.stdout)["findings"][0]["clients"]


def test_clients_are_kept_pseudonymised_or_dropped(cli: Cli, logs: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    assert clients_of(cli("scan", logs, "--json")) == ["198.19.254.1"]
    assert clients_of(cli("scan", logs, "--json", "--clients", "drop")) == []
    options = ["--json", "--clients", "pseudonymise"]
    [one] = clients_of(cli("scan", logs, *options, "--client-key", key))
    assert one.startswith("100::")
    assert clients_of(cli("scan", logs, *options, "--client-key", key)) == [one]
    [random_one] = clients_of(cli("scan", logs, *options))
    assert random_one != one
    # What is saved holds no address, and stays the same when it is read again.
    dataset = tmp_path / "dataset"
    cli("scan", logs, *options, "--client-key", key, "--save", dataset)
    assert clients_of(cli("scan", dataset, *options)) == [one]
    assert b"198.19.254.1" not in b"".join(path.read_bytes() for path in dataset.rglob("*.*"))


def test_a_short_key_is_refused(cli: Cli, logs: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    done = cli("scan", logs, "--clients", "pseudonymise", "--client-key", tmp_path / "key")
    assert done.returncode == 2
    assert "16 bytes" in done.stderr


def test_an_answer_from_a_file_of_one_packet(tmp_path: Path) -> None:
    path = write_pcap(
        tmp_path / "a.pcap", [(START, udp_frame(a_response("a.test.", 60, ["198.18.0.1"])))]
    )
    history = sightings.add_to(Dataset.open(tmp_path / "dataset"), [path], ReadOptions())
    assert history.sightings_table().num_rows == 1
