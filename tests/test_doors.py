"""What an operator meets at the door: patterns, packed files, streams, and what is told of them."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from conftest import Cli, flux_answers, interrupted_after, udp_frame, write_pcap
from unflux import pipeline, sightings, sources
from unflux.cli import app
from unflux.errors import plain_error
from unflux.pipeline import ScanOptions
from unflux.share import table
from unflux.sightings import reading
from unflux.sources.base import ReadOptions

START = 1_790_000_000.0


@pytest.fixture
def run(lab_tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line, in this process."""
    monkeypatch.setenv("UNFLUX_ASN_DB", str(lab_tables[0]))
    monkeypatch.setenv("UNFLUX_COUNTRY_DB", str(lab_tables[1]))
    return lambda *words, **how: CliRunner().invoke(app, list(map(str, words)), **how)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Four captures in folders by day, and a log of something else beside each."""
    for number, wire in enumerate(flux_answers(4)):
        folder = tmp_path / "logs" / f"2026-01-0{number + 1}"
        folder.mkdir(parents=True)
        frames = [(START + 300 * number, udp_frame(wire))]
        write_pcap(folder / "dns.pcap", frames)
        (folder / "conn.log").write_text("#path\tconn\n")
    return tmp_path / "logs"


def test_a_pattern_that_no_shell_expanded_is_expanded(
    run: Callable[..., Result], logs: Path
) -> None:
    done = run("scan", f"{logs}/2026-01-0[1-3]/dns.*", "--json")
    inputs = json.loads(done.stdout)["summary"]["inputs"]
    assert [Path(one["path"]).parent.name for one in inputs] == [
        "2026-01-01", "2026-01-02", "2026-01-03"
    ]  # fmt: skip
    assert (
        len(json.loads(run("scan", f"{logs}/**/*.pcap", "--json").stdout)["summary"]["inputs"]) == 4
    )
    none = run("scan", f"{logs}/2027-*/dns.*")
    assert none.exit_code == 1
    assert f"{logs}/2027-*/dns.*: is a pattern that no file matches\n" in none.stderr


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(
    run: Callable[..., Result], logs: Path
) -> None:
    odd = logs / "dns[1].pcap"
    odd.write_bytes((logs / "2026-01-01" / "dns.pcap").read_bytes())
    assert run("scan", odd).exit_code == 0


def archive(kind: str, path: Path, member: Path) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as out:
            out.write(member)
        return path
    with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as out:
        out.add(member, member.name)
    return path


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_is_named_and_not_read_in_part(
    run: Callable[..., Result], tmp_path: Path, kind: str
) -> None:
    log = tmp_path / "dns.log"
    log.write_text("#separator \\x09\n#path\tdns\n#fields\tts\tquery\n1\ta.test\n")
    packed = archive(kind, tmp_path / f"logs.{kind}", log)
    done = run("scan", packed)
    assert done.exit_code == 1
    assert f"this is a {kind.partition('.')[0]} archive: unpack it first" in done.stderr


def test_nothing_read_is_no_all_clear(run: Callable[..., Result], logs: Path) -> None:
    done = run("scan", logs / "2026-01-01" / "conn.log")
    assert "0 flux" not in done.stdout
    assert "nothing was judged" in done.stdout
    elsewhere = run("scan", logs / "2026-01-01" / "dns.pcap", "--port", "5353")
    assert "nothing was judged" in elsewhere.stdout
    assert "left out: 1 other_port" in elsewhere.stdout


@pytest.mark.parametrize("cut", ["gz_in_its_middle", "xz_in_its_beginning"])
def test_a_packed_file_that_is_cut_off_is_not_called_empty(
    run: Callable[..., Result], logs: Path, tmp_path: Path, cut: str
) -> None:
    content = (logs / "2026-01-01" / "dns.pcap").read_bytes()
    path = tmp_path / cut
    if cut.startswith("gz"):
        path.write_bytes(gzip.compress(content, 0)[:-20])
        sentence = f"{path}: cannot be unpacked to its end: incomplete deflate stream\n"
    else:
        path.write_bytes(lzma.compress(content)[:40])
        sentence = f"{path}: has nothing in it that can be unpacked: it is empty inside, or cut off"
    done = run("scan", path)
    assert done.exit_code == 1
    assert sentence in done.stderr


def test_errors_are_for_people() -> None:
    assert plain_error("No such file or directory (os error 2)") == "No such file or directory"
    said = 'the zstd data is broken: Failed to parse: Error(Error {\nkind: "x" })'
    assert plain_error(said) == "the zstd data is broken"


def test_standard_input_is_called_so(cli: Cli, logs: Path, tmp_path: Path) -> None:
    content = (logs / "2026-01-01" / "dns.pcap").read_bytes()
    done = cli("scan", "-", "--json", "--save", tmp_path / "dataset", stdin=content)
    assert [one["path"] for one in json.loads(done.stdout)["summary"]["inputs"]] == [
        "standard input"
    ]
    kept = sightings.Dataset.open(tmp_path / "dataset").manifest.inputs
    assert [one.path for one in kept] == ["standard input"]
    assert "standard input: is in no format" in cli("scan", "-", stdin=b"garbage\n").stderr


def test_a_name_that_is_no_text_is_taken_in_too(tmp_path: Path, logs: Path) -> None:
    odd = tmp_path / "dns-\udcff.pcap"
    odd.write_bytes((logs / "2026-01-01" / "dns.pcap").read_bytes())
    dataset = sightings.Dataset.open(tmp_path / "dataset")
    sightings.add_to(dataset, [odd], ReadOptions())
    [one] = sightings.Dataset.open(tmp_path / "dataset").manifest.inputs
    assert one.path == sources.name_of(odd) == f"{tmp_path}/dns-\\xff.pcap"


def test_progress_of_a_dataset_runs_once_from_none_to_all(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SAVE_EVERY_BYTES", 1)
    said: list[tuple[int, int]] = []
    sightings.add_to(
        sightings.Dataset.open(tmp_path / "dataset"),
        sorted(logs.rglob("*.pcap")),
        ReadOptions(),
        on_progress=lambda done, total: said.append((done, total)),
    )
    size = sum(path.stat().st_size for path in logs.rglob("*.pcap"))
    assert {total for _, total in said} == {size}
    assert [done for done, _ in said] == sorted(done for done, _ in said)
    assert said[-1] == (size, size)


def test_a_scan_that_is_stopped_says_what_it_kept(
    run: Callable[..., Result], logs: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    with interrupted_after(2):
        stopped = run("scan", logs, "--save", dataset)
    assert stopped.exit_code == 130
    assert stopped.stderr == (
        f"unflux: stopped; {dataset} holds 2 files so far, each whole; the same command goes on "
        "from there\n"
    )
    assert "taken in before: 2 files, not read again" in run("scan", logs, "--save", dataset).stdout


def test_pseudonyms_without_a_key_are_said_to_differ(
    run: Callable[..., Result], logs: Path, tmp_path: Path
) -> None:
    done = run("scan", logs, "--save", tmp_path / "dataset", "--clients", "pseudonymise")
    assert "without --client-key this run has a key of its own" in done.stderr


GROUPED = {
    "timestamp": "2026-01-05T10:00:00.000000+0000", "flow_id": 1, "event_type": "dns",
    "src_ip": "198.18.0.9", "src_port": 53, "dest_ip": "198.19.0.5", "dest_port": 4711,
    "proto": "UDP",
    "dns": {"version": 2, "type": "answer", "id": 1, "flags": "8180", "rrname": "a.test",
            "rrtype": "A", "rcode": "NOERROR", "grouped": {"A": ["198.18.0.1", "198.18.0.2"]}},
}  # fmt: skip


def test_grouped_answers_are_a_blind_spot_and_not_an_all_clear(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    log = tmp_path / "eve.json"
    log.write_text(json.dumps(GROUPED) + "\n")
    done = run("scan", log)
    assert "nothing was judged" in done.stdout
    assert "records left out: 2 grouped_without_ttl" in done.stdout
    assert "cannot see: Suricata's `grouped` answers have no TTL" in done.stdout
    why = run("explain", "a.test", log)
    assert why.exit_code == 1
    assert "some records could not be taken: 2 grouped_without_ttl" in why.stderr


def test_doctor_breaks_no_path_and_names_what_is_packed(run: Callable[..., Result]) -> None:
    import publicsuffixlist

    said = run("doctor").stdout
    assert publicsuffixlist.PSLFILE in said
    assert "gzip, zstd, xz or lz4" in said
    assert "blind spots\n  none" in said


@pytest.mark.parametrize("width", [80, 119, 120, 200])
def test_names_stay_whole_on_a_narrow_terminal(tmp_path: Path, width: int) -> None:
    name = "login.example-bank.test"
    frames = [
        (START + 300 * number, udp_frame(wire.replace(b"\4flux\4test", name_of(name))))
        for number, wire in enumerate(flux_answers(12))
    ]
    scan = pipeline.scan([write_pcap(tmp_path / "dns.pcap", frames)], ScanOptions(min_score=0))
    console = Console(width=width, file=io.StringIO(), record=True)
    table.show_scan(scan, console)
    lines = console.export_text().splitlines()
    assert any(name in line for line in lines)
    assert all(len(line.rstrip()) <= width for line in lines if name in line)


def name_of(name: str) -> bytes:
    """Labels as they are on the wire, without the root."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
