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
from unflux.enrich import Enrichment
from unflux.errors import UnfluxError
from unflux.evaluate import delay, fit, metrics
from unflux.evaluate.delay import Delay
from unflux.evaluate.fit import Fitted, Refitted
from unflux.evaluate.labels import Label
from unflux.features import windows
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
    f1_interval: dict[str, tuple[float, float] | None]
    brier: float | None
    calibration_error: float | None
    reliability: list[dict[str, float]]
    by_kind: dict[str, dict[str, Any]]
    by_network: dict[str, dict[str, Any]]
    """Every flux network: its kind, how many names, and the share called flux. Where networks are
    split, none of these was seen in training: one network left out, each in turn."""
    curve: list[tuple[float, float]]
    """(recall, precision), thinned out for drawing."""
    refitted: Refitted | None = None
    """With the threshold of training data, where some were given."""
    delay: dict[str, Delay] | None = None
    """By records per answer and by preset, where asked for."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All detectors side by side, and what they were measured on."""

    names: dict[str, int]
    """labelled, seen, measured, and why the others were not."""
    unlabelled_flux: dict[str, int]
    """By detector: names without a label that it calls flux (the zone of a flux name aside)."""
    days: float
    kinds: dict[str, int]
    blind_spots: list[str]
    """Tables that were missing, and what no detector can see for want of them."""
    detectors: list[Measured]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which labelled names are measured."""

    split: str | None = None
    min_fresh: int = 0
    """Only names with this many fresh answers: below it nobody can know."""
    delays: bool = False
    """Judge growing prefixes too: takes some twenty times as long."""


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
    fitted: dict[str, Fitted] | None = None,
) -> Evaluation:
    """Read inputs, judge every name with every detector, and compare with the labels.

    Raises
    ------
    UnfluxError
        When no labelled name was seen, or an input cannot be read.
    """
    choice = choice or Choice()
    enrichment = enrich.load(options.asn_db, options.country_db)
    table = _features(paths, options, enrichment, on_progress)
    chosen, names = _choose(table, labels, choice)
    if not len(chosen.rows):
        counted = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in names.items())
        raise UnfluxError(f"no labelled name is left to measure: {counted}")
    days = _days(table)
    watches = _delays(paths, options, detectors, table, chosen) if choice.delays else {}
    measured, unlabelled = [], {}
    for detector in detectors:
        judged = detector.judge(table)
        by_name = _aligned(judged, table)
        mine = by_name.take(pa.array(chosen.rows))
        one = _measure(detector, mine, chosen, days)
        if fitted is not None and detector.id in fitted:
            one = msgspec.structs.replace(
                one, refitted=_refitted(fitted[detector.id], mine, chosen)
            )
        if detector.id in watches:
            one = msgspec.structs.replace(one, delay=_delay_of(watches[detector.id], mine, chosen))
        measured.append(one)
        unlabelled[detector.id] = _unlabelled_flux(by_name, labels)
    kinds = Counter(label.kind for label in chosen.labels)
    return Evaluation(
        names=names,
        unlabelled_flux=unlabelled,
        days=days,
        kinds=dict(sorted(kinds.items())),
        blind_spots=list(enrichment.blind_spots),
        detectors=measured,
    )


def _features(
    paths: Sequence[Path],
    options: ScanOptions,
    enrichment: Enrichment,
    on_progress: OnProgress | None = None,
) -> pa.Table:
    history = sightings.reduce(
        paths, options.read, format_name=options.format_name, on_progress=on_progress
    )
    for one in history.inputs:
        if one.books.error:
            raise UnfluxError(f"{one.path}: {one.books.error}")
    if options.window_s is not None:
        history = windows.last(history, options.window_s)
    return features.compute(history, enrichment, threads=options.read.threads).table


def fit_thresholds(
    paths: Sequence[Path],
    labels: dict[str, Label],
    detectors: Sequence[Detector],
    options: ScanOptions,
    choice: Choice | None = None,
) -> dict[str, Fitted]:
    """Thresholds of every detector on training data, by its id; see `unflux.evaluate.fit`.

    Raises
    ------
    UnfluxError
        As `evaluate` does.
    """
    table = _features(paths, options, enrich.load(options.asn_db, options.country_db))
    chosen, _ = _choose(table, labels, choice or Choice())
    if not len(chosen.rows) or not chosen.flux.any():
        raise UnfluxError("no name of the training data is seen and labelled as flux")
    kinds = [label.kind for label in chosen.labels]
    found = {}
    for detector in detectors:
        judged = _aligned(detector.judge(table), table).take(pa.array(chosen.rows))
        found[detector.id] = fit.fit(_scores(judged), chosen.flux, kinds)
    return found


def _scores(judged: pa.Table) -> npt.NDArray[np.float64]:
    return np.nan_to_num(np.asarray(judged.column("score").to_numpy(), np.float64))


def _refitted(fitted: Fitted, judged: pa.Table, chosen: _Set) -> Refitted:
    kinds = [label.kind for label in chosen.labels]
    return fit.apply(fitted, _scores(judged), chosen.flux, kinds, chosen.groups)


def _delays(
    paths: Sequence[Path],
    options: ScanOptions,
    detectors: Sequence[Detector],
    table: pa.Table,
    chosen: _Set,
) -> dict[str, delay.Watch]:
    """Judge growing prefixes of the inputs with every detector."""
    names = table.column("name").take(pa.array(chosen.rows)).to_pylist()
    watches = {detector.id: delay.Watch(names) for detector in detectors}
    first, last = pc.min(table.column("first_us")).as_py(), pc.max(table.column("last_us")).as_py()
    enrichment = enrich.load(options.asn_db, options.country_db)
    moments = delay.times(first, last)
    for history in delay.prefixes(paths, options.read, options.format_name, moments):
        prefix = features.compute(history, enrichment, threads=options.read.threads).table
        for detector in detectors:
            watches[detector.id].see(detector.judge(prefix))
        if all(watch.is_done(chosen.flux) for watch in watches.values()):
            break
    return watches


def _delay_of(watch: delay.Watch, judged: pa.Table, chosen: _Set) -> dict[str, Delay]:
    """By the size of the answers, and by preset."""
    k = pc.fill_null(judged.column("answers_max"), 0).to_numpy()
    kinds = np.array([label.kind for label in chosen.labels])
    groups = {
        name: chosen.flux & (k >= low) & (k <= high) for name, (low, high) in delay.GROUPS.items()
    }
    groups |= {kind: kinds == kind for kind in sorted(set(kinds[chosen.flux].tolist()))}
    return {name: watch.delay(mine, chosen.groups) for name, mine in groups.items() if mine.any()}


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
    last_us = pc.max(table.column("last_us")).as_py() or 0
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
            found.append(label.at(last_us))
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
    score = _scores(judged)
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
        f1_interval=_f1_interval(verdicts, chosen),
        brier=_known(metrics.brier(flux, score)),
        calibration_error=_known(metrics.calibration_error(flux, score)),
        reliability=metrics.reliability(flux, score),
        by_kind=_by_kind(verdicts, chosen.labels),
        by_network=_by_network(called, chosen),
        curve=list(zip(recall[thin].tolist(), precision[thin].tolist(), strict=True)),
    )


def _by_network(called: npt.NDArray[np.bool_], chosen: _Set) -> dict[str, dict[str, Any]]:
    found = {}
    for group in np.unique(chosen.groups[chosen.flux]):
        mine = chosen.groups == group
        label = chosen.labels[int(np.flatnonzero(mine)[0])]
        n_called = int(called[mine].sum())
        found[label.network or label.kind] = {
            "kind": label.kind,
            "n": int(mine.sum()),
            "called_flux": n_called / int(mine.sum()),
            "interval": metrics.wilson(n_called, int(mine.sum())),
        }
    return found


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


def _f1_interval(verdicts: npt.NDArray[Any], chosen: _Set) -> dict[str, tuple[float, float] | None]:
    truth = np.array([label.verdict or "" for label in chosen.labels])

    def ends(verdict: str) -> tuple[float, float] | None:
        true, called = truth == verdict, verdicts == verdict
        return _interval(chosen, lambda drawn: metrics.f1(true[drawn], called[drawn]))

    return {verdict: ends(verdict) for verdict in base.FLUX_VERDICTS}


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
