#!/usr/bin/env python3
"""Write `docs/accuracy.md`: the test split of a suite, and the real captures. Takes some minutes.

python tools/make_accuracy.py [SUITE] [TEST_DIR TRAIN_DIR]

Directories that `unflux lab synth SUITE --split test|train` made are read; others are made.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from unflux import detect, pipeline
from unflux.detect.base import AMBIGUOUS
from unflux.evaluate import evaluate, fit_thresholds, load_labels, report
from unflux.evaluate.run import Choice
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.pipeline import ScanOptions
from unflux.sources.base import ReadOptions

PAGE = Path(__file__).parent.parent / "docs" / "accuracy.md"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"
HOURS = (3, 24)
DELAY_HOURS = 6
DELAYS_OF = ("unflux", "holz2008", "anomalous_dns")
MIN_FRESH = 20


def main() -> None:
    """Play, evaluate after some hours and after the day, write the page."""
    suite = sys.argv[1] if len(sys.argv) > 1 else "medium"
    scenario = scenarios.load(suite, split="test")
    intro = (
        "# Accuracy\n",
        f"The test split of the suite `{suite}` ([how it was made and what it cannot stand for]"
        f"(lab/suites.md)): {len(scenario.services)} services; other networks, names and weeks "
        f"than the training split. Made by `python tools/make_accuracy.py {suite}`. Both sides of "
        f"the resolvers are read. Only names with {MIN_FRESH} fresh answers are counted (one "
        "side of a resolver, one a minute); sleepers are labelled flux while they sleep.\n",
    )
    with tempfile.TemporaryDirectory() as folder:
        given = [Path(one) for one in sys.argv[2:4]]
        test, train = given if len(given) == 2 else (Path(folder) / "test", Path(folder) / "train")
        for out, split in ((test, "test"), (train, "train")):
            if not out.exists():
                synth(scenarios.load(suite, split=split), out, ("parquet",))
        parts = [*intro, *(_after(hours, scenario.start_s, test, train) for hours in HOURS)]
        parts.append(_delays(scenario.start_s, test))
    if REAL.is_dir():
        parts += _real()
    parts.append(f"\n{report.CAUTION}\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def _options(out: Path, until_us: int | None) -> ScanOptions:
    read = ReadOptions(threads=2, clients="drop")
    if until_us is not None:
        read = replace(read, until_us=until_us)
    return ScanOptions(read, asn_db=out / "asn.mmdb", country_db=out / "country.mmdb")


def _after(hours: int, start_s: float, test: Path, train: Path) -> str:
    last = hours == HOURS[-1]
    until_us = None if last else int((start_s + hours * 3600) * 1e6)
    labels = load_labels(test / "labels.json")
    fitted = None
    if last:
        fitted = fit_thresholds(
            [train / "answers.parquet"],
            load_labels(train / "labels.json"),
            detect.DETECTORS,
            _options(train, None),
            Choice(min_fresh=MIN_FRESH),
        )
    result = evaluate(
        [test / "answers.parquet"],
        labels,
        detect.DETECTORS,
        _options(test, until_us),
        Choice(min_fresh=MIN_FRESH),
        fitted=fitted,
    )
    return "#" + report.markdown(result, f"After {hours} hours").replace(report.CAUTION, "")


def _delays(start_s: float, test: Path) -> str:
    """How long some detectors take: the first hours in growing prefixes."""
    result = evaluate(
        [test / "answers.parquet"],
        load_labels(test / "labels.json"),
        [detect.by_id(one) for one in DELAYS_OF],
        _options(test, int((start_s + DELAY_HOURS * 3600) * 1e6)),
        Choice(min_fresh=MIN_FRESH, delays=True),
    )
    lines = report.delays(result)
    return "\n".join([f"## Delays in the first {DELAY_HOURS} hours\n", *lines])


def _real() -> list[str]:
    """Verdicts on the real data, and every name that is not plainly told."""
    geo = REAL / "geo"
    options = ScanOptions(
        asn_db=geo / "asn.mmdb", country_db=geo / "geo-whois-asn-country.mmdb", min_score=0.0
    )
    lines = [
        "## Real captures\n",
        "Names by verdict; the infections' captures hold one flux name each.\n",
        "| data | " + " | ".join(detect.VERDICTS) + " | flux and ambiguous names |",
        "| --- | " + "--- | " * len(detect.VERDICTS) + "--- |",
    ]
    for folder in ("flux", "benign/iot", "benign/zeek-competition", "benign/zeek-small"):
        files = [
            path
            for path in sorted((REAL / folder).rglob("*"))
            if path.suffix in (".pcap", ".gz", ".log") and "json" not in path.name
        ]
        found = pipeline.scan(files, options).findings
        counts = Counter(one.verdict for one in found)
        told = [
            f"`{one.name}` ({one.verdict}, {one.n_addresses} addresses, {one.n_asns} ASes)"
            for one in found
            if one.is_flux or one.verdict == AMBIGUOUS
        ]
        cells = " | ".join(str(counts[verdict]) for verdict in detect.VERDICTS)
        lines.append(f"| {folder} | {cells} | {', '.join(told) or '–'} |")
    return lines


if __name__ == "__main__":
    main()
