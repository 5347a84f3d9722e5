#!/usr/bin/env python3
"""Kill unflux at random points, again and again, and compare with an undisturbed run.

`faults.py [--what scan|watch|track|rejudge] [--kills 200] [--seed 1]` prints a line of figures and
fails when a restart fails, or what is kept differs from what the documentation states. Here is
`scan --save`: the whole command runs, with parts after each file instead of each GiB, so that
there is much to tear apart; the others are in `faults_watch.py`, `faults_track.py` and
`faults_rejudge.py`. `tests/test_faults.py` does the same with fewer kills.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unflux import cli, sightings
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.sightings import Dataset, reading

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["unflux.cli", "unflux.pipeline", "duckdb", "pyarrow.parquet"])


def command(words: list[str], said: Path) -> None:
    """The command as a user types it, with standard error in a file."""
    with said.open("wb") as errors, Path(os.devnull).open("wb") as nowhere:
        os.dup2(errors.fileno(), 2)
        os.dup2(nowhere.fileno(), 1)
    sys.argv = ["unflux", *words]
    cli.app()


def scan(inputs: Path, dataset: Path, said: Path) -> None:
    """`unflux scan --save` with a part for each file."""
    reading.SAVE_EVERY_BYTES = 1
    command(["scan", str(inputs), "--save", str(dataset), "--json"], said)


@dataclass(slots=True)
class Outcome:
    """What became of runs that were killed."""

    kills: int = 0
    finished: int = 0
    """Runs that ended before their kill came, each compared with the undisturbed one."""
    parts_when_killed: list[int] = field(default_factory=list)
    """Parts that counted after each kill: that they differ shows that the points differed."""
    failures: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """What else was measured, by a name that says what it is."""

    def kill(self, run: Run, *, may_end: bool = True) -> int:
        """Kill a run; how it ended, which is a failure unless it was killed, or was done before."""
        run.process.kill()
        ended = run.end()
        self.kills += ended == -signal.SIGKILL
        self.finished += ended == 0
        said = run.said.read_text() if run.said.exists() else ""  # killed before it said anything
        expected = ended == -signal.SIGKILL or (may_end and ended == 0)
        if not expected or "Traceback" in said:
            self.failures.append(said)
        return ended

    def look(self, parts: Callable[[], int]) -> None:
        """Read what a killed run left: that it cannot be read is a failure."""
        try:
            self.parts_when_killed.append(parts())
        except Exception as error:
            self.failures.append(f"after a kill: {error!r}")


class Run:
    """The command in a process of its own, forked from one that has imported everything."""

    def __init__(self, target: Callable[..., None], *arguments: object, said: Path) -> None:
        self.said = said
        self.process = CONTEXT.Process(target=target, args=(*arguments, said))
        self.process.start()

    @classmethod
    def scan(cls, inputs: Path, dataset: Path) -> Run:
        """`unflux scan --save`."""
        return cls(scan, inputs, dataset, said=dataset.with_suffix(".stderr"))

    def end(self) -> int | None:
        """Wait for its end; the exit code, or minus the signal that ended it."""
        self.process.join(300)
        return self.process.exitcode


def rows(dataset: Path) -> list[dict[str, Any]]:
    """Everything that a dataset holds, in a fixed order."""
    history = sightings.reduce([dataset])
    errors = [one.books.error for one in history.inputs if one.books.error]
    if errors:
        raise AssertionError(errors[0])
    return rows_of(history)


def rows_of(history: sightings.History) -> list[dict[str, Any]]:
    """Both tables, in a fixed order."""
    tables = (history.sightings_table(), history.activity_table())
    return [row for table in tables for row in sorted(table.to_pylist(), key=repr)]


def wait_for(done: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:
        time.sleep(0.002)


def undisturbed(inputs: Path, dataset: Path) -> tuple[list[dict[str, Any]], float]:
    """The rows of an undisturbed run, and how long it worked on the dataset."""
    run = Run.scan(inputs, dataset)
    wait_for((dataset / ".lock").exists)
    began = time.monotonic()
    if run.end() != 0:
        raise AssertionError(run.said.read_text())
    return rows(dataset), time.monotonic() - began


def torture(inputs: Path, folder: Path, kills: int, seed: int) -> Outcome:
    """Kill runs on one dataset until it is whole, then begin a new one, up to so many kills."""
    chance, outcome = random.Random(seed), Outcome()  # noqa: S311  no secret
    undisturbed(inputs, folder / "warm")
    expected, working_s = undisturbed(inputs, folder / "undisturbed")
    number = 0
    while outcome.kills < kills:
        dataset = folder / f"killed-{number}"
        number += 1
        while outcome.kills < kills and _killed(inputs, dataset, chance, working_s, outcome):
            pass
        run = Run.scan(inputs, dataset)
        if run.end() != 0:
            outcome.failures.append(run.said.read_text())
        elif rows(dataset) != expected:
            outcome.failures.append(f"{dataset}: other rows than an undisturbed run")
        left = [path for path in dataset.rglob(".*.*") if path.is_file()]
        outcome.failures += [f"{path} was left behind" for path in left]
    return outcome


def _killed(
    inputs: Path, dataset: Path, chance: random.Random, working_s: float, outcome: Outcome
) -> bool:
    """One run with its kill; whether the kill came before its end. The dataset must be whole."""
    lock = dataset / ".lock"
    before = lock.stat().st_mtime_ns if lock.exists() else 0
    run = Run.scan(inputs, dataset)
    wait_for(
        lambda: (
            run.process.exitcode is not None
            or (lock.exists() and lock.stat().st_mtime_ns != before)
        )
    )
    # Early ones are likelier: a small part of the time is writing, the rest is judging afterwards.
    time.sleep(working_s * chance.random() ** 3)
    ended = outcome.kill(run)
    outcome.parts_when_killed.append(len(Dataset.open(dataset).files))
    if Dataset.is_at(dataset):
        rows(dataset)  # what counts can be read, whatever the moment was
    return ended == -signal.SIGKILL


def make_inputs(folder: Path, pieces: int = 24) -> Path:
    """Captures of an emulated world, an even share of its hours each."""
    inputs = folder / "captures"
    inputs.mkdir()
    for seed in range(1, pieces + 1):
        world = folder / f"world-{seed}"
        synth(scenarios.load("walk", seed=seed, hours=0.25), world, ["pcap"])
        os.replace(world / "upstream.pcap", inputs / f"{seed:02}.pcap")  # noqa: PTH105
    return inputs


def torture_of(what: str) -> Callable[[Path, int, int], Outcome]:
    """What kills a command, given a new directory, a number of kills and a seed."""
    if what == "scan":
        return lambda folder, kills, seed: torture(make_inputs(folder), folder, kills, seed)
    found: Callable[[Path, int, int], Outcome] = importlib.import_module(f"faults_{what}").torture
    return found


def main() -> None:
    """Make inputs, kill, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=["scan", "watch", "track", "rejudge"], default="scan")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unflux-faults-") as name:
        outcome = torture_of(options.what)(Path(name), options.kills, options.seed)
    different = len(set(outcome.parts_when_killed))
    print(
        f"{options.what}: {outcome.kills} kills, {outcome.finished} runs that were faster than "
        f"theirs, at {different} different states on disk; {len(outcome.failures)} failures"
    )
    for name, value in outcome.figures.items():
        print(f"  {name}: {value:g}")
    if outcome.failures:
        raise SystemExit("\n".join(outcome.failures[:10]))


if __name__ == "__main__":
    main()
