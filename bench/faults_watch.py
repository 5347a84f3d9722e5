"""Kill `unflux watch` at random points: what is lost is the newest of each life, and no more.

A feeder writes answers into the watch's socket as long as it lives, each with addresses that come
once. After the last restart the dataset is compared, row by row and finding by finding, with that
of a watch that nobody disturbed and that got the same answers but the lost ones. See `faults.py`.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dns.zone
from faults import Outcome, Run, command, rows, wait_for
from watch import connect, event

from unflux import pipeline
from unflux.pipeline import ScanOptions
from unflux.sightings import Dataset
from unflux.watch.store import BlockStore

TICK_S, CHECKPOINT_S = 0.1, 0.2
LIFE_S = 1.2
"""A kill comes within so long after it listens, or before that."""
ANSWERS_OF_A_NAME, ADDRESSES_OF_AN_ANSWER = 4, 5
STOP = struct.pack(">III", 0, 4, 3)
PAUSE_S = 0.01
MAX_LOST_S = 3.0
"""Oldest answer that a kill may cost: the interval, and what saving takes on a busy machine."""


@dataclass(slots=True)
class Sent:
    """One answer on its way into the watch."""

    at_s: float
    frame: bytes
    addresses: frozenset[str]


@dataclass(slots=True)
class Life:
    """What was sent between a start and its end."""

    sent: list[Sent] = field(default_factory=list)
    killed_at_s: float | None = None


def watch(folder: Path, said: Path) -> None:
    """The command as a user types it."""
    command(
        ["watch", "--dnstap", f"unix:{folder}/tap.sock", "--state", str(folder / "state"),
         "--rpz", str(folder / "zone"), "--rpz-action", "nxdomain", "--memory", "1G",
         "--tick", f"{TICK_S}s", "--checkpoint", f"{CHECKPOINT_S}s"], said,
    )  # fmt: skip


class Feeder:
    """Answers without end: names that rotate, and no address twice."""

    def __init__(self, chance: random.Random) -> None:
        self.hosts = list(range(1, 131_000))
        chance.shuffle(self.hosts)
        self.number = 0
        self.answers = self._answers()

    def _answers(self) -> Iterator[Sent]:
        while True:
            self.number += 1
            for answer in range(ANSWERS_OF_A_NAME):
                hosts = [self.hosts.pop() for _ in range(ADDRESSES_OF_AN_ANSWER)]
                addresses = [f"198.{18 + (h >> 16)}.{(h >> 8) & 255}.{h & 255}" for h in hosts]
                now_s = time.time()
                name = f"rotates{self.number}.test."
                frame = event(name, addresses, 60 * (answer + 1), now_s)
                yield Sent(now_s, frame, frozenset(addresses))

    def feed(self, path: Path, life: Life, stop: threading.Event) -> None:
        """Send until told to stop, or until nobody listens any more."""
        out = None
        while out is None and not stop.is_set():
            with suppress(OSError):
                out = connect(str(path))
            stop.wait(PAUSE_S)
        with suppress(OSError):
            while out is not None and not stop.is_set():
                one = next(self.answers)
                life.sent.append(one)  # before it goes: what may have arrived is known
                out.sendall(one.frame)
                stop.wait(PAUSE_S)
        if out is not None:
            out.close()


def torture(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill watches on one state directory, restart them, and compare at the end."""
    chance, outcome = random.Random(seed), Outcome()  # noqa: S311  no secret
    place = folder / "killed"
    place.mkdir()
    feeder, lives = Feeder(chance), []
    _ended(place, folder / "first.stderr", [])  # imports what it needs once
    started = time.monotonic()
    _ended(place, folder / "second.stderr", [])
    longest_s = time.monotonic() - started + LIFE_S
    while outcome.kills < kills:
        lives.append(_life(place, feeder, chance.uniform(0, longest_s), outcome))
    last = _ended(place, folder / "last.stderr", [])
    if last:
        outcome.failures.append(last)
    dataset = place / "state" / "sightings"
    there = rows(dataset) if Dataset.is_at(dataset) else []
    kept = {row["rdata"] for row in there if row.get("rdata")}
    _mind_losses(lives, kept, outcome)
    calm = folder / "undisturbed"
    calm.mkdir()
    whole = [one.frame for life in lives for one in life.sent if one.addresses <= kept]
    said = _ended(calm, folder / "undisturbed.stderr", whole)
    if said:
        outcome.failures.append(said)
    _compare(dataset, calm / "state" / "sightings", outcome)
    left = [path for path in place.rglob(".*.*") if path.is_file()]
    outcome.figures["files half written that stay beside the zone or the state"] = len(left)
    return outcome


def _life(place: Path, feeder: Feeder, for_s: float, outcome: Outcome) -> Life:
    """One watch from its start to its kill; what is on disk then must be whole."""
    life, stop = Life(), threading.Event()
    socket_path = place / "tap.sock"
    socket_path.unlink(missing_ok=True)
    run = Run(watch, place, said=place / "watch.stderr")
    thread = threading.Thread(target=feeder.feed, args=(socket_path, life, stop))
    thread.start()
    time.sleep(for_s)
    life.killed_at_s = time.time()
    outcome.kill(run, may_end=False)
    stop.set()
    thread.join()
    outcome.look(partial(_look, place))
    return life


def _look(place: Path) -> int:
    """Read everything that is on disk; returns the parts written so far."""
    dataset, zone = place / "state" / "sightings", place / "zone"
    BlockStore(place / "state").load()
    if zone.exists():
        dns.zone.from_file(str(zone), origin="rpz.unflux", relativize=False)
    if not Dataset.is_at(dataset):
        return 0
    rows(dataset)
    parts = Dataset.open(dataset).manifest.parts
    return sum(int(one[-13:-8]) for one in parts)


def _ended(place: Path, said: Path, frames: list[bytes]) -> str:
    """A watch that takes these in and is ended politely; what went wrong, if anything."""
    (place / "tap.sock").unlink(missing_ok=True)
    run = Run(watch, place, said=said)
    path = str(place / "tap.sock")
    wait_for(lambda: _listens(path) or run.process.exitcode is not None)
    if frames:
        with closing(connect(path)) as out:
            for frame in frames:
                out.sendall(frame)
            out.sendall(STOP)
            out.recv(100)  # FINISH: all of it was taken
    if run.process.pid is not None:
        run.process.terminate()
    return "" if run.end() == 0 else said.read_text()


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as one, suppress(OSError):
        one.connect(path)
        return True
    return False


def _mind_losses(lives: list[Life], kept: set[str], outcome: Outcome) -> None:
    """Of each life only its newest answers may be missing, and none in part."""
    oldest_s, n_lost = 0.0, 0
    for life in lives:
        there = [len(one.addresses & kept) for one in life.sent]
        if any(0 < n < ADDRESSES_OF_AN_ANSWER for n in there):
            outcome.failures.append("an answer was kept in part")
        lost = [one for one, n in zip(life.sent, there, strict=True) if not n]
        n_lost += len(lost)
        if lost and any(there[-len(lost) :]):
            outcome.failures.append("an answer is missing that came before one that was kept")
        if lost and life.killed_at_s is not None:
            oldest_s = max(oldest_s, life.killed_at_s - lost[0].at_s)
    if oldest_s > MAX_LOST_S:
        outcome.failures.append(f"an answer of {oldest_s:.1f} s before its kill was lost")
    outcome.figures |= {
        "answers sent": sum(len(life.sent) for life in lives),
        "answers lost": n_lost,
        f"oldest of them, s before its kill (interval {CHECKPOINT_S} s)": round(oldest_s, 2),
    }


def _compare(killed: Path, calm: Path, outcome: Outcome) -> None:
    """Rows and findings of both datasets."""
    if not Dataset.is_at(killed):
        outcome.failures.append("nothing was kept at all: the lives were too short")
        return
    mine, theirs = rows(killed), rows(calm)
    if mine != theirs:
        differ = [pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]]
        outcome.failures.append(
            f"{len(mine)} rows, undisturbed {len(theirs)}; first pair that differs: {differ[:1]}"
        )
    found, expected = findings(killed), findings(calm)
    if found != expected:
        outcome.failures.append("the findings differ from those of the undisturbed watch")
    outcome.figures["flux names found"] = sum("flux" in verdict for verdict, _ in found.values())


def findings(dataset: Path) -> dict[str, tuple[Any, float]]:
    """Verdict and score by name."""
    listed = pipeline.scan([dataset], ScanOptions(min_score=0)).findings
    return {one.name: (one.verdict, one.score) for one in listed}
