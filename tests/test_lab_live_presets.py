"""Every preset in one live lab: all start, and a scan of the capture names the flux ones."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from conftest import ROOT, Cli
from test_lab_live import needs_lab
from unflux.lab.live.session import Lab, LabOptions

PRESETS = tomllib.loads((ROOT / "src/unflux/lab/scenarios/presets.toml").read_text())
SPEED, SECONDS = 180, 50
"""Two and a half hours of the networks' time."""
LATER = {"slow", "bulletproof", "sleeper"}
"""They change too seldom, or begin too late, to be told within these hours."""
FLUX = {"single_flux", "double_flux", "ns_flux"}


def scenario() -> str:
    """Two flux names of each kind, asked for often, and every look-alike."""
    busy = "domains = 2\nvisits_per_h = 240\n"
    parts = [
        f'[[service]]\npreset = "{name}"\n{busy if one.get("flux") else ""}'
        for name, one in PRESETS.items()
    ]
    return 'title = "every preset"\nclients = 300\n' + "".join(parts)


@needs_lab
def test_every_preset_starts_and_a_scan_names_the_truths_flux_names(
    cli: Cli, tmp_path: Path
) -> None:
    path, out = tmp_path / "presets.toml", tmp_path / "out"
    path.write_text(scenario())
    with Lab(str(path), LabOptions(speed=SPEED, duration_s=SECONDS), out) as lab:
        summary = lab.wait()
    assert summary["capture"]["dropped"] == 0
    known = json.loads((out / "labels.json").read_text())["names"]
    # Names that do not exist have no label; everybody else is there.
    assert {one["kind"] for one in known.values()} >= PRESETS.keys() - {"nowhere"}
    done = cli("scan", out / "upstream.pcap", "--json", "--asn-db", out / "asn.mmdb",
               "--country-db", out / "country.mmdb")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one["verdict"] for one in json.loads(done.stdout)["findings"]}
    called = {name for name, verdict in found.items() if verdict in FLUX}
    wanted = {
        name: one["kind"] for name, one in known.items() if one["flux"] and one["kind"] not in LATER
    }
    missed = {name: kind for name, kind in wanted.items() if name not in called}
    # On a busy machine agents time out and a name is seen too seldom, rarely both of a kind.
    assert len(missed) <= 0.2 * len(wanted), missed
    assert len(set(wanted.values()) - {wanted[name] for name in called & wanted.keys()}) <= 1
    # Look-alikes are not held against it here: at this speed a time pool's TTL is a second, and in
    # one of three runs its members were called flux. tests/test_lab_live.py does, at less speed.
