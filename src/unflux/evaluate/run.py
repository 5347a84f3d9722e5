"""Judge labelled names with several detectors and measure each. Inputs are read once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unflux import detect, enrich, features, sightings
from unflux.detect import Detector, base
from unflux.errors import UnfluxError
from unflux.evaluate import metrics
from unflux.evaluate.labels import Label
from unflux.pipeline import ScanOptions
from unflux.sightings import OnProgress

US_PER_DAY = 86_400_000_000


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One detector on one set of names. Shares are null where there is nothing to divide by."""

    id: str
    version: int
    pr_auc: float | None
    pr_auc_interval: tuple[float, float] | None
    tpr_at_fpr: dict[str, float | None]
    recall: float | None
    """Share of flux names with any verdict of flux; `ambiguous` is a miss."""
    recall_interval: tuple[float, float] | None
    false_positives: int
    false_positive_rate: float | None
    false_positive_interval: tuple[float, float] | None
    false_alarms_per_day_per_million_names: float | None
    f1: dict[str, float | None]
    """By verdict: of that very kind of flux."""
    brier: float | None
    calibration_error: float | None
    reliability: list[dict[str, float]]
    by_kind: dict[str, dict[str, Any]]
    curve: list[tuple[float, float]]
    """(recall, precision), thinned out for drawing."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All detectors side by side, and what they were measured on."""

    names: dict[str, int]
    """labelled, seen, measured, and why the others were not."""
    unlabelled_flux: dict[str, int]
    """By detector: names without a label that it calls flux (the zone of a flux name aside)."""
    days: float
    kinds: dict[str, int]
    detectors: list[Measured]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which labelled names are measured."""

    split: str | None = None
    min_fresh: int = 0
    """Only names with this many fresh answers: below it nobody can know."""


@dataclass(frozen=True, slots=True)
class _Set:
    """The names that are measured, as columns."""

    rows: npt.NDArray[np.int64]
    labels: list[Label]
    flux: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]


def evaluate(
    paths: Sequence[Path],
    labels: dict[str, Label],
    detectors: Sequence[Detector],
    options: ScanOptions,
    choice: Choice | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Read inputs, judge every name with every detector, and compare with the labels.

    Raises
    ------
    UnfluxError
        When no labelled name was seen, or an input cannot be read.
    """
    choice = choice or Choice()
    history = sightings.reduce(
        paths, options.read, format_name=options.format_name, on_progress=on_progress
    )
    for one in history.inputs:
        if one.books.error:
            raise UnfluxError(f"{one.path}: {one.books.error}")
    enrichment = enrich.load(options.asn_db, options.country_db)
    table = features.compute(history, enrichment, threads=options.read.threads).table
    chosen, names = _choose(table, labels, choice)
    if not len(chosen.rows):
        raise UnfluxError("no labelled name was seen in the input")
    days = _days(table)
    measured, unlabelled = [], {}
    for detector in detectors:
        judged = detector.judge(table)
        by_name = _aligned(judged, table)
        measured.append(_measure(detector, by_name.take(pa.array(chosen.rows)), chosen, days))
        unlabelled[detector.id] = _unlabelled_flux(by_name, labels)
    kinds = Counter(label.kind for label in chosen.labels)
    return Evaluation(
        names=names,
        unlabelled_flux=unlabelled,
        days=days,
        kinds=dict(sorted(kinds.items())),
        detectors=measured,
    )


def _aligned(judged: pa.Table, table: pa.Table) -> pa.Table:
    """The judged rows in the order of the features: an engine may give them in another."""
    place = pc.index_in(table.column("name"), judged.column("name").combine_chunks())
    return judged.take(place)


def _choose(
    table: pa.Table, labels: dict[str, Label], choice: Choice
) -> tuple[_Set, dict[str, int]]:
    counts = Counter(labelled=len(labels))
    rows, found, groups = [], [], []
    numbers: dict[str, int] = {}
    fresh = table.column("n_fresh").to_pylist()
    for row, name in enumerate(table.column("name").to_pylist()):
        label = labels.get(name)
        if label is None:
            counts["seen_without_label"] += 1
            continue
        counts["seen"] += 1
        if choice.split is not None and label.split != choice.split:
            counts["of_another_split"] += 1
        elif (fresh[row] or 0) < choice.min_fresh:
            counts["too_few_fresh_answers"] += 1
        else:
            rows.append(row)
            found.append(label)
            groups.append(numbers.setdefault(label.network or name, len(numbers)))
    counts["measured"] = len(rows)
    counts["not_seen"] = counts["labelled"] - counts["seen"]
    chosen = _Set(
        np.array(rows, np.int64),
        found,
        np.array([label.flux for label in found], bool),
        np.array(groups, np.int64),
    )
    return chosen, dict(counts)


def _days(table: pa.Table) -> float:
    first = pc.min(table.column("first_us")).as_py()
    last = pc.max(table.column("last_us")).as_py()
    return max((last - first) / US_PER_DAY, 1e-6) if first is not None else 0.0


def _unlabelled_flux(judged: pa.Table, labels: dict[str, Label]) -> int:
    """Names nobody labelled that are called flux, apart from zones of labelled flux names."""
    flux_zones = {name.split(".", 1)[1] for name, label in labels.items() if label.flux}
    called = pc.is_in(judged.column("verdict"), pa.array(detect.FLUX_VERDICTS))
    names = judged.filter(called).column("name").to_pylist()
    return sum(name not in labels and name not in flux_zones for name in names)


def _measure(detector: Detector, judged: pa.Table, chosen: _Set, days: float) -> Measured:
    score = np.nan_to_num(judged.column("score").to_numpy().astype(float))
    verdicts = np.array(judged.column("verdict").to_pylist())
    flux = chosen.flux
    called = np.isin(verdicts, base.FLUX_VERDICTS)
    hits, n_flux = int((called & flux).sum()), int(flux.sum())
    alarms, n_others = int((called & ~flux).sum()), int((~flux).sum())
    recall, precision = metrics.pr_curve(flux, score)
    thin = np.unique(np.linspace(0, max(len(recall) - 1, 0), 200).astype(int))
    return Measured(
        id=detector.id,
        version=detector.version,
        pr_auc=_known(metrics.pr_auc(flux, score)),
        pr_auc_interval=_interval(chosen, lambda drawn: metrics.pr_auc(flux[drawn], score[drawn])),
        tpr_at_fpr={
            f"{limit:g}": _known(metrics.tpr_at_fpr(flux, score, limit))
            for limit in metrics.FALSE_POSITIVE_RATES
        },
        recall=hits / n_flux if n_flux else None,
        recall_interval=_interval(chosen, lambda drawn: _share(called[drawn], flux[drawn])),
        false_positives=alarms,
        false_positive_rate=alarms / n_others if n_others else None,
        false_positive_interval=metrics.wilson(alarms, n_others) if n_others else None,
        false_alarms_per_day_per_million_names=(
            alarms / n_others / days * 1e6 if n_others and days else None
        ),
        f1=_f1(verdicts, chosen.labels),
        brier=_known(metrics.brier(flux, score)),
        calibration_error=_known(metrics.calibration_error(flux, score)),
        reliability=metrics.reliability(flux, score),
        by_kind=_by_kind(verdicts, chosen.labels),
        curve=list(zip(recall[thin].tolist(), precision[thin].tolist(), strict=True)),
    )


def _share(called: npt.NDArray[np.bool_], flux: npt.NDArray[np.bool_]) -> float:
    return float(called[flux].mean()) if flux.any() else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _interval(chosen: _Set, measure: Any) -> tuple[float, float] | None:
    low, high = metrics.interval(chosen.groups, measure)
    return None if math.isnan(low) else (low, high)


def _f1(verdicts: npt.NDArray[Any], labels: list[Label]) -> dict[str, float | None]:
    truth = np.array([label.verdict or "" for label in labels])
    return {
        verdict: _known(metrics.f1(truth == verdict, verdicts == verdict))
        for verdict in base.FLUX_VERDICTS
    }


def _by_kind(verdicts: npt.NDArray[Any], labels: list[Label]) -> dict[str, dict[str, Any]]:
    """Of each preset or look-alike: how many, what was said, and the share called flux."""
    kinds = np.array([label.kind for label in labels])
    found = {}
    for kind in sorted(set(kinds.tolist())):
        mine = kinds == kind
        counts = Counter(verdicts[mine].tolist())
        n_called = sum(counts[verdict] for verdict in base.FLUX_VERDICTS)
        label = labels[int(np.flatnonzero(mine)[0])]
        found[kind] = {
            "flux": label.flux,
            "n": int(mine.sum()),
            "called_flux": n_called / int(mine.sum()),
            "interval": metrics.wilson(n_called, int(mine.sum())),
            "verdicts": dict(sorted(counts.items())),
        }
    return found
