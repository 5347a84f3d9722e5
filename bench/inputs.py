#!/usr/bin/env python3
"""Measure how fast text logs become sightings: one core, generated input, median of some rounds.

`inputs.py [LINES] [ROUNDS]` prints a Markdown table. The lines are what a resolver's clients see: a
hundred thousand names, a few addresses each, TTLs that age.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from unflux import sightings
from unflux.sources.base import ReadOptions

N_NAMES = 100_000
START_S = 1_790_000_000

ZEEK_HEAD = (
    "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
    "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\trtt\tquery"
    "\tqclass\tqclass_name\tqtype\tqtype_name\trcode\trcode_name\tAA\tTC\tRD\tRA\tZ\tanswers\tTTLs"
    "\trejected\n"
)


def answers(lines: int) -> Iterator[tuple[int, str, str, list[str], int]]:
    """Time in µs, client, name, addresses and TTL of each response."""
    for number in range(lines):
        name = number * 7919 % N_NAMES
        addresses = [
            f"198.18.{(name + place) % 250}.{1 + (name * 3 + place) % 250}"
            for place in range(1 + name % 3)
        ]
        client = f"198.19.{number % 4}.{1 + number % 250}"
        yield (
            START_S * 1_000_000 + number * 700,
            client,
            f"host{name}.zone{name % 997}.test",
            addresses,
            300 - number % 200,
        )


def zeek_tsv(lines: int) -> Iterator[str]:
    """Zeek's dns.log with its usual 24 columns."""
    yield ZEEK_HEAD
    for ts_us, client, qname, addresses, ttl in answers(lines):
        ttls = ",".join([f"{ttl}.000000"] * len(addresses))
        yield (
            f"{ts_us // 1_000_000}.{ts_us % 1_000_000:06}\tCx1\t{client}\t4711\t198.19.255.53\t53"
            f"\tudp\t4711\t0.010000\t{qname}\t1\tC_INTERNET\t1\tA\t0\tNOERROR\tF\tF\tT\tT\t0"
            f"\t{','.join(addresses)}\t{ttls}\tF\n"
        )


def zeek_json(lines: int) -> Iterator[str]:
    """The same as JSON lines."""
    for ts_us, client, qname, addresses, ttl in answers(lines):
        row = {
            "ts": ts_us / 1e6, "uid": "Cx1", "id.orig_h": client, "id.orig_p": 4711,
            "id.resp_h": "198.19.255.53", "id.resp_p": 53, "proto": "udp", "trans_id": 4711,
            "rtt": 0.01, "query": qname, "qclass": 1, "qclass_name": "C_INTERNET", "qtype": 1,
            "qtype_name": "A", "rcode": 0, "rcode_name": "NOERROR", "AA": False, "TC": False,
            "RD": True, "RA": True, "Z": 0, "answers": addresses,
            "TTLs": [float(ttl)] * len(addresses), "rejected": False,
        }  # fmt: skip
        yield json.dumps(row, separators=(",", ":")) + "\n"


def eve(lines: int) -> Iterator[str]:
    """Suricata's dns answers of version 2, detailed and grouped, as is its default."""
    for ts_us, client, qname, addresses, ttl in answers(lines):
        seconds, micros = divmod(ts_us, 1_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        records = [
            {"rrname": qname, "rrtype": "A", "ttl": ttl, "rdata": address} for address in addresses
        ]
        dns = {
            "version": 2, "type": "answer", "id": 4711, "flags": "8180", "qr": True, "rd": True,
            "ra": True, "rrname": qname, "rrtype": "A", "rcode": "NOERROR", "answers": records,
            "grouped": {"A": addresses},
        }  # fmt: skip
        row = {
            "timestamp": f"{stamp}.{micros:06}+0000", "flow_id": ts_us, "event_type": "dns",
            "src_ip": client, "src_port": 4711, "dest_ip": "198.19.255.53", "dest_port": 53,
            "proto": "UDP", "dns": dns, "host": "sensor",
        }  # fmt: skip
        yield json.dumps(row, separators=(",", ":")) + "\n"


def cof(lines: int) -> Iterator[str]:
    """Passive DNS: an rrset a line, sorted by name as servers give it."""
    for ts_us, _, qname, addresses, ttl in answers(lines):
        first = ts_us // 1_000_000
        row = {
            "count": ttl, "time_first": first, "time_last": first + 86_400, "rrname": qname + ".",
            "rrtype": "A", "bailiwick": "test.", "rdata": addresses,
        }  # fmt: skip
        yield json.dumps(row, separators=(",", ":")) + "\n"


FORMATS: dict[str, tuple[Callable[[int], Iterator[str]], int]] = {
    "Zeek TSV": (zeek_tsv, 400),
    "Zeek JSON": (zeek_json, 300),
    "Suricata EVE v2": (eve, 300),
    "COF NDJSON": (cof, 300),
}
"""Generators, and the goal in thousand lines a second and core."""


def measure(path: Path, rounds: int) -> list[float]:
    """CPU seconds of each round, decoding up to and including sightings."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        history = sightings.reduce([path], ReadOptions(threads=1))
        taken.append(time.process_time() - started)
        books = history.inputs[0].books
        if books.malformed or books.error or not books.decoded:
            raise SystemExit(f"{path}: the generated log is not read whole: {books}")
    return taken


def main() -> None:
    """Generate, measure, print."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    print("| format | lines | bytes a line | MB/s | k lines/s | goal |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as folder:
        for name, (write, goal) in FORMATS.items():
            path = Path(folder) / "log"
            with path.open("w") as out:
                out.writelines(write(lines))
            size = path.stat().st_size
            cpu_s = statistics.median(measure(path, rounds))
            print(
                f"| {name} | {lines:,} | {size / lines:.0f} | {size / cpu_s / 1e6:.0f} "
                f"| {lines / cpu_s / 1e3:.0f} | {goal} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
