#!/usr/bin/env python3
"""Captures to sightings: pcap, pcapng and dnstap, one core and two, beside a tight C loop.

    python bench/captures.py [RESPONSES] [ROUNDS]

The capture is made here (names by Zipf, a tenth of them rotating): nothing else is needed but a C
compiler. All jobs run in turn in each round; medians are printed.
"""

from __future__ import annotations

import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from unflux import _native, tables
from unflux._native import Progress, Reducer

HERE = Path(__file__).parent
BATCH = 100_000
N_NAMES = 100_000
START_US = 1_790_000_000_000_000
PER_HOUR = 1_000_000


def batch(first: int, n: int, rng: np.random.Generator) -> pa.RecordBatch:
    """Responses `first`… of one to eight A records each."""
    name = np.minimum(rng.zipf(1.2, n), N_NAMES) - 1
    k = 1 + name % 8
    of = np.repeat(np.arange(n), k)
    slot = np.arange(len(of)) - np.repeat(np.cumsum(k) - k, k)
    host = name[of] * 31 + slot
    rotating = name[of] % 10 == 0
    host = np.where(rotating, host + rng.integers(0, 400, len(of)), host) % 131_072
    us = START_US + (first + of) * (3_600_000_000 // PER_HOUR)
    names = pa.array([f"n{number}.bench.test." for number in range(N_NAMES)])
    hosts = pa.array([f"198.{18 + (h >> 16)}.{h >> 8 & 255}.{h & 255}" for h in range(131_072)])
    clients = pa.array([f"198.19.{240 + c // 250}.{1 + c % 250}" for c in range(1000)])
    client = clients.take(pa.array((name * 7 + first) % 1000)).take(pa.array(of))
    owner = names.take(pa.array(name[of]))
    rows = len(of)

    def same(text: str) -> pa.Array:
        return pa.array([text]).take(pa.array(np.zeros(rows, np.int64)))

    columns = {
        "ts": pa.array(us).cast(tables.TIME),
        "sensor": same("bench"),
        "client": client,
        "server": same("198.19.255.53"),
        "vantage": same("client"),
        "response": pa.array((first + of).astype(np.uint64)),
        "qname": owner,
        "qtype": same("A"),
        "rcode": same("NOERROR"),
        "section": same("answer"),
        "owner": owner,
        "rdtype": same("A"),
        "ttl": pa.array(np.full(rows, 300, np.uint32)),
        "rdata": hosts.take(pa.array(host)),
    }
    return pa.RecordBatch.from_pydict(columns)


def write_all(folder: Path, n: int) -> dict[str, Path]:
    """The same responses in each format."""
    paths = {name: folder / f"bench.{name}" for name in ("pcap", "pcapng", "dnstap")}
    content = b"protobuf:dnstap.Dnstap"
    control = struct.pack(">III", 2, 1, len(content)) + content
    with (
        paths["pcap"].open("wb") as pcap,
        paths["pcapng"].open("wb") as pcapng,
        paths["dnstap"].open("wb") as dnstap,
    ):
        pcap.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
        pcapng.write(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
        pcapng.write(struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20))
        dnstap.write(struct.pack(">II", 0, len(control)) + control)
        rng = np.random.default_rng(1)
        for first in range(0, n, BATCH):
            some = batch(first, min(BATCH, n - first), rng)
            records = _native.compose(some, "pcap")
            pcap.write(records)
            pcapng.write(b"".join(blocks(records)))
            dnstap.write(_native.compose(some, "dnstap"))
        dnstap.write(struct.pack(">III", 0, 4, 3))
    return paths


def blocks(records: bytes) -> list[bytes]:
    """pcap records as enhanced packet blocks."""
    at, found = 0, []
    while at < len(records):
        seconds, micros, length, _ = struct.unpack_from("<IIII", records, at)
        frame = records[at + 16 : at + 16 + length]
        units = seconds * 1_000_000 + micros
        padding = -length % 4
        size = 32 + length + padding
        head = struct.pack("<IIIIIII", 6, size, 0, units >> 32, units & 0xFFFFFFFF, length, length)
        found.append(head + frame + b"\0" * padding + struct.pack("<I", size))
        at += 16 + length
    return found


def reduce(form: str, path: Path, threads: int) -> float:
    """Seconds from file to sightings."""
    started = time.perf_counter()
    reducer = Reducer()
    books, error = reducer.read(
        form, path, Progress(), ports=[53], vantage="unknown",
        since_us=-(2**63), until_us=2**63 - 1, threads=threads,
    )  # fmt: skip
    reducer.finish(threads)
    seconds = time.perf_counter() - started
    if error is not None or books["malformed"]:
        raise SystemExit(f"{path}: {error or books['malformed']}")
    return seconds


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_all(folder, n)
        reference = folder / "reference"
        compiler = shutil.which("cc") or "cc"
        options = ["-O3", "-march=native", "-o", str(reference), str(HERE / "reference.c")]
        subprocess.run([compiler, *options], check=True)
        took = defaultdict(list)
        for _ in range(rounds):
            started = time.perf_counter()
            subprocess.run([reference, paths["pcap"]], check=True, stdout=subprocess.DEVNULL)
            took["tight C loop, pcap", 1].append(time.perf_counter() - started)
            for form, path in paths.items():
                for threads in (1, 2):
                    took[form, threads].append(reduce(form, path, threads))
    loop = statistics.median(took["tight C loop, pcap", 1])
    print("| input | cores | responses/s | ratio to the C loop |\n| --- | --- | --- | --- |")
    for (form, threads), seconds in took.items():
        median = statistics.median(seconds)
        print(f"| {form} | {threads} | {n / median / 1e6:.2f} M | {loop / median:.2f} |")


if __name__ == "__main__":
    main()
