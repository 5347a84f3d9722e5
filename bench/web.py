"""How fast the site answers: python bench/web.py [NAMES] [SIGHTINGS_PER_NAME] [--keep DIR].

Default: 100,000 names with 115 responses each, which is 10 million sightings, written as a dataset,
judged, served over HTTP. Prints a table.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from unflux import sightings, tables
from unflux.sightings.taken import TakenIn

FLUX_EVERY = 50
BUSY_EVERY = 500
HOURS = 48
PARTS = 2
START_S = 1_790_000_000 // 86_400 * 86_400
REPEATS = 7
CLIENTS, EACH = 50, 20


def write_dataset(directory: Path, n_names: int, per_name: int) -> None:
    """A dataset as taking in captures leaves it: days of rows sorted by owner, in `PARTS` parts.

    One name in `FLUX_EVERY` rotates over thousands of addresses, the others over four; `name0` has
    one response in `BUSY_EVERY` of all. Written by the dataset's own writer, not through the
    reducer: how fast that is, other benches tell.
    """
    dataset = sightings.Dataset.open(directory)
    written: list[Path] = []
    with dataset.locked(), duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        dataset.begin()
        for part in range(PARTS):
            seen = {"n": n_names * per_name // PARTS, "names": n_names, "part": part}
            engine.execute(f"CREATE OR REPLACE TEMP TABLE seen AS {_SEEN}", seen)
            for day in range(HOURS // 24):
                for name, sql, schema in (
                    ("sightings", _SIGHTINGS, tables.SIGHTINGS),
                    ("activity", _ACTIVITY, tables.ACTIVITY),
                ):
                    start = START_S + day * 86_400
                    chosen = f"(SELECT * FROM seen WHERE moment // 86400 = {start} // 86400)"
                    rows = engine.sql(sql.format(seen=chosen)).to_arrow_table()
                    date = datetime.fromtimestamp(start, UTC).date().isoformat()
                    path = directory / name / f"day={date}" / f"part-{part:05}.parquet"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    sightings.write_table(rows.select(schema.names).cast(schema), path)
                    written.append(path)
        dataset.take_in(written, [TakenIn("bench", "00" * 32, 0, "pcap")])


_SEEN = f"""
SELECT 'name' || name || '.example' || name % 997 || '.com.' AS owner,
       concat_ws('.', 1 + host % 199, host // 64 % 256, host % 251, 1 + host % 250) AS rdata,
       moment, (1::UBIGINT << (moment // 60 % 64)::UBIGINT)::UBIGINT AS minutes
FROM (SELECT name, moment, CASE WHEN name % {FLUX_EVERY} = 0 THEN pool
             ELSE name * 7 % 16384 + pool % 4 END AS host
      FROM (SELECT CASE WHEN n % {BUSY_EVERY} = 0 THEN 0 ELSE n % $names END AS name,
                   hash(n, $part, 'pool') % 16384 AS pool,
                   {START_S} + (hash(n, $part, 'moment') % {HOURS * 60})::BIGINT * 60 AS moment
            FROM range($n) AS every(n)))
"""
_SIGHTINGS = """
SELECT owner, 'A' AS rdtype, rdata, make_timestamptz(moment // 3600 * 3600 * 1000000) AS bucket,
       make_timestamptz(min(moment) * 1000000) AS time_first,
       make_timestamptz(max(moment) * 1000000) AS time_last,
       count(*) AS count, count(*) AS count_raw, 300 AS ttl_max, 300 AS ttl_min,
       'upstream' AS vantage, bit_or(minutes) AS fresh_minutes
FROM {seen} GROUP BY owner, rdata, moment // 3600 ORDER BY owner, rdata, bucket
"""
_ACTIVITY = """
SELECT owner, 'A' AS rdtype, make_timestamptz(moment // 3600 * 3600 * 1000000) AS bucket,
       'upstream' AS vantage, count(*) AS responses, count(*) AS fresh_responses,
       bit_or(minutes) AS fresh_minutes, count(*) AS answers_sum, 1 AS answers_max,
       0 AS nxdomain, 0 AS servfail, 0 AS refused, 0 AS nodata, 0 AS other_failures,
       0 AS n_clients, []::VARCHAR[] AS clients
FROM {seen} GROUP BY owner, moment // 3600 ORDER BY owner, bucket
"""


def cpu_ms(pid: int) -> float:
    """CPU time of a process so far: tells of the server where other work shares the machine."""
    spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1000 * sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


def times_ms(url: str, pid: int) -> tuple[float, float, float]:
    """Median and worst time of a request, and mean CPU time of the server, in milliseconds."""
    times, before = [], cpu_ms(pid)
    for _ in range(REPEATS):
        started = time.perf_counter()
        with urllib.request.urlopen(url) as response:  # noqa: S310  of our own server
            response.read()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), max(times), (cpu_ms(pid) - before) / REPEATS


def measure(base: str, pid: int) -> None:
    def show(what: str, url: str) -> None:
        median, worst, cpu = times_ms(url, pid)
        print(f"| {what} | {median:.0f} | {worst:.0f} | {cpu:.0f} |", flush=True)

    print("| request | median ms | worst ms | server's CPU ms |\n| --- | --- | --- | --- |")
    show("index.html", base)
    show("first page", f"{base}api/v1/findings")
    asked = {
        "kind:flux": {}, "score:>=0.3": {}, "name7": {}, "name:*9.example5.com": {},
        "ttl:<=300 addresses:>20": {}, "asn:13335": {}, "-kind:insufficient": {"sort": "last"},
        "triage:new": {"sort": "name"}, "": {"page": "1900"},
    }  # fmt: skip
    for q, more in asked.items():
        query = urllib.parse.urlencode({"q": q, **more})
        show(f"`{query}`", f"{base}api/v1/findings?{query}")
    for name in ("name0.example0.com", "name50.example50.com", "name7.example7.com"):
        for kind in ("names", "history", "sightings"):
            show(f"{kind} of {name}", f"{base}api/v1/{kind}/{name}")


def crowd(base: str) -> None:
    """`CLIENTS` clients at once, each with `EACH` requests of all kinds, one after the other."""
    asked = [
        "findings", "findings?q=kind:flux", "findings?q=name7&sort=last", "scans",
        "names/name50.example50.com", "history/name50.example50.com",
        "sightings/name7.example7.com", "me",
    ]  # fmt: skip
    times: list[float] = []
    failed: list[str] = []

    def client(number: int) -> None:
        for turn in range(EACH):
            url = f"{base}api/v1/{asked[(number + turn) % len(asked)]}"
            started = time.perf_counter()
            try:
                with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310  ours
                    response.read()
            except OSError as error:
                failed.append(f"{url}: {error}")
            times.append(1000 * (time.perf_counter() - started))

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    rate = len(times) / (time.perf_counter() - started)
    what = f"{CLIENTS} clients at once, {len(times)} requests, {rate:.0f} a second"
    print(
        f"| {what}: {len(failed)} errors | {statistics.median(times):.0f} | {max(times):.0f} | |",
        flush=True,
    )
    for one in failed[:5]:
        print(one, file=sys.stderr)


def browse(base: str) -> None:
    """Time until the table of findings is on the screen, from nothing, where Chromium is there."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        times = []
        for _ in range(5):
            page = browser.new_context().new_page()
            started = time.perf_counter()
            page.goto(base)
            page.wait_for_selector("td.what a")
            times.append(1000 * (time.perf_counter() - started))
            page.context.close()
        browser.close()
    median, worst = statistics.median(times), max(times)
    print(
        f"| in the browser, from nothing to the table | {median:.0f} | {worst:.0f} | |", flush=True
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("n_names", type=int, nargs="?", default=100_000)
    arguments.add_argument("per_name", type=int, nargs="?", default=115)
    arguments.add_argument("--keep", type=Path, help="directory of the dataset, for the next time")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as name:
        folder = (asked.keep or Path(name)) / "dataset"
        started = time.perf_counter()
        if not sightings.Dataset.is_at(folder):
            write_dataset(folder, asked.n_names, asked.per_name)
            print(f"written in {time.perf_counter() - started:.0f} s", flush=True)
        serve(folder)


def serve(dataset: Path) -> None:
    """Serve it, ask, print."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "unflux", "serve", str(dataset), "--port", "0",
               "--requests-per-s", "0"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None:
            raise RuntimeError("a pipe was asked for")
        base = server.stdout.readline().strip()
        rows = sum(pq.read_metadata(one).num_rows for one in dataset.glob("sightings/*/*.parquet"))
        print(f"{rows} sightings: ready after {time.perf_counter() - started:.0f} s\n")
        try:
            if re.match("http", base):
                measure(base, server.pid)
                browse(base)
                crowd(base)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
