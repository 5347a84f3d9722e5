#!/usr/bin/env python3
"""What an adversary gains who tunes a network against the detector, and what poisoning does.

`mimicry.py [--hours H] [--detector ID]` prints two Markdown tables: of each scenario in
`mimicry_scenarios/`, how many flux names are called flux, ambiguous, insufficient or not flux; and
what an innocent name is called after some of its answers were forged. The detector is not told
anything: the loss is what it is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unflux import pipeline, tables
from unflux.detect import DETECTORS, FLUX_VERDICTS, Finding
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.pipeline import ScanOptions

SCENARIOS = Path(__file__).parent / "mimicry_scenarios"
START_US = 1_790_000_000_000_000
INNOCENT = "innocent.test."
VERDICTS = ("flux", "ambiguous", "insufficient", "not_flux")
POISON = ((1, 200), (3, 200), (10, 200), (50, 200), (200, 200), (1, 0), (12, 0))
"""(forged, genuine) answers."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of the flux names of one scenario."""

    title: str
    n_flux: int
    """Names that are flux and were asked for at all."""
    n_caught: int
    n_ambiguous: int
    n_insufficient: int
    n_missed: int
    """Called not flux: the loss."""
    n_false: int
    """Other names called flux."""


def judge(paths: list[Path], folder: Path, detector: str = "unflux") -> dict[str, Finding]:
    """Findings by name, with the lab's own address tables where there are some."""
    asn, country = folder / "asn.mmdb", folder / "country.mmdb"
    options = ScanOptions(
        asn_db=asn if asn.exists() else None,
        country_db=country if country.exists() else None,
        min_score=0,
        detector_id=detector,
    )
    return {one.name: one for one in pipeline.scan(paths, options).findings}


def measure(
    name: str, folder: Path, *, hours: float | None = None, seed: int = 1, detector: str = "unflux"
) -> Loss:
    """Play a scenario of `SCENARIOS` into a new folder and judge it."""
    scenario = scenarios.load(str(SCENARIOS / f"{name}.toml"), seed=seed, hours=hours)
    synth(scenario, folder, ["parquet"])
    found = judge([folder / "answers.parquet"], folder, detector)
    labels = json.loads((folder / "labels.json").read_text())["names"]
    is_flux = {one: label["flux"] for one, label in labels.items()}
    verdicts = Counter(found[one].verdict for one, flux in is_flux.items() if flux and one in found)
    caught = sum(verdicts[verdict] for verdict in FLUX_VERDICTS)
    return Loss(
        scenario.title,
        verdicts.total(),
        caught,
        verdicts["ambiguous"],
        verdicts["insufficient"],
        verdicts["not_flux"],
        sum(one.is_flux for name, one in found.items() if is_flux.get(name) is False),
    )


def poison(folder: Path, *, n_forged: int, n_genuine: int, detector: str = "unflux") -> Finding:
    """An innocent name of two addresses, some of whose answers were forged to look like flux.

    An answer of ten addresses in ten /16s comes in each of the last `n_forged` five-minute steps
    beside the genuine ones; who forges needs to be on the way, or in the resolver's cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n_genuine):
        rows += _answer(number, number, ["198.18.1.1", "198.18.1.2"])
    for number in range(n_forged):
        addresses = [f"{20 + (number * 7 + place) % 150}.{place}.9.9" for place in range(10)]
        rows += _answer(n_genuine + number, n_genuine - n_forged + number, addresses)
    path = folder / f"poisoned-{n_forged}-{n_genuine}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=tables.ANSWERS), path)
    return judge([path], folder, detector)[INNOCENT.rstrip(".")]


def _answer(response: int, step: int, addresses: list[str]) -> list[dict[str, object]]:
    common = {
        "ts": START_US + step * 300_000_000, "client": "198.19.254.1", "server": "198.19.255.53",
        "vantage": "upstream", "response": response, "qname": INNOCENT, "qtype": "A",
        "rcode": "NOERROR", "section": "answer", "owner": INNOCENT, "rdtype": "A", "ttl": 300,
    }  # fmt: skip
    return [common | {"rdata": address} for address in addresses]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--detector", default="unflux", choices=[one.id for one in DETECTORS])
    options = parser.parse_args()
    low, high = scenarios.LIMITS["hours"]
    if options.hours is not None and not low <= options.hours <= high:
        parser.error(f"--hours is from {low:g} to {high:g}")
    with tempfile.TemporaryDirectory(prefix="unflux-mimicry-") as name:
        folder = Path(name)
        row("scenario", "what is tuned", "flux names", *VERDICTS, "others called flux")
        row(*["---"] * 8)
        for path in sorted(SCENARIOS.glob("*.toml")):
            one = measure(
                path.stem, folder / path.stem, hours=options.hours, detector=options.detector
            )
            row(path.stem, *astuple(one))
        print()
        row("forged answers", "genuine answers", "verdict", "score")
        row(*["---"] * 4)
        for forged, genuine in POISON:
            finding = poison(
                folder / "poison", n_forged=forged, n_genuine=genuine, detector=options.detector
            )
            row(forged, genuine, finding.verdict, f"{finding.score:.2f}")


def row(*cells: object) -> None:
    """One row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
