#!/usr/bin/env python3
"""Write `docs/accuracy.md`: a split of a suite, a world unlike it, and the real captures.

python tools/make_accuracy.py [SUITE] [--split test] [--page PATH] [--data DIR TRAIN_DIR]

Directories that `unflux lab synth SUITE --split …` made are read; others are made. Takes some
minutes. While a detector is being changed: `--split validation --page /tmp/accuracy.md`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from unflux import detect, enrich, features, pipeline, sightings
from unflux.detect.base import AMBIGUOUS
from unflux.errors import UnfluxError
from unflux.evaluate import Evaluation, evaluate, fit_thresholds, load_labels, metrics, report
from unflux.evaluate.run import Choice, Measured
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.pipeline import ScanOptions
from unflux.sources.base import ReadOptions

PAGE = Path(__file__).parent.parent / "docs" / "accuracy.md"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"
BENCH = Path(__file__).parent.parent / "bench"
UNLIKE = (
    ("unlike", (1, 2), (1, 3, 8, 24)),
    ("tenants", (4, 5), (3, 24)),
    ("fleets", (4, 5), (3, 24)),
    ("peers", (4, 5), (3, 24)),
)
"""Worlds of `bench/`, the seeds and the hours that are told of each."""
UNLIKE_FRESH = 3
HOURS = (3, 24)
DELAY_HOURS = 6
DELAYS_OF = ("unflux", "holz2008", "anomalous_dns")
MIN_FRESH = 20
NEVER_FLUX = ("time_pool", "p2p_seed", "multi_cdn", "cloud_api", "dynamic_dns", "vpn_pool")
"""Look-alikes that the detector must not call flux."""


def main() -> None:
    """Play, evaluate after some hours and after the day, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", nargs="?", default="medium")
    parser.add_argument("--split", default="test")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--data", type=Path, nargs=2)
    given = parser.parse_args()
    try:
        scenario = scenarios.load(given.suite, split=given.split)
    except UnfluxError as error:
        parser.error(str(error))
    intro = (
        "# Accuracy\n",
        f"The {given.split} split of the suite `{given.suite}` ([how it was made and what it "
        f"cannot stand for](lab/suites.md)): {len(scenario.services)} services; other networks, "
        "names and weeks than the training split. Made by "
        f"`python tools/make_accuracy.py {given.suite}`. Both sides of the resolvers are read. "
        f"Only names with {MIN_FRESH} fresh answers are counted (one side of a resolver, one a "
        "minute); sleepers are labelled flux while they sleep. "
        "Intervals are of 95 %, by drawing whole networks, for shares of 0 and 1 Wilson's.\n",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen, train = given.data or (folder / "seen", folder / "train")
        for out, split in ((seen, given.split), (train, "train")):
            if not out.exists():
                synth(scenarios.load(given.suite, split=split), out, ("parquet",))
            elif (made := _made_by(out)) != (wanted := (given.suite, split, 1, scenario.hours)):
                parser.error(f"{out} is {made}, not {wanted} (suite, split, seed, hours)")
        results = {hours: _after(hours, scenario.start_s, seen, train) for hours in HOURS}
        delayed = _delays(scenario.start_s, seen)
        parts = [*intro, *_goals(results[HOURS[-1]], delayed)]
        parts += [_page_of(result, hours) for hours, result in results.items()]
        parts.append(f"## Delays in the first {DELAY_HOURS} hours\n")
        parts += report.delays(delayed)
        parts += _unlike(folder)
    if REAL.is_dir():
        parts += _real()
    parts.append(f"\n{report.CAUTION}\n")
    given.page.write_text("\n".join(parts), encoding="utf-8")


def _made_by(folder: Path) -> tuple[str, str | None, int, float] | str:
    """Suite, split, seed and hours of a world that was made already, from its card."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return card["scenario"], card["split"], card["seed"], card["hours"]
    except (OSError, ValueError, KeyError) as error:
        return f"no world of `unflux lab synth` ({error})"


def _goals(result: Evaluation, delayed: Evaluation) -> list[str]:
    """What the detector was made to reach, beside what it reaches."""
    ours, others = result.detectors[0], result.detectors[1:]
    of = ours.by_kind
    alike = [kind for kind in NEVER_FLUX if kind in of]
    n_alike = sum(of[kind]["n"] for kind in alike)
    accused = sum(round(of[kind]["called_flux"] * of[kind]["n"]) for kind in alike)
    best = max(others, key=lambda one: one.pr_auc or 0)
    late = delayed.detectors[0].delay or {}
    few = (ours.false_positive_rate or 0) <= 1e-3
    waits = {group: late.get(group) for group in ("k ≥ 5", "single_a")}
    lines = [
        f"## Goals, after {HOURS[-1]} hours\n",
        "| goal | value | 95 % interval | reached |",
        "| --- | --- | --- | --- |",
        _goal("recall (verdicts) ≥ 0.99", ours.recall, ours.recall_interval, 0.99),
        _goal("TPR at FPR ≤ 1e-3 ≥ 0.99", ours.tpr_at_fpr["0.001"], None, 0.99),
        f"| false positives per name ≤ 1e-3 (verdicts) | {ours.false_positive_rate:.5f} "
        f"| {_ends(ours.false_positive_interval, 5)} | {_yes(few)} |",
        f"| no verdict of flux on {', '.join(alike)} | {accused} of {n_alike} "
        f"| {_ends(metrics.wilson(accused, n_alike), 4)} | {_yes(accused == 0)} |",
        *_preset_goals(ours),
        *(
            _goal(f"F1 {verdict} ≥ 0.98", value, ours.f1_interval[verdict], 0.98)
            for verdict, value in ours.f1.items()
        ),
    ]
    for group, most in (("k ≥ 5", 3), ("single_a", 10)):
        one = waits[group]
        value = None if one is None else one.fresh_answers
        ends = None if one is None or one.fresh_answers_interval is None else (
            f"{one.fresh_answers_interval[0]:.0f} to {one.fresh_answers_interval[1]:.0f}"
        )  # fmt: skip
        lines.append(
            f"| median delay {group} ≤ {most} fresh answers | {report.number(value, 0)} "
            f"| {ends or '–'} | {_yes(value is not None and value <= most)} |"
        )
    lines.append(
        f"| PR-AUC ahead of every baseline (best: {best.id} {report.number(best.pr_auc)}"
        f"{report.span(best.pr_auc_interval)}) | {report.number(ours.pr_auc)} "
        f"| {_ends(ours.pr_auc_interval, 3)} | {_yes((ours.pr_auc or 0) > (best.pr_auc or 0))} |"
    )
    return [*lines, ""]


def _preset_goals(ours: Measured) -> list[str]:
    """One preset left out at a time: the threshold of a training that never met it."""
    if ours.refitted is None:
        return []
    return [
        f"| preset {kind} left out: TPR ≥ 0.95 | {share:.3f} "
        f"| {_ends(ours.by_kind[kind]['interval'], 3)} | {_yes(share >= 0.95)} |"
        for kind, share in ours.refitted.unmet.items()
        if ours.by_kind[kind]["flux"]
    ]


def _goal(what: str, value: float | None, ends: tuple[float, float] | None, least: float) -> str:
    reached = value is not None and value >= least
    return f"| {what} | {report.number(value)} | {_ends(ends, 3)} | {_yes(reached)} |"


def _ends(ends: tuple[float, float] | None, digits: int) -> str:
    return "–" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _page_of(result: Evaluation, hours: int) -> str:
    return "#" + report.markdown(result, f"After {hours} hours").replace(report.CAUTION, "")


def _options(out: Path, until_us: int | None) -> ScanOptions:
    read = ReadOptions(threads=2, clients="drop")
    if until_us is not None:
        read = replace(read, until_us=until_us)
    return ScanOptions(read, asn_db=out / "asn.mmdb", country_db=out / "country.mmdb")


def _after(hours: int, start_s: float, test: Path, train: Path) -> Evaluation:
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
    return evaluate(
        [test / "answers.parquet"],
        labels,
        detect.DETECTORS,
        _options(test, until_us),
        Choice(min_fresh=MIN_FRESH),
        fitted=fitted,
    )


def _delays(start_s: float, test: Path) -> Evaluation:
    """How long some detectors take: the first hours in growing prefixes."""
    return evaluate(
        [test / "answers.parquet"],
        load_labels(test / "labels.json"),
        [detect.by_id(one) for one in DELAYS_OF],
        _options(test, int((start_s + DELAY_HOURS * 3600) * 1e6)),
        Choice(min_fresh=MIN_FRESH, delays=True),
    )


def _unlike(folder: Path) -> list[str]:
    """Worlds of other numbers: every hour and seed, by how sure the detector is."""
    lines = [
        "## Data unlike the suites\n",
        "Worlds that are hard on purpose. [`unlike`](../bench/unlike.toml): pools, seeds and flux "
        "of other sizes, answers of one, and of five to fourteen addresses, single domains. "
        "[`tenants`](../bench/tenants.toml): twelve cloud services, ten providers of VPNs and "
        "sixteen networks of rented flux in the same few networks. "
        "[`fleets`](../bench/fleets.toml): servers of one company behind its four to twelve "
        "brands. [`peers`](../bench/peers.toml): peers and volunteers behind four to ten domains. "
        "The detector was made on seed 1 of `unlike`, and on other seeds and names of the others. "
        f"Names with {UNLIKE_FRESH} fresh answers; "
        "findings of low confidence are neither blocked nor exported as indicators.\n",
        "| world | seed | hours | flux names | called flux | of these low | ambiguous "
        "| look-alikes | called flux | of these low | plain names called flux |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for world, seed, every in [
        (one, seed, every) for one, seeds, every in UNLIKE for seed in seeds
    ]:
        out = folder / f"{world}-{seed}"
        scenario = scenarios.load(str(BENCH / f"{world}.toml"), seed=seed)
        synth(scenario, out, ("parquet",))
        labels = load_labels(out / "labels.json")
        enrichment = enrich.load(out / "asn.mmdb", out / "country.mmdb")
        for hours in every:
            read = ReadOptions(threads=2, clients="drop")
            read = replace(read, until_us=int((scenario.start_s + hours * 3600) * 1e6))
            history = sightings.reduce([out / "answers.parquet"], read)
            table = features.compute(history, enrichment, threads=2).table
            counts: Counter[str] = Counter()
            for row in detect.by_id("unflux").judge(table).to_pylist():
                label = labels.get(row["name"])
                if label is None or (row["n_fresh"] or 0) < UNLIKE_FRESH:
                    continue
                what = "flux" if label.flux else "plain" if label.kind == "static" else "alike"
                said = "flux" if row["verdict"] in detect.FLUX_VERDICTS else row["verdict"]
                counts[what] += 1
                counts[f"{what} {said}"] += 1
                counts[f"{what} {said} {row['confidence']}"] += 1
            cells = ("flux", "flux flux", "flux flux low", "flux ambiguous", "alike", "alike flux",
                     "alike flux low", "plain flux")  # fmt: skip
            lines.append(
                f"| {world} | {seed} | {hours} | {' | '.join(str(counts[one]) for one in cells)} |"
            )
    return [*lines, ""]


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
