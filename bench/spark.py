#!/usr/bin/env python3
"""CPU time of a scan: the embedded engine beside Spark with two workers on loopback.

`spark.py ANSWERS_M [ROUNDS]` makes millions of answers as Parquet (a file per two million), scans
them with both, interleaved, and says what each took: CPU time of all processes (Python, JVM,
master, workers), wall time, and that of an input of one response, which is what start-up costs.
`spark.py ANSWERS_M 0` scans with the embedded engine alone.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unflux import tables

INSTALLED = Path(tables.__file__).parents[1]
FILE_ROWS = 2_000_000
GROUP_ROWS = 250_000
N_NAMES = 200_000
START_US = 1_790_000_000_000_000
TICK = os.sysconf("SC_CLK_TCK")


def write_answers(path: Path, number: int, n_rows: int = FILE_ROWS) -> None:
    """An hour of answers, two a response: names by Zipf; a tenth of them rotates."""
    draw = np.random.default_rng(number)
    n = n_rows // 2
    names = np.minimum(draw.zipf(1.2, n), N_NAMES).astype(np.int64)
    at_us = START_US + number * 3_600_000_000 + np.sort(draw.integers(0, 3_600_000_000, n))
    steady = (names * 7919) % 100_000
    rotating = draw.integers(0, 4096, n)
    hosts = np.where(names % 10 == 0, rotating, steady)[:, None] + np.array([0, 1])
    hosts = hosts.reshape(-1) % 131_072
    owner = texts(np.repeat(names, 2), np.arange(N_NAMES + 1), lambda k: f"www{k % 3}.n{k}.test.")
    rdata = texts(
        hosts, np.arange(131_072), lambda k: f"198.{18 + (k >> 16)}.{k >> 8 & 255}.{k & 255}"
    )
    clients = draw.integers(0, 5000, n).repeat(2)
    client = texts(clients, np.arange(5000), lambda k: f"198.19.{k >> 8}.{k & 255}")
    ttl = np.where(names % 10 == 0, 60, 300).repeat(2)

    def same(text: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(2 * n, np.int32)), pa.array([text]))

    columns = {
        "ts": pa.array(at_us.repeat(2)).cast(pa.timestamp("us", "UTC")),
        "sensor": same("bench"), "client": client, "server": same("198.19.255.53"),
        "vantage": same("client"), "response": pa.array(np.arange(n, dtype=np.uint64).repeat(2)),
        "qname": owner, "qtype": same("A"), "rcode": same("NOERROR"), "section": same("answer"),
        "owner": owner, "rdtype": same("A"), "ttl": pa.array(ttl.astype(np.uint32)), "rdata": rdata,
    }  # fmt: skip
    plain = {
        name: column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        for name, column in columns.items()
    }
    table = pa.table(plain).select(tables.ANSWERS.names).cast(tables.ANSWERS)
    pq.write_table(table, path, compression="zstd", row_group_size=GROUP_ROWS)


def texts(numbers: np.ndarray, values: np.ndarray, text: object) -> pa.Array:
    made = pa.array([text(int(value)) for value in values])  # type: ignore[operator]
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), made)


Measured = tuple[float, float, str]
"""CPU seconds, wall seconds, hash of the findings."""


class Meter:
    """CPU time of every process of some sessions, sampled: what ended keeps its last value."""

    def __init__(self) -> None:
        self.sessions: set[int] = set()
        self.cpu_s: dict[int, float] = {}
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            self.read()
            time.sleep(0.5)

    def read(self) -> float:
        for entry in Path("/proc").iterdir():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (OSError, ValueError):
                continue
            if int(fields[3]) in self.sessions:
                self.cpu_s[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICK
        return sum(self.cpu_s.values())


def start(
    arguments: list[object], meter: Meter, stdout: int = subprocess.DEVNULL, **more: str
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [str(argument) for argument in arguments],
        env=os.environ | {"PYTHONPATH": str(INSTALLED), "SPARK_LOCAL_IP": "127.0.0.1"} | more,
        stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    meter.sessions.add(process.pid)
    return process


def cluster(folder: Path, meter: Meter) -> tuple[str, list[subprocess.Popen[bytes]]]:
    """A master and two workers of one core each."""
    import pyspark

    home = Path(pyspark.__file__).parent
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, spark_class = f"spark://127.0.0.1:{port}", home / "bin" / "spark-class"
    role = "org.apache.spark.deploy."
    started = [
        start([spark_class, role + "master.Master", "--host", "127.0.0.1", "--port", port,
               "--webui-port", 0], meter, SPARK_HOME=str(home)),
    ]  # fmt: skip
    for number in range(2):
        started.append(
            start([spark_class, role + "worker.Worker", "--host", "127.0.0.1", "--webui-port", 0,
                   "-c", 1, "-m", "2G", "-d", folder / f"worker{number}", url],
                  meter, SPARK_HOME=str(home))
        )  # fmt: skip
    return url, started


def scan(paths: list[Path], meter: Meter, *more: object) -> Measured:
    """(CPU s, wall s, digest of the findings)."""
    before, began = meter.read(), time.monotonic()
    process = start([sys.executable, "-m", "unflux", "scan", *paths, "--min-score", 0, "--ndjson",
                     *more], meter, subprocess.PIPE)  # fmt: skip
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"unflux scan ended with {process.returncode}")
    time.sleep(1)
    return meter.read() - before, time.monotonic() - began, hashlib.blake2b(out).hexdigest()[:16]


def by_spark(paths: list[Path], folder: Path) -> Measured:
    meter = Meter()
    url, started = cluster(folder, meter)
    conf = {
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
        "spark.executor.memory": "1g", "spark.driver.memory": "2g", "spark.ui.enabled": "false",
        "spark.executorEnv.PYTHONPATH": str(INSTALLED), "spark.local.dir": str(folder),
    }  # fmt: skip
    settings = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    try:
        return scan(paths, meter, "--engine", "spark", "--master", url, *settings)
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    millions, rounds = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as made:
        folder = Path(made)
        files = [folder / f"{number}.parquet" for number in range(max(1, millions // 2))]
        for number, path in enumerate(files):
            write_answers(path, number)
        one = folder / "one.parquet"
        write_answers(one, 0, 2)
        size = sum(path.stat().st_size for path in files)
        n_rows = FILE_ROWS * len(files)
        print(f"{n_rows:,} answers, {size / n_rows:.1f} bytes each, {len(files)} files", flush=True)
        engines: dict[str, Callable[[list[Path]], Measured]] = {
            "embedded": lambda paths: scan(paths, Meter())
        }
        if rounds:
            engines["spark"] = lambda paths: by_spark(paths, folder)
        digests = set()
        for _ in range(max(1, rounds)):
            for name, run in engines.items():
                start_s, (cpu_s, wall_s, digest) = run([one])[0], run(files)
                digests.add(digest)
                each = (cpu_s - start_s) / n_rows * 1e6
                print(
                    f"{name}: CPU {cpu_s:.1f} s, of it start-up {start_s:.1f} s; "
                    f"{each:.2f} µs an answer; wall {wall_s:.1f} s",
                    flush=True,
                )
        peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        print(f"largest process {peak_mib} MiB; same findings: {len(digests) == 1}")


if __name__ == "__main__":
    main()
