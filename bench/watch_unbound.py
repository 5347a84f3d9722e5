#!/usr/bin/env python3
"""Does a watch slow the resolver down? dnsperf against two unbounds, one with dnstap to a watch.

Interleaved rounds at a fixed rate, answers out of local data; medians and their ratio. Needs the
Debian packages unbound and dnsperf.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from make_tables import lab_tables  # noqa: E402

from live_servers import free_port, program, rcode_of, running, until, watching  # noqa: E402

NAMES = 1_000
SERVER = """
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: "{directory}/unbound{port}.pid"
  use-syslog: no
  local-zone: "test." static
{data}
remote-control:
  control-enable: no
"""
DNSTAP = """
dnstap:
  dnstap-enable: yes
  dnstap-socket-path: "{directory}/tap.sock"
  dnstap-log-client-response-messages: yes
"""


def write(directory: Path, port: int, extra: str) -> list[str]:
    data = "\n".join(f'  local-data: "n{n}.test. 300 A 198.18.{n % 256}.7"' for n in range(NAMES))
    path = directory / f"unbound{port}.conf"
    path.write_text(SERVER.format(port=port, directory=directory, data=data) + extra)
    return [program("unbound"), "-d", "-c", str(path)]


def latency_us(port: int, queries: Path, seconds: float, rate: int) -> float:
    """Mean latency as dnsperf sees it."""
    done = subprocess.run(
        ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-l", str(seconds),
         "-Q", str(rate), "-c", "4"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    [found] = re.findall(r"Average Latency \(s\):\s+([\d.]+)", done.stdout)
    return float(found) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rate", type=int, default=5_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        tables = lab_tables(directory)
        queries = directory / "queries"
        queries.write_text("".join(f"n{n}.test. A\n" for n in range(NAMES)))
        plain, tapped = free_port(), free_port()
        without = write(directory, plain, "")
        with_watch = write(directory, tapped, DNSTAP.format(directory=directory))
        log = directory / "unbound.log"
        with (
            watching(directory, tables) as watch,
            running(*without, log=log), running(*with_watch, log=log),
        ):  # fmt: skip
            for port in (plain, tapped):
                until(lambda port=port: rcode_of("n1.test.", port) == "NOERROR", 20)
            until(lambda: watch.metrics()["unflux_watch_producers"] >= 1, 20)
            seen: dict[int, list[float]] = {plain: [], tapped: []}
            for _ in range(arguments.rounds):
                for port, values in seen.items():
                    values.append(latency_us(port, queries, arguments.seconds, arguments.rate))
            decoded = watch.metrics()["unflux_watch_decoded_total"]
        medians = {port: statistics.median(values) for port, values in seen.items()}
        ratios = sorted(b / a for a, b in zip(seen[plain], seen[tapped], strict=True))
        print(f"without  {medians[plain]:8.1f} us (median of {arguments.rounds})")
        print(f"with     {medians[tapped]:8.1f} us, {decoded:.0f} responses reached the watch")
        print(f"ratio    {ratios[len(ratios) // 2]:.3f} (median of rounds; "
              f"{ratios[0]:.3f} to {ratios[-1]:.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
