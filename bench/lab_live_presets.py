"""Every preset in one live lab, and its capture scanned.

    python bench/lab_live_presets.py [SPEED] [MINUTES] [DIR]

Flux names of each kind are asked for often, and every look-alike once in a while. Prints which
verdict the names of each preset got, look-alikes that are not flux included. Fresh answers are told
apart by the minute of the wall clock, however fast the lab runs: a run of six minutes shows six of
them at most.

Three presets can come out otherwise than the truth has it without anything being broken; the table
says which and why, and only what is not explained that way makes the exit code 1:

- `bulletproof` is a documented limit (docs/accuracy.md): rented servers of one or two networks.
- `sleeper` is labelled flux while it sleeps, for up to eight hours of the model's time.
- `time_pool` is flux-like when hours are compressed: its pool is drawn anew each hour of the model,
  which is 120 s at speed 30, while the detector's hours are the wall's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

from unflux.lab.live.session import Lab, LabOptions

ROOT = Path(__file__).parent.parent
PRESETS = tomllib.loads((ROOT / "src/unflux/lab/scenarios/presets.toml").read_text())
FLUX = {"single_flux", "double_flux", "ns_flux"}


def scenario() -> str:
    """Two domains of each flux preset, and every look-alike."""
    busy = "domains = 2\nvisits_per_h = 240\n"
    parts = [
        f'[[service]]\npreset = "{name}"\n{busy if one.get("flux") else ""}'
        for name, one in PRESETS.items()
    ]
    return 'title = "every preset"\nclients = 300\n' + "".join(parts)


def verdicts_of(out: Path) -> dict[str, str]:
    """Names of the upstream capture, by what a scan calls them."""
    command = [
        sys.executable, "-m", "unflux", "scan", str(out / "upstream.pcap"), "--json",
        "--min-score", "0",
        "--asn-db", str(out / "asn.mmdb"), "--country-db", str(out / "country.mmdb"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {one["name"]: one["verdict"] for one in json.loads(done.stdout)["findings"]}


def limit_of(preset: str, speed: float, minutes: float) -> str | None:
    """Why a preset may come out otherwise in a run of that speed; None when it may not."""
    if preset == "bulletproof":
        return "documented limit: one or two networks"
    if preset == "sleeper" and speed * minutes / 60 < PRESETS["sleeper"]["start_h"][1]:
        return f"sleeps: the run has {speed * minutes / 60:.1f} of up to 8 hours"
    if preset == "time_pool" and speed > 1:
        return f"compressed: its hour is {PRESETS['time_pool']['refresh_s'] / speed:.0f} s"
    return None


def main() -> int:
    """The table; 1 when a preset is not as the truth has it, for no known reason."""
    speed = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(sys.argv[3] if len(sys.argv) > 3 else folder) / "out"
        path = Path(folder) / "presets.toml"
        path.write_text(scenario())
        with Lab(str(path), LabOptions(speed=speed, duration_s=minutes * 60), out) as lab:
            summary = lab.wait()
        known = json.loads((out / "labels.json").read_text())["names"]
        found = verdicts_of(out)
    by_preset: dict[str, Counter[str]] = defaultdict(Counter)
    for name, one in known.items():
        by_preset[one["kind"]][found.get(name, "not asked for")] += 1
    print(f"{minutes:g} minutes at speed {speed:g}: {json.dumps(summary['capture'])}\n")
    print("| preset | flux | names judged | verdicts | as the truth has it |")
    print("| --- | --- | --- | --- | --- |")
    failed = []
    for preset, one in PRESETS.items():
        seen = {key: n for key, n in by_preset[preset].items() if key != "not asked for"}
        told = ", ".join(f"{n} {key}" for key, n in sorted(seen.items()))
        is_flux = bool(one.get("flux"))
        end = "yes"
        if is_flux != bool(FLUX & seen.keys()):
            end = limit_of(preset, speed, minutes) or "**no**"
            failed += [preset] if end == "**no**" else []
        row = (preset, "yes" if is_flux else "no", str(sum(seen.values())), told, end)
        print(f"| {' | '.join(row)} |")
    print(f"\nnot as the truth has it, and not a known limit: {', '.join(failed) or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
