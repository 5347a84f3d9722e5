#!/usr/bin/env python3
"""How often `unflux trace` names the mothership first, and how often it accuses nobody wrongly.

`trace.py [RUNS] [SECONDS]` makes captures at a host with 50 clients at a time and background (see
`tests/traffic.py`), traces each, and prints a Markdown table. Seeds are 0, 1, 2, … Hosts that are
no proxies: web and DNS servers, a web server with a database, one that looks its clients up, a
recursive resolver, a browser, a node of a peer-to-peer network.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import traffic
from unflux.networks.packets import read_captures
from unflux.networks.trace import NOT_FOUND, Trace, trace

OTHERS = ("with_database", "with_lookups", "resolver", "browser", "peer")


def capture_of(seed: int, role: str, proxies: bool, seconds: float) -> traffic.Capture:
    """Traffic of a role, passed on or not; or of a host of another kind."""
    if role not in OTHERS:
        return traffic.capture_at(seed, role, proxies=proxies, seconds=seconds)
    capture = traffic.Capture(random.Random(seed))  # noqa: S311  a benchmark's
    getattr(traffic, role)(traffic.Busy(capture, seconds=seconds))
    traffic.background(capture, seconds=seconds)
    return capture


def run(seed: int, role: str, proxies: bool, seconds: float, path: Path) -> tuple[Trace, float]:
    """One capture, traced; and the CPU time that took."""
    capture_of(seed, role, proxies, seconds).write(path)
    started = time.process_time()
    found = trace(read_captures([path]), traffic.AGENT)
    return found, time.process_time() - started


def is_right(found: Trace, proxies: bool) -> bool:
    """The mothership first; or nobody, where there is none."""
    if not proxies:
        return found.verdict == NOT_FOUND
    return bool(found.upstreams) and found.upstreams[0].address == traffic.MOTHERSHIP


def main() -> None:
    """Measure, print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    print("| role | host | right | runs | wrong others named | packets | CPU s a run |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as folder:
        for role in ("http", "dns", "tls", *OTHERS):
            for proxies in (False,) if role in OTHERS else (True, False):
                right, others, packets, took = 0, 0, [], []
                for seed in range(runs):
                    found, cpu_s = run(seed, role, proxies, seconds, Path(folder) / "t.pcap")
                    right += is_right(found, proxies)
                    named = {one.address for one in found.upstreams}
                    others += len(named - {traffic.MOTHERSHIP})
                    packets.append(found.n_packets)
                    took.append(cpu_s)
                print(
                    f"| {role} | {'proxy' if proxies else 'no proxy'} | {right} | {runs} "
                    f"| {others} "
                    f"| {statistics.median(packets):.0f} | {statistics.median(took):.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
