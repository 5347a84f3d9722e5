#!/usr/bin/env python3
"""Measure unflux against its peers, interleaved, and print a table (see README.md here)."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"
SOURCES = HERE.parent.parent / "shared" / "perf"
REFERENCE = "tight C loop"


@dataclass(frozen=True)
class Job:
    """A command over a capture."""

    name: str
    command: tuple[str, ...]
    capture: Path
    packets: int


@dataclass(frozen=True)
class Run:
    """What one run took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def build(name: str, source: Path, *flags: str) -> Path:
    """Compile a C file."""
    program = OUT / name
    if not program.exists():
        command = ["gcc", "-O3", "-march=native", "-o", str(program), str(source)]
        subprocess.run([*command, *flags], check=True, capture_output=True)
    return program


def capture(generator: Path, packets: int) -> Path:
    """A generated capture, made once."""
    path = OUT / f"d{packets}.pcap"
    if not path.exists():
        subprocess.run([generator, str(packets), "100000", "1", str(path)], check=True)
    return path


def run(command: Sequence[str]) -> Run:
    """Run a command to its end with its output thrown away."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    return Run(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def jobs(large: int, small: int) -> list[Job]:
    """Everything that is compared; slow peers get the small capture."""
    generator = build("make_capture", SOURCES / "make_capture.c", "-lm")
    reference = str(build("reference", HERE / "reference.c"))
    unflux = [sys.executable, "-m", "unflux", "scan"]
    reduce = [sys.executable, str(HERE / "sightings.py")]
    found = []
    for packets in (large, small):
        path = capture(generator, packets)
        file = str(path)
        listing = {
            REFERENCE: [reference, file],
            "unflux: sightings, one core": [*reduce, file, "1"],
            "unflux: sightings, two cores": [*reduce, file, "2"],
            "unflux: verdict of every name": [*unflux, file, "--json", "--min-score", "2"],
            "unflux: scan --json": [*unflux, file, "--json"],
        }
        if packets == small:
            listing |= peers(file)
        found += [Job(name, tuple(command), path, packets) for name, command in listing.items()]
    return found


def peers(file: str) -> dict[str, list[str]]:
    """What users run today, as far as it is installed."""
    fields = ["dns.qry.name", "dns.a", "dns.aaaa", "dns.resp.ttl"]
    tshark = ["tshark", "-n", "-r", file, "-Y", "dns.flags.response==1", "-T", "fields"]
    known = {
        "tshark, fields only": [*tshark, *(part for field in fields for part in ("-e", field))],
        "dnstop, counts only": ["dnstop", "-R", "-X", "-l", "4", file],
    }
    return {name: command for name, command in known.items() if shutil.which(command[0])}


def measure(everything: list[Job], rounds: int) -> dict[Job, list[Run]]:
    """All jobs in turn, `rounds` times, after one round that warms the page cache."""
    for path in {job.capture for job in everything}:
        run(["cat", str(path)])
    results: dict[Job, list[Run]] = defaultdict(list)
    for number in range(rounds):
        for job in everything:
            results[job].append(run(job.command))
            print(f"round {number + 1}: {job.name}", file=sys.stderr)
    return results


def report(results: dict[Job, list[Run]]) -> None:
    """A Markdown table: medians; the ratio is of CPU time to the C loop in the same round."""
    print("| packets | job | Mpkt/s | CPU s | CPU ratio to C | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    loops = {job.packets: runs for job, runs in results.items() if job.name == REFERENCE}
    for job, runs in results.items():
        pairs = zip(runs, loops[job.packets], strict=True)
        ratio = statistics.median(mine.cpu_s / loop.cpu_s for mine, loop in pairs)
        rate = job.packets / statistics.median(one.wall_s for one in runs) / 1e6
        cpu_s = statistics.median(one.cpu_s for one in runs)
        peak = statistics.median(one.peak_mib for one in runs)
        size = f"{job.packets / 1e6:g} M"
        print(f"| {size} | {job.name} | {rate:.2f} | {cpu_s:.2f} | {ratio:.1f} | {peak:.0f} |")


def main() -> None:
    """Parse the command line and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packets", type=int, default=5_000_000)
    parser.add_argument("--small", type=int, default=1_000_000)
    options = parser.parse_args()
    if not SOURCES.is_dir():
        raise SystemExit(f"the C sources of the bench are looked for in {SOURCES}: not there")
    OUT.mkdir(exist_ok=True)
    report(measure(jobs(options.packets, options.small), options.rounds))


if __name__ == "__main__":
    main()
