#!/usr/bin/env python3
"""Write `docs/accuracy.md`: the test split of a suite, played and evaluated. Takes some minutes.

python tools/make_accuracy.py [SUITE]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from unflux import detect
from unflux.evaluate import evaluate, load_labels, report
from unflux.evaluate.run import Choice
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.pipeline import ScanOptions
from unflux.sources.base import ReadOptions

PAGE = Path(__file__).parent.parent / "docs" / "accuracy.md"
HOURS = (3, 8, 24)
MIN_FRESH = 20


def main() -> None:
    """Play, evaluate after some hours and after the day, write the page."""
    suite = sys.argv[1] if len(sys.argv) > 1 else "medium"
    scenario = scenarios.load(suite, split="test")
    parts = [
        "# Accuracy\n",
        f"The test split of the suite `{suite}` ([how it was made and what it cannot stand for]"
        f"(lab/suites.md)): {len(scenario.services)} services. Made by "
        f"`python tools/make_accuracy.py {suite}`. Both sides of the resolvers are read. In the "
        f"tables of {' and '.join(str(hour) for hour in HOURS[:-1])} hours only names with "
        f"{MIN_FRESH} fresh answers are counted; sleepers may still be asleep there.\n",
        "Detectors other than unflux's own have their thresholds as published.\n",
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "suite"
        synth(scenario, out, ("parquet",))
        labels = load_labels(out / "labels.json")
        for hours in HOURS:
            until_us = int((scenario.start_s + hours * 3600) * 1e6)
            options = ScanOptions(
                ReadOptions(threads=2, clients="drop", until_us=until_us),
                asn_db=out / "asn.mmdb",
                country_db=out / "country.mmdb",
            )
            choice = Choice(min_fresh=MIN_FRESH if hours < HOURS[-1] else 0)
            result = evaluate([out / "answers.parquet"], labels, detect.DETECTORS, options, choice)
            text = report.markdown(result, f"After {hours} hours").replace(report.CAUTION, "")
            parts.append("#" + text)
    parts.append(f"\n{report.CAUTION}\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
