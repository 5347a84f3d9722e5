#!/usr/bin/env python3
"""Fit the score of unflux's detector on training worlds; writes `src/unflux/detect/score.json`.

unflux lab synth medium --split train --out DIR
python tools/fit_score.py DIR

Only the score is learned, over the conditions that the verdicts rest on; verdicts are not. Prints
what is left of it when one preset, one network or one look-alike is kept out of the training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from unflux import enrich, features, sightings
from unflux.detect.unflux import INPUTS, Unflux
from unflux.evaluate import load_labels, metrics
from unflux.sources.base import ReadOptions

SCORE = Path(__file__).parent.parent / "src" / "unflux" / "detect" / "score.json"
HOURS = (0.5, 1, 2, 3, 5, 8, 24)
LIMIT = 1e-3


def rows(suite: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs of the score, truth, kinds and networks of every labelled name at every hour."""
    labels = load_labels(suite / "labels.json")
    enrichment = enrich.load(suite / "asn.mmdb", suite / "country.mmdb")
    first = pc.min(pq.read_table(suite / "answers.parquet", columns=["ts"])["ts"]).value
    inputs, flux, kinds, networks = [], [], [], []
    for hours in HOURS:
        until_us = first - first % 3_600_000_000 + int(hours * 3.6e9)
        options = ReadOptions(threads=2, clients="drop", until_us=until_us)
        history = sightings.reduce([suite / "answers.parquet"], options)
        table = features.compute(history, enrichment, threads=2).table
        for row in Unflux().inputs(table).to_pylist():
            label = labels.get(row["name"])
            if label is not None:
                inputs.append([float(row[name]) for name in INPUTS])
                flux.append(label.flux)
                kinds.append(label.kind)
                networks.append(label.network or row["name"])
    return np.array(inputs), np.array(flux), np.array(kinds), np.array(networks)


def fit(inputs: np.ndarray, flux: np.ndarray) -> LogisticRegression:
    """Ridge-penalised, as written in the card."""
    return LogisticRegression(C=1.0, max_iter=2000).fit(inputs, flux)


def left_out(inputs: np.ndarray, flux: np.ndarray, groups: np.ndarray, chosen: np.ndarray) -> None:
    """Share called flux of each group by a score that never saw it, at the others' threshold."""
    for group in sorted(set(groups[chosen].tolist())):
        out = groups == group
        model = fit(inputs[~out], flux[~out])
        score = model.predict_proba(inputs)[:, 1]
        threshold = metrics.threshold_at_fpr(flux[~out], score[~out], LIMIT)
        print(f"  {group:14} {float((score[out] >= threshold).mean()):.3f} of {int(out.sum())}")


def main() -> None:
    """Fit, say what it is worth, write."""
    suite = Path(sys.argv[1])
    inputs, flux, kinds, _ = rows(suite)
    model = fit(inputs, flux)
    print("one preset left out (rows at all hours, sleepers asleep and first answers too):")
    left_out(inputs, flux, kinds, flux)
    print("one look-alike left out:")
    left_out(inputs, flux, kinds, ~flux)
    weights = dict(zip(INPUTS, model.coef_[0].round(4).tolist(), strict=True))
    card = {
        "what": "probability of flux of a name with these inputs, on worlds like the training ones",
        "trained_on": f"unflux lab synth medium --split train, seed 1, at {list(HOURS)} hours",
        "rows": int(len(flux)),
        "flux_rows": int(flux.sum()),
        "method": "logistic regression, L2 penalty with C = 1 (scikit-learn), inputs in [0, 1]",
        "not_for": "the share of flux among names differs elsewhere: read it as a rank, and as a "
        "probability only where about one name in forty is flux",
        "verdicts": "do not depend on it: the score is kept inside the band of its verdict",
    }
    content = {"card": card, "intercept": round(float(model.intercept_[0]), 4), "weights": weights}
    SCORE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content["weights"]))


if __name__ == "__main__":
    main()
