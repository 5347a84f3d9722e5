"""Features and verdicts of many names: python bench/detect.py [NAMES]. Prints a table.

A day of answers is made first (not counted): most names stay where they are, a third has several
addresses, one in fifty rotates over a pool of its own or a shared one.
"""

from __future__ import annotations

import functools
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unflux import detect, enrich, features, sightings, tables
from unflux.lab.model import plan
from unflux.sources.base import ReadOptions

START_US = 1_790_000_000_000_000 - 1_790_000_000_000_000 % 3_600_000_000
LOOKS = 6
"""Answers of a name in the day."""
CHUNK = 50_000


@functools.cache
def texts() -> pa.Array:
    """All addresses."""
    return pa.array([plan.text_of(int(plan.LAB_V4[0]) + number) for number in range(100_000)])


def answers(first: int, n: int, rng: np.random.Generator) -> pa.Table:
    """The rows of some names."""
    names = np.arange(first, first + n)
    k = np.where(names % 3 == 0, 2 + names % 4, 1)
    rotates = names % 50 == 0
    name = np.repeat(names, LOOKS)
    look = np.tile(np.arange(LOOKS), n)
    response = name * LOOKS + look
    at = (rng.random(len(name)) * 86_400e6).astype(np.int64)
    size = np.where(np.repeat(rotates, LOOKS), 8, np.repeat(k, LOOKS))
    row = np.repeat(np.arange(len(name)), size)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)
    fixed = (name[row] * 7919 + slot * 104_729) % 100_000
    pool = (name[row] // 1000 * 331 + rng.integers(0, 200, len(row))) % 100_000
    host = np.where(np.repeat(rotates, LOOKS)[row], pool, fixed)
    domains = pa.array([f"www.d{number}.test." for number in names])
    owner = domains.take(pa.array(name[row] - first))
    columns = {
        "ts": pa.array(START_US + at[row], pa.timestamp("us", tz="UTC")),
        "vantage": pa.array(["upstream"] * len(row)),
        "response": pa.array(response[row].astype(np.uint64)),
        "qname": owner,
        "qtype": pa.array(["A"] * len(row)),
        "rcode": pa.array(["NOERROR"] * len(row)),
        "section": pa.array(["answer"] * len(row)),
        "owner": owner,
        "rdtype": pa.array(["A"] * len(row)),
        "ttl": pa.array(np.full(len(row), 300, np.uint32)),
        "rdata": texts().take(pa.array(host)),
    }
    blank = pa.nulls(len(row), pa.string())
    table = pa.table({name: columns.get(name, blank) for name in tables.ANSWERS.names})
    in_time = pa.array(np.lexsort((row, at[row])))  # as a capture has them
    return table.take(in_time).cast(tables.ANSWERS)


def make(path: Path, n: int) -> None:
    """Write the day."""
    rng = np.random.default_rng(1)
    with pq.ParquetWriter(path, tables.ANSWERS) as writer:
        for first in range(0, n, CHUNK):
            writer.write_table(answers(first, min(CHUNK, n - first), rng))


def main() -> None:
    """Make, reduce, then measure features and verdicts."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as folder:
        path = Path(folder) / "answers.parquet"
        making = multiprocessing.get_context("spawn").Process(target=make, args=(path, n))
        making.start()  # its memory is not that of the features
        making.join()
        plan.write_tables(Path(folder))
        started, cpu = time.perf_counter(), time.process_time()
        enrichment = enrich.load(Path(folder) / "asn.mmdb", Path(folder) / "country.mmdb")
        history = sightings.reduce([path], ReadOptions(threads=2))
    print("| step | names | sightings | wall s | CPU s | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    size = sum(batch.num_rows for batch in history.sightings)
    line("read", n, size, started, cpu)
    started, cpu = time.perf_counter(), time.process_time()
    table = features.compute(history, enrichment, threads=2).table
    line("features", n, size, started, cpu)
    started, cpu = time.perf_counter(), time.process_time()
    detector = detect.by_id("unflux")
    detector.judge(table)
    line(f"unflux v{detector.version}", n, size, started, cpu)


def line(step: str, n: int, size: int, started: float, cpu: float) -> None:
    """One row of the table."""
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"| {step} | {n:,} | {size:,} | {wall_s:.1f} | {cpu_s:.1f} | {peak:,} |", flush=True)


if __name__ == "__main__":
    main()
