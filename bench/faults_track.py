"""Kill `unflux track run` at random points: what it heard is kept once, nobody is asked too soon.

A server on loopback gives each answer an address of its own, and notes who asked what when. So the
history can be compared with what really happened: an address in it twice was counted twice, one
that is missing was lost, and two equal questions show the time between them. See `faults.py`.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from collections import defaultdict
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

from faults import Outcome, Run, command, rows
from faults_watch import findings

from unflux.sightings import Dataset
from unflux.track.store import Store

N_NAMES, FLOOR_S, FLUSH_S, LIFE_S = 40, 1.0, 0.3, 1.5
MAX_LOST_S = 1.5
"""Oldest answer that a kill may cost: those on their way to the disk, on a busy machine."""
A_TTL_S = 1


class Server:
    """Answers A questions with an address that nobody got before, and all others with nothing."""

    def __init__(self) -> None:
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.answered: list[tuple[float, str]] = []
        """When each address went out."""
        self.asked: defaultdict[bytes, list[float]] = defaultdict(list)
        """When each question came."""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                query, client = self.socket.recvfrom(4096)
                self.socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12) + 5
        self.asked[query[12:end]].append(time.monotonic())
        is_address = query[end - 4 : end - 2] == b"\0\1"
        head = query[:2] + b"\x81\x80\0\1" + struct.pack(">H", is_address) + b"\0\0\0\0"
        if not is_address:
            return head + query[12:end]
        address = struct.pack(">I", (198 << 24) + (18 << 16) + len(self.answered) + 1)
        self.answered.append((time.monotonic(), socket.inet_ntoa(address)))
        return head + query[12:end] + b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", A_TTL_S, 4) + address

    def shortest_s(self) -> float:
        """Shortest time between two equal questions."""
        gaps = [b - a for times in self.asked.values() for a, b in pairwise(times)]
        return min(gaps)


def track(directory: Path, port: int, for_s: float, said: Path) -> None:
    """The command as a user types it."""
    settings = {"floor_s": FLOOR_S, "overall_s": 1e4, "per_server_s": 1e4, "per_name_h": 1e5,
                "per_zone_h": 1e6, "timeout_s": 1, "patience": 10_000}  # fmt: skip
    words = ["track", "run", "--dir", str(directory), "--resolver", f"127.0.0.1:{port}"]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command([*words, "--flush-every", f"{FLUSH_S}s", "--for", f"{for_s}s"], said)


def begin(directory: Path) -> None:
    """List names."""
    store = Store(directory)
    store.add_names([(f"w{number}.test.", "faults") for number in range(N_NAMES)], time.time())
    store.close()


def torture(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill trackers of one directory, restart them, and compare with what the server did."""
    chance, outcome = random.Random(seed), Outcome()  # noqa: S311  no secret
    longest_s = _calm(folder / "undisturbed", folder, outcome)
    directory, server, killed_at_s = folder / "killed", Server(), []
    begin(directory)
    while outcome.kills < kills:
        run = Run(track, directory, server.port, 600, said=folder / "track.stderr")
        time.sleep(chance.uniform(0, longest_s))
        outcome.kill(run, may_end=False)
        killed_at_s.append(time.monotonic())
        outcome.look(partial(_look, directory))
    run = Run(track, directory, server.port, FLOOR_S * 2, said=folder / "last.stderr")
    if run.end() != 0:
        outcome.failures.append(run.said.read_text())
    server.socket.close()
    _compare(directory, server, killed_at_s, outcome)
    return outcome


def _calm(directory: Path, folder: Path, outcome: Outcome) -> float:
    """A tracker that nobody disturbs loses nothing; returns how long a life should be."""
    server, for_s = Server(), FLOOR_S * 2
    begin(directory)
    started = time.monotonic()
    run = Run(track, directory, server.port, for_s, said=folder / "calm.stderr")
    if run.end() != 0:
        raise AssertionError(run.said.read_text())
    server.socket.close()
    calm = Outcome()
    _compare(directory, server, [], calm)
    outcome.failures += [f"undisturbed: {one}" for one in calm.failures]
    return max(time.monotonic() - started - for_s, 0) + LIFE_S


def _look(directory: Path) -> int:
    """Read everything that is on disk; returns the inputs that the dataset has taken in."""
    store = Store.existing(directory)
    store.targets(), store.names(), store.pending(1_000_000)
    [said] = store.database.execute("PRAGMA integrity_check").fetchone()
    store.close()
    if said != "ok":
        raise AssertionError(said)
    with suppress(FileNotFoundError):
        for line in (directory / "findings.ndjson").read_text().splitlines():
            json.loads(line)
    if not Dataset.is_at(directory / "dataset"):
        return 0
    rows(directory / "dataset")
    return len(Dataset.open(directory / "dataset").manifest.inputs)


def _compare(directory: Path, server: Server, killed_at_s: list[float], outcome: Outcome) -> None:
    """The history beside what the server knows."""
    there = [row for row in rows(directory / "dataset") if row.get("rdata")]
    kept = {row["rdata"]: row["count_raw"] for row in there if row["rdtype"] == "A"}
    gone = [(at, one) for at, one in server.answered if one not in kept]
    twice = [one for one, count in kept.items() if count != 1]
    if twice:
        outcome.failures.append(f"{len(twice)} answers were counted more than once")
    if kept.keys() - {one for _, one in server.answered}:
        outcome.failures.append("there are answers that nobody gave")
    ages = [min((k - at for k in killed_at_s if k >= at), default=9e9) for at, _ in gone]
    if ages and max(ages) > MAX_LOST_S:
        outcome.failures.append(f"an answer was lost {max(ages):.1f} s before any kill")
    if server.shortest_s() < 0.9 * FLOOR_S:
        outcome.failures.append(f"the same was asked after {server.shortest_s():.2f} s")
    told = {}
    for line in (directory / "findings.ndjson").read_text().splitlines():
        one = json.loads(line)
        told[one["dns"]["question"]["name"]] = (one["rule"]["name"], one["flux"]["score"])
    judged = {
        name: found for name, found in findings(directory / "dataset").items() if name in told
    }
    if told != judged or len(told) != N_NAMES:
        outcome.failures.append("findings.ndjson is not what the dataset says")
    left = [*(directory / "spool").glob("*"), *directory.rglob(".*.*")]
    outcome.failures += [f"{path} was left behind" for path in left]
    outcome.figures |= {
        "answers given": len(server.answered),
        "answers lost": len(gone),
        "oldest of them, s before its kill": round(max(ages, default=0), 2),
        f"shortest time between two equal questions, s (floor {FLOOR_S} s)": round(
            server.shortest_s(), 2
        ),
    }
