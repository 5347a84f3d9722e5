#!/usr/bin/env python3
"""Kill `unflux scan --save` at random points, again and again, and compare with an undisturbed run.

`faults.py [--kills 200] [--seed 1]` prints a line of figures and fails when a restart fails or a
dataset differs. The whole command runs, with parts after each file instead of each GiB, so that
there is much to tear apart. `tests/test_faults.py` does the same with fewer kills.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unflux import sightings
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.sightings import Dataset

SCAN = """
import sys
from unflux.sightings import reading
reading.SAVE_EVERY_BYTES = 1
from unflux.cli import main
sys.argv = ["unflux", *sys.argv[1:]]
main()
"""


@dataclass(slots=True)
class Outcome:
    """What became of runs that were killed."""

    kills: int = 0
    finished: int = 0
    """Runs that ended before their kill came, each compared with the undisturbed one."""
    parts_when_killed: list[int] = field(default_factory=list)
    """Parts that counted after each kill: that they differ shows that the points differed."""
    failures: list[str] = field(default_factory=list)


def start(inputs: Path, dataset: Path) -> subprocess.Popen[bytes]:
    """The command as a user types it, in a process of its own."""
    command = [sys.executable, "-c", SCAN, "scan", str(inputs), "--save", str(dataset), "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def rows(dataset: Path) -> list[dict[str, Any]]:
    """Everything that a dataset holds, in a fixed order."""
    history = sightings.reduce([dataset])
    errors = [one.books.error for one in history.inputs if one.books.error]
    if errors:
        raise AssertionError(errors[0])
    tables = (history.sightings_table(), history.activity_table())
    return [row for table in tables for row in sorted(table.to_pylist(), key=repr)]


def wait_for(done: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:
        time.sleep(0.002)


def undisturbed(inputs: Path, dataset: Path) -> tuple[list[dict[str, Any]], float]:
    """The rows of an undisturbed run, and how long it worked on the dataset."""
    process = start(inputs, dataset)
    wait_for((dataset / ".lock").exists)
    began = time.monotonic()
    _, stderr = process.communicate(timeout=300)
    if process.returncode:
        raise AssertionError(stderr.decode())
    return rows(dataset), time.monotonic() - began


def torture(inputs: Path, folder: Path, kills: int, seed: int) -> Outcome:
    """Kill runs on one dataset until it is whole, then begin a new one, until all kills are done."""
    chance, outcome = random.Random(seed), Outcome()  # noqa: S311  no secret
    expected, working_s = undisturbed(inputs, folder / "undisturbed")
    number = 0
    while outcome.kills < kills:
        dataset = folder / f"killed-{number}"
        number += 1
        while outcome.kills < kills and _killed(inputs, dataset, chance, working_s, outcome):
            pass
        process = start(inputs, dataset)
        _, stderr = process.communicate(timeout=300)
        if process.returncode:
            outcome.failures.append(stderr.decode())
        elif rows(dataset) != expected:
            outcome.failures.append(f"{dataset}: other rows than an undisturbed run")
        left = [path for path in dataset.rglob(".*.*") if path.is_file()]
        outcome.failures += [f"{path} was left behind" for path in left]
    return outcome


def _killed(
    inputs: Path, dataset: Path, chance: random.Random, working_s: float, outcome: Outcome
) -> bool:
    """One run with its kill; whether the kill came before its end. Then the dataset must be whole."""
    lock = dataset / ".lock"
    before = lock.stat().st_mtime_ns if lock.exists() else 0
    process = start(inputs, dataset)
    wait_for(
        lambda: (
            process.poll() is not None
            or (lock.exists() and lock.stat().st_mtime_ns != before)
        )
    )
    time.sleep(chance.uniform(0, working_s))
    process.send_signal(signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    outcome.kills += process.returncode == -signal.SIGKILL
    outcome.finished += process.returncode == 0
    if process.returncode not in (0, -signal.SIGKILL):
        outcome.failures.append(stderr.decode())
    outcome.parts_when_killed.append(len(Dataset.open(dataset).files))
    if process.returncode == -signal.SIGKILL:
        rows(dataset)  # what counts can be read, whatever the moment was
        return True
    return False


def make_inputs(folder: Path, pieces: int = 24) -> Path:
    """Captures of an emulated world, an even share of its hours each."""
    inputs = folder / "captures"
    inputs.mkdir()
    for seed in range(1, pieces + 1):
        world = folder / f"world-{seed}"
        synth(scenarios.load("walk", seed=seed, hours=0.25), world, ["pcap"])
        os.replace(world / "upstream.pcap", inputs / f"{seed:02}.pcap")  # noqa: PTH105
    return inputs


def main() -> None:
    """Make inputs, kill, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unflux-faults-") as name:
        folder = Path(name)
        outcome = torture(make_inputs(folder), folder, options.kills, options.seed)
    different = len(set(outcome.parts_when_killed))
    print(
        f"{outcome.kills} kills, {outcome.finished} runs that were faster than theirs, at "
        f"{different} different states of the dataset; {len(outcome.failures)} failures"
    )
    if outcome.failures:
        raise SystemExit("\n".join(outcome.failures[:10]))


if __name__ == "__main__":
    main()
