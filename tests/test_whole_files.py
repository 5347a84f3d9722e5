"""Files and directories that appear whole or not at all, and what killed writers left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import Cli, flux_answers, udp_frame, write_pcap
from unflux.errors import UnfluxError
from unflux.sightings import check_new_directory, whole_directory, whole_file

WRITER = """
import sys
from pathlib import Path
from unflux import sightings
kind, path = sys.argv[1:]
with getattr(sightings, kind)(Path(path)) as temporary:
    target = temporary / "half" if temporary.is_dir() else temporary
    target.write_text("half a zone")
    print("writing", flush=True)
    sys.stdin.read()
"""


@contextmanager
def a_writer(kind: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing."""
    command = [sys.executable, "-c", WRITER, kind, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("kind", ["whole_file", "whole_directory"])
def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / ".rpz.unflux-notours1.txt").write_text("somebody else's")
    with a_writer(kind, tmp_path / "rpz") as living:
        with a_writer(kind, tmp_path / "rpz") as killed:
            pass
        assert killed.returncode == -signal.SIGKILL
        assert len(names(tmp_path)) == 3
        with whole_file(tmp_path / "other") as temporary:
            temporary.write_text("whole")
        assert len(names(tmp_path)) == 3  # the living one's, the other file, and somebody else's
        assert (tmp_path / "other").read_text() == "whole"
        living.communicate()
    target = tmp_path / "rpz" / "half" if kind == "whole_directory" else tmp_path / "rpz"
    assert target.read_text() == "half a zone"
    assert names(tmp_path) == [".rpz.unflux-notours1.txt", "other", "rpz"]


def test_a_directory_that_is_there_is_filled_and_left_empty_when_killed(tmp_path: Path) -> None:
    out = tmp_path / "volume"
    out.mkdir()
    number = out.stat().st_ino
    with a_writer("whole_directory", out), pytest.raises(UnfluxError, match="not empty"):
        check_new_directory(out)
    with whole_directory(out) as temporary:  # what the killed one left does not stand in the way
        (temporary / "report.html").write_text("whole")
    assert names(out) == ["report.html"]
    assert out.stat().st_ino == number
    assert names(tmp_path) == ["volume"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), whole_directory(tmp_path / "out") as temporary:
        (temporary / "half").mkdir()
        raise ValueError("broken")
    with pytest.raises(ValueError, match="broken"), whole_file(tmp_path / "file"):
        raise ValueError("broken")
    assert names(tmp_path) == []


def test_files_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_directory(tmp_path / "out") as temporary, whole_file(temporary / "file"):
            pass
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("out", "out/file")]
    assert modes == [0o750, 0o640]


def test_scan_out_is_whole_or_not_there(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report fails at the end, when the tables are on disk already."""
    from unflux import pipeline, share
    from unflux.pipeline import ScanOptions
    from unflux.share import files

    frames = [
        (1_790_000_000.0 + 300 * n, udp_frame(wire)) for n, wire in enumerate(flux_answers(3))
    ]
    capture = write_pcap(tmp_path / "dns.pcap", frames)
    options = ScanOptions()
    scan = pipeline.scan([capture], options)
    monkeypatch.setattr(share.report, "write_report", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_directory(scan, tmp_path / "out", options)
    assert names(tmp_path) == ["dns.pcap"]
    monkeypatch.undo()
    done = cli("scan", capture, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert names(tmp_path / "out") == [
        "activity", "findings.ndjson", "manifest.json", "report.html", "sightings", "summary.json"
    ]  # fmt: skip


def _interrupted(*_arguments: object) -> None:
    raise KeyboardInterrupt
