"""How fast worlds are played: python bench/lab.py [SCENARIO] [HOURS]. Prints a table."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from unflux.lab import scenarios
from unflux.lab.synth.run import synth


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "medium"
    hours = float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
    print("| format | responses | seconds | thousand responses/s | peak MiB |")
    print("| --- | --- | --- | --- | --- |")
    for form in ("parquet", "pcap", "dnstap", "zeek"):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            made = synth(scenarios.load(name, hours=hours), Path(folder) / "out", [form])
            seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        rate = made.responses / seconds / 1000
        print(f"| {form} | {made.responses} | {seconds:.1f} | {rate:.0f} | {peak} |", flush=True)


if __name__ == "__main__":
    main()
