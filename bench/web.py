"""How fast the site answers: python bench/web.py [NAMES] [SIGHTINGS_PER_NAME]. Prints a table.

Default: 100,000 names with 100 sightings each, written as a dataset, judged, served over HTTP.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa

from unflux import sightings, tables
from unflux.sources.base import ReadOptions

FLUX_SHARE = 0.02
HOURS = 48
START_US = 1_790_000_000_000_000 // 3_600_000_000 * 3_600_000_000
REPEATS = 7


def rows_of(first: int, n_names: int, per_name: int) -> pa.Table:
    """Sightings of names: a few rotate over thousands of addresses, the others over four."""
    generator = np.random.default_rng(first)
    name = np.repeat(np.arange(first, first + n_names), per_name)
    is_flux = (name % round(1 / FLUX_SHARE)) == 0
    pool = generator.integers(0, 1 << 14, len(name))
    host = np.where(is_flux, pool, name * 7 % (1 << 14) + pool % 4)
    at_us = START_US + generator.integers(0, HOURS * 60, len(name)) * 60_000_000
    minute = at_us // 60_000_000
    owners = pa.array([f"name{number}.example{number % 997}.com." for number in name])
    rdata = [f"{1 + h % 199}.{h // 64 % 256}.{h % 251}.{1 + h % 250}" for h in host.tolist()]
    moments = pa.array(at_us, pa.int64()).cast(tables.TIME)
    ones = np.ones(len(name), np.int64)
    columns = {
        "owner": owners, "rdtype": pa.array(["A"] * len(name)), "rdata": pa.array(rdata),
        "bucket": pa.array(at_us // 3_600_000_000 * 3_600_000_000).cast(tables.TIME),
        "time_first": moments, "time_last": moments, "count": ones, "count_raw": ones,
        "ttl_max": np.full(len(name), 300, np.uint32),
        "ttl_min": np.full(len(name), 300, np.uint32),
        "vantage": pa.array(["upstream"] * len(name)),
        "fresh_minutes": np.left_shift(np.uint64(1), (minute % 64).astype(np.uint64)),
    }  # fmt: skip
    return pa.table(columns).select(tables.SIGHTINGS.names).cast(tables.SIGHTINGS)


def median_ms(url: str) -> tuple[float, float]:
    """Median and worst time of a request, in milliseconds."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        with urllib.request.urlopen(url) as response:  # noqa: S310  of our own server
            response.read()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), max(times)


def show(what: str, url: str) -> None:
    median, worst = median_ms(url)
    print(f"| {what} | {median:.0f} | {worst:.0f} |", flush=True)


def measure(base: str) -> None:
    print("| request | median ms | worst ms |\n| --- | --- | --- |")
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
    for kind in ("names", "history", "sightings"):
        show(kind, f"{base}api/v1/{kind}/name0.example0.com")


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
    print(f"| in the browser, from nothing to the table | {median:.0f} | {worst:.0f} |", flush=True)


def main() -> None:
    n_names = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    per_name = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as name:
        folder = Path(name)
        dataset = sightings.Dataset.open(folder / "dataset")
        parts = []
        for first in range(0, n_names, 10_000):
            parts.append(folder / f"part{first}.parquet")
            sightings.write_table(rows_of(first, min(10_000, n_names - first), per_name), parts[-1])
        sightings.add_to(dataset, parts, ReadOptions(threads=os.cpu_count() or 1))
        started = time.perf_counter()
        command = [sys.executable, "-m", "unflux", "serve", str(folder / "dataset"), "--port", "0",
                   "--requests-per-s", "0"]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            if server.stdout is None:
                raise RuntimeError("a pipe was asked for")
            base = server.stdout.readline().strip()
            seconds = time.perf_counter() - started
            print(f"{n_names} names, {n_names * per_name} sightings: judged and stored in "
                  f"{seconds:.0f} s\n")  # fmt: skip
            try:
                if re.match("http", base):
                    measure(base)
                    browse(base)
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
