"""Faults under `scan --save` and datasets: what breaks is said in a sentence, and nothing is lost."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT, Cli, flux_answers, udp_frame, write_pcap
from unflux import sightings
from unflux.errors import UnfluxError
from unflux.sightings import Dataset
from unflux.sources.base import ReadOptions

sys.path.insert(0, str(ROOT / "bench"))
import faults

START = 1_790_000_000.0
UNFLUX = [sys.executable, "-m", "unflux"]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
needs_namespaces = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0,
    reason="user and mount namespaces are not allowed here",
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve captures, three hours apart."""
    folder = tmp_path_factory.mktemp("faults") / "logs"
    folder.mkdir()
    for number, wire in enumerate(flux_answers(12)):
        write_pcap(folder / f"{number:02}.pcap", [(START + 10_800 * number, udp_frame(wire))])
    return folder


@pytest.fixture
def dataset(logs: Path, tmp_path: Path) -> Path:
    """All of it, saved."""
    sightings.add_to(Dataset.open(tmp_path / "dataset"), [logs], ReadOptions())
    return tmp_path / "dataset"


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What went to standard error, which is sentences and never a traceback."""
    assert "Traceback" not in done.stderr
    return done.stderr


def limited(what: int, limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (limit, limit))


def run(*words: str | Path, limit: Callable[[], None] | None = None, before: tuple[str, ...] = ()):
    """`unflux …` under a limit, or inside of another command."""
    command = [*before, *UNFLUX, *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=limit,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def test_runs_killed_at_random_points_go_on_and_end_like_an_undisturbed_one(
    logs: Path, tmp_path: Path
) -> None:
    outcome = faults.torture(logs, tmp_path, kills=15, seed=3)
    assert outcome.failures == []
    assert outcome.kills == 15
    assert len(set(outcome.parts_when_killed)) > 1


@pytest.mark.parametrize("what", ["watch", "track", "rejudge"])
def test_what_is_killed_goes_on_and_loses_no_more_than_the_docs_say(
    what: str, tmp_path: Path
) -> None:
    if what == "rejudge":
        pytest.importorskip("sqlalchemy", reason="findings need pip install 'unflux[serve]'")
    outcome = faults.torture_of(what)(tmp_path, 3, 2)
    assert outcome.failures == []
    assert outcome.kills == 3


def test_a_run_killed_before_its_first_part_counted_leaves_a_dataset_to_go_on_with(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.open(tmp_path / "dataset")
    real, written = Dataset._name, []

    def write(self: Dataset, manifest: object) -> None:
        if written:
            raise KeyboardInterrupt  # between the parts and the manifest that names them
        written.append(manifest)
        real(self, manifest)  # type: ignore[arg-type]

    monkeypatch.setattr(Dataset, "_name", write)
    with pytest.raises(KeyboardInterrupt):
        sightings.add_to(dataset, [logs], ReadOptions())
    monkeypatch.setattr(Dataset, "_name", real)
    left = set(dataset.directory.glob("sightings/*/*"))
    assert left
    assert Dataset.open(dataset.directory).files == []
    sightings.add_to(Dataset.open(dataset.directory), [logs], ReadOptions())
    counted = {
        path for path in Dataset.open(dataset.directory).files if path.parts[-3] == "sightings"
    }
    assert set(dataset.directory.glob("sightings/*/*")) == counted


def test_what_another_process_added_meanwhile_is_not_lost(logs: Path, tmp_path: Path) -> None:
    files = sorted(logs.iterdir())
    early = Dataset.open(tmp_path / "dataset")  # knows nothing of what comes next
    sightings.add_to(Dataset.open(tmp_path / "dataset"), files[:6], ReadOptions())
    sightings.add_to(early, files[6:], ReadOptions())
    assert faults.rows(tmp_path / "dataset") == faults.rows_of(sightings.reduce([logs]))


def test_a_second_process_is_told_and_the_lock_of_a_killed_one_is_free(
    cli: Cli, logs: Path, dataset: Path
) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from unflux.sightings import Dataset\n"
            "with Dataset.open(Path(sys.argv[1])).locked(): print('held', flush=True), time.sleep(60)",
            str(dataset),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        done = cli("scan", logs, "--save", dataset)
        assert done.returncode == 1
        assert f"another unflux is adding to {dataset}" in said(done).replace("\n", "")
    finally:
        holder.kill()
        holder.wait()
    assert cli("scan", logs, "--save", dataset).returncode == 0


def test_a_full_disk_is_said_and_what_counted_before_still_does(
    logs: Path, dataset: Path, tmp_path: Path
) -> None:
    before = faults.rows(dataset)
    more = write_pcap(tmp_path / "more.pcap", [(START, udp_frame(one)) for one in flux_answers(9)])
    done = run("scan", more, "--save", dataset, limit=limited(resource.RLIMIT_FSIZE, 1024))
    assert done.returncode == 1
    assert "too large" in said(done)
    assert faults.rows(dataset) == before
    assert run("scan", more, "--save", dataset).returncode == 0
    assert faults.rows(dataset) != before


@needs_namespaces
def test_a_disk_without_space_is_said(logs: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=16k none {disk} && exec "$@"'
    done = run(
        "scan", logs, "--save", disk / "dataset", before=(*NAMESPACE, "sh", "-c", script, "sh")
    )
    assert done.returncode == 1
    assert "No space left on device" in said(done)


@needs_namespaces
def test_a_read_only_disk_is_said_when_saving_and_no_matter_when_reading(
    logs: Path, dataset: Path
) -> None:
    script = f'mount --bind {dataset} {dataset} && mount -o remount,ro,bind {dataset} && exec "$@"'
    inside = (*NAMESPACE, "sh", "-c", script, "sh")
    done = run("scan", logs, "--save", dataset, before=inside)
    assert done.returncode == 1
    assert "Read-only file system" in said(done)
    read = run("scan", dataset, "--json", before=inside)
    assert read.returncode == 0
    assert json.loads(read.stdout)["summary"]["names"]["judged"] == 1


def test_no_file_descriptors_left_is_said(logs: Path, tmp_path: Path) -> None:
    for limit in (8, 16):
        done = run(
            "scan", logs, "--save", tmp_path / f"{limit}",
            limit=limited(resource.RLIMIT_NOFILE, limit),
        )  # fmt: skip
        if done.returncode:
            assert "Too many open files" in done.stderr
            # Python itself may not start with so few; what unflux says is a sentence.
            assert "unflux:" not in done.stderr or "Traceback" not in done.stderr
    done = run("scan", logs, "--save", tmp_path / "all", limit=limited(resource.RLIMIT_NOFILE, 32))
    assert done.returncode == 0, done.stderr


def broken(kind: str, path: Path) -> None:
    """Do something to a file that a disk or a person may do."""
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "flipped":  # in the first page of values, behind the magic number
        path.write_bytes(
            content[:40] + bytes(byte ^ 0x55 for byte in content[40:60]) + content[60:]
        )
    elif kind == "footer":
        path.write_bytes(content[:-200] + bytes(192) + content[-8:])
    elif kind == "directory":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "flipped", "footer", "directory"])
def test_a_broken_part_is_named_once_and_the_others_are_judged(dataset: Path, kind: str) -> None:
    part = Dataset.open(dataset).files[-1]
    broken(kind, part)
    history = sightings.reduce([dataset])
    wrong = [one for one in history.inputs if one.books.error]
    assert [one.path for one in wrong] == [part]
    assert "\n" not in wrong[0].books.error
    assert history.sightings_table().num_rows > 0


def test_a_broken_part_is_said_when_adding_too(cli: Cli, logs: Path, dataset: Path) -> None:
    part = Dataset.open(dataset).files[-1]
    broken("cut", part)
    done = cli("scan", logs, "--save", dataset)
    assert done.returncode == 1
    assert str(part) in said(done).replace("\n", "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"unflux_dataset": 7}',
        b'{"unflux_dataset": 1e400}',
        b'{"parts": 3}',
        b'{"parts": ["/etc/passwd"]}',
        b'{"parts": ["sightings/day=2026-01-01/../../../x/part-00000.parquet"]}',
    ],
)
def test_a_broken_manifest_is_one_sentence_with_its_path(dataset: Path, content: bytes) -> None:
    (dataset / "manifest.json").write_bytes(content)
    with pytest.raises(UnfluxError, match=str(dataset)) as caught:
        Dataset.open(dataset)
    assert "\n" not in str(caught.value)


def test_a_link_out_of_a_dataset_is_not_followed(dataset: Path, tmp_path: Path) -> None:
    part = Dataset.open(dataset).files[0]
    outside = tmp_path / "outside.parquet"
    part.rename(outside)
    part.symlink_to(outside)
    assert part not in Dataset.open(dataset).files


def test_a_directory_without_its_tables_or_with_none_at_all(cli: Cli, dataset: Path) -> None:
    shutil.rmtree(dataset / "activity")
    done = cli("scan", dataset, "--json")
    assert done.returncode == 1
    assert "No such file or directory" in said(done)
    shutil.rmtree(dataset / "sightings")
    (dataset / "manifest.json").write_text('{"unflux_dataset": 1}')
    done = cli("scan", dataset, "--json")
    assert json.loads(done.stdout)["summary"]["names"]["judged"] == 0
    assert done.returncode == 0
    assert said(done) == ""
    (dataset / "manifest.json").write_text("{}")  # anybody's
    done = cli("scan", dataset)
    assert done.returncode == 1
    assert "nothing in this directory is in a format" in said(done)


def test_many_threads_that_add_get_the_lock_or_a_sentence(logs: Path, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def add(path: Path) -> None:
        try:
            sightings.add_to(Dataset.open(tmp_path / "dataset"), [path], ReadOptions())
        except UnfluxError as error:
            failures.append(error)

    threads = [threading.Thread(target=add, args=(path,)) for path in sorted(logs.iterdir())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(error) for error in failures if "another unflux" not in str(error)] == []
    known = {Path(one.path).name for one in Dataset.open(tmp_path / "dataset").manifest.inputs}
    assert len(known) == len(threads) - len(failures)
