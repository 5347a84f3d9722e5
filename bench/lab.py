"""How fast worlds are played: python bench/lab.py [SCENARIO] [HOURS] [FORMAT…]. Prints a table.

Each format is played in a process of its own. Times are CPU time of all its threads: `set-up` until
the world stands, `playing` from there until everything is written; the rate is per second of it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.lab.synth.writers import WRITERS


def measure(name: str, hours: float, form: str) -> str:
    """A row of the table."""
    started, wall, marks = time.process_time(), time.perf_counter(), []
    scenario = scenarios.load(name, hours=hours)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        made = synth(scenario, out, [form], lambda *_: marks.append(time.process_time()))
        size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    set_up_s, playing_s = marks[0] - started, time.process_time() - marks[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return (
        f"| {form} | {made.names} | {made.responses} | {set_up_s:.1f} | {playing_s:.1f} | "
        f"{made.responses / playing_s / 1000:.0f} | {time.perf_counter() - wall:.1f} | "
        f"{size:.0f} | {peak} |"
    )


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "medium"
    hours = float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
    forms = sys.argv[3:] or list(WRITERS)
    if len(forms) == 1:
        print(measure(name, hours, forms[0]), flush=True)
        return
    print(
        "| format | names | responses | set-up, s | playing, s | thousand responses/s | wall, s | "
        "MB | peak MiB |\n" + "| --- " * 9 + "|",
        flush=True,
    )
    for form in forms:
        subprocess.run([sys.executable, __file__, name, str(hours), form], check=True)


if __name__ == "__main__":
    main()
