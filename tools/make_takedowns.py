"""Measure what each take-down costs a single-flux and a double-flux network: docs/lab/takedowns.md.

    python tools/make_takedowns.py [WATCH_S]

Starts one sealed lab per kind of take-down and prints the page's table; about nine minutes with the
default of 60 seconds each.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from unflux.errors import UnfluxError
from unflux.lab.live.session import Lab, LabOptions

SPEED = 20.0
SCENARIO = """
title = "one single-flux and one double-flux network that differ in their name servers only"
clients = 50
[[service]]
name = "single"
preset = "double"
verdict = "single_flux"
ns = "static"
ns_count = 2
ns_ttl_s = 300
delegation_ttl_s = 300
domains = 1
failure_ratio = 0
back_ends = 3
[[service]]
name = "double"
preset = "double"
ns_count = 4
ns_ttl_s = 300
ns_period_s = 300
delegation_ttl_s = 300
domains = 1
failure_ratio = 0
back_ends = 3
"""
KINDS = {
    "agent": "an agent that serves content",
    "agent-dns": "an agent that serves as name server",
    "name-servers": "all registered name servers",
    "back-end": "one of three content back ends",
    "mothership": "the mothership with all back ends",
    "delegation": "the delegation (registrar removes it once)",
    "domain": "the domain (registry locks it, sinkhole)",
}


def main() -> None:
    watch_s = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    print("| taken down | network | failed before | failed after | content back |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        scenario = Path(folder) / "takedowns.toml"
        scenario.write_text(SCENARIO)
        for kind, title in KINDS.items():
            options = LabOptions(speed=SPEED, people=False)
            with Lab(str(scenario), options) as lab, ThreadPoolExecutor(2) as both:
                tries = [both.submit(_measure, lab, kind, name, watch_s) for name in lab.networks]
                for network, one in zip(("single flux", "double flux"), tries, strict=True):
                    print(f"| {title} | {network} | {one.result()} |", flush=True)


def _measure(lab: Lab, kind: str, network: str, watch_s: float) -> str:
    """The last three columns."""
    try:
        told: dict[str, Any] = lab.takedown(kind, network, watch_s)
    except UnfluxError:
        return "– | – | has none"
    back = told["back_after_s"]
    end = "never gone" if back == 0 else f"after {back:.0f} s" if back else "**gone**"
    return f"{told['failed_before']:.0%} | {told['failed_after']:.0%} | {end}"


if __name__ == "__main__":
    main()
