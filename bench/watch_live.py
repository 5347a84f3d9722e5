#!/usr/bin/env python3
"""How soon `unflux watch` blocks flux in the live lab, and whom it blocks wrongly.

`watch_live.py [SCENARIO] [SPEED] [SECONDS] [DIRECTORY TO KEEP]`: the lab's unbound sends dnstap to
a watch (`--rpz-action nxdomain --block-min-confidence low`) and follows the policy zone that it
writes; nothing is restarted. Per name, from what the clients got (`clients.pcap`): the first
answer, the first query that was blocked, and the time between in rotation periods. Prints a
Markdown table by preset.

The speed matters: windows count an answer's freshness by the minute, so a rotation that takes less
than a minute of the wall is not seen as one. The default, 5, makes 300 s one minute.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dns.rcode

from unflux.lab.live.session import Lab, LabOptions
from unflux.lab.live.story import read_packets


class Block(NamedTuple):
    """What clients saw of a name."""

    first_answer_s: float
    first_blocked_s: float | None


def of_clients(path: Path, resolver: str) -> dict[str, Block]:
    """Name → first answer and first block, out of the clients' capture."""
    answered: dict[str, float] = {}
    blocked: dict[str, float] = {}
    for packet in read_packets(path):
        message = packet.message if packet.source == resolver else None
        if message is None or not message.question:
            continue
        name = message.question[0].name.to_text(omit_final_dot=True).lower()
        if message.answer:
            answered.setdefault(name, packet.at_s)
        elif message.rcode() == dns.rcode.NXDOMAIN and name in answered:
            blocked.setdefault(name, packet.at_s)
    return {name: Block(at, blocked.get(name)) for name, at in answered.items()}


def watch_command(folder: Path) -> list[str]:
    """Default settings, but that it blocks."""
    return [
        sys.executable, "-m", "unflux", "watch", "--dnstap", f"unix:{folder}/tap.sock",
        "--asn-db", f"{folder}/lab/asn.mmdb", "--country-db", f"{folder}/lab/country.mmdb",
        "--rpz", f"{folder}/rpz.zone", "--rpz-action", "nxdomain", "--state", f"{folder}/state",
        "--block-min-confidence", "low",  # single flux on one domain is of low confidence for hours
        "--alert", f"{folder}/alerts.ndjson",
    ]  # fmt: skip


def play(
    scenario: str,
    speed: float,
    seconds: float,
    folder: Path,
    is_done: Callable[[Lab], bool] = lambda _lab: False,
) -> dict[str, Block]:
    """A lab with a watch beside it, that long or until something is so; what its clients saw."""
    out = folder / "lab"
    out.mkdir()
    from unflux.lab.model import plan

    plan.write_tables(out)  # the lab writes the same ones once more
    log = (folder / "watch.log").open("wb")
    watch = subprocess.Popen(watch_command(folder), stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while not ((folder / "rpz.zone").exists() and (folder / "tap.sock").exists()):
            if watch.poll() is not None or time.monotonic() > until:
                raise SystemExit((folder / "watch.log").read_text())
            time.sleep(0.05)
        options = LabOptions(speed=speed, dnstap=f"{folder}/tap.sock", rpz=f"{folder}/rpz.zone")
        with Lab(scenario, options, out) as lab:
            resolver, until = lab.resolver, time.monotonic() + seconds
            while time.monotonic() < until and not is_done(lab):
                if lab.enclosure.process.poll() is not None:
                    break  # `stop` says why
                time.sleep(0.5)
    finally:
        watch.send_signal(signal.SIGTERM)
        watch.wait(30)
        log.close()
    return of_clients(out / "clients.pcap", resolver)


def period_s(settings: dict[str, Any], speed: float) -> float:
    """Wall seconds between two answers that differ: of addresses, or of name servers alone."""
    if settings["verdict"] == "ns_flux":
        return float(settings["ns_period_s"]) / speed
    return float(max(settings["rotation_s"], settings["ttl_s"], 1)) / speed


def table(seen: dict[str, Block], out: Path, speed: float) -> list[str]:
    """Rows by preset."""
    labels = json.loads((out / "labels.json").read_text())["names"]
    services = {one["name"]: one for one in json.loads((out / "card.json").read_text())["services"]}
    rows: dict[str, list[tuple[Block, float]]] = {}
    flux_of: dict[str, bool] = {}
    for name, block in seen.items():
        if name not in labels:
            continue
        entry = labels[name]
        flux_of[entry["kind"]] = entry["flux"]
        period = period_s(services[entry["network"]], speed)
        rows.setdefault(entry["kind"], []).append((block, period))
    lines = []
    for kind in sorted(rows, key=lambda one: (not flux_of[one], one)):
        found = [(b.first_blocked_s - b.first_answer_s, p) for b, p in rows[kind]
                 if b.first_blocked_s is not None]  # fmt: skip
        seconds = f"{statistics.median(s for s, _ in found):.0f}" if found else ""
        periods = f"{statistics.median(s / p for s, p in found):.1f}" if found else ""
        lines.append(
            f"| {kind} | {'flux' if flux_of[kind] else 'no'} | {len(rows[kind])} | {len(found)} "
            f"| {statistics.median(p for _, p in rows[kind]):.0f} | {seconds} | {periods} |"
        )
    return lines


def main() -> None:
    """Play, print."""
    scenario = sys.argv[1] if len(sys.argv) > 1 else "live"
    speed = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 480.0
    with tempfile.TemporaryDirectory(prefix="unflux-bench-") as temporary:
        directory = Path(sys.argv[4] if len(sys.argv) > 4 else temporary)
        directory.mkdir(exist_ok=True)
        seen = play(scenario, speed, seconds, directory)
        print("| preset | flux | names asked | blocked | period s | first answer to first block s "
              "| in periods |")  # fmt: skip
        print("| --- | --- | --- | --- | --- | --- | --- |")
        print("\n".join(table(seen, directory / "lab", speed)))


if __name__ == "__main__":
    main()
