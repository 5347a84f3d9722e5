#!/usr/bin/env python3
"""Fit the score of unflux's detector on training worlds; writes `src/unflux/detect/score.json`.

pip install scikit-learn
unflux lab synth medium --split train --out DIR
python tools/fit_score.py DIR

DIR is refused unless its card says that it is the train split: nothing else is learned from.
Only the score is learned, over the conditions that the verdicts rest on; verdicts are not. Prints
what is left of it when one preset, one network or one look-alike is kept out of the training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from unflux import engine, enrich, features, sightings
from unflux.detect.trained import CLUSTER_FEATURES, MIN_ADDRESSES, SSFD_FEATURES
from unflux.detect.unflux import INPUTS, Unflux
from unflux.evaluate import Label, load_labels, metrics
from unflux.sources.base import ReadOptions

SCORE = Path(__file__).parent.parent / "src" / "unflux" / "detect" / "score.json"
TRAINED = SCORE.with_name("trained.json")
HOURS = (0.5, 1, 2, 3, 5, 8, 24)
LIMIT = 1e-3
MIN_FRESH = 20


def tables(suite: Path) -> list[pa.Table]:
    """Features of a suite after each of the hours."""
    enrichment = enrich.load(suite / "asn.mmdb", suite / "country.mmdb")
    first = pc.min(pq.read_table(suite / "answers.parquet", columns=["ts"])["ts"]).value
    start_us = first - first % 3_600_000_000
    found = []
    for hours in HOURS:
        until_us = start_us + int(hours * 3.6e9)
        options = ReadOptions(threads=2, clients="drop", until_us=until_us)
        history = sightings.reduce([suite / "answers.parquet"], options)
        found.append(features.compute(history, enrichment, threads=2).table)
    return found


def rows(
    some: list[pa.Table], labels: dict[str, Label]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs of the score, truth and kinds of every labelled name at every hour."""
    inputs, flux, kinds, fresh = [], [], [], []
    for table in some:
        n_fresh = dict(zip(table["name"].to_pylist(), table["n_fresh"].to_pylist(), strict=True))
        for row in Unflux().inputs(table).to_pylist():
            label = labels.get(row["name"])
            if label is not None:
                inputs.append([float(row[name]) for name in INPUTS])
                flux.append(label.flux)
                kinds.append(label.kind)
                fresh.append(n_fresh[row["name"]] or 0)
    return np.array(inputs), np.array(flux), np.array(kinds), np.array(fresh)


def trained_on(suite: Path) -> str:
    """The command that made a suite, from its card.

    Raises
    ------
    ValueError
        When it is not the train split: what is learned must not have met the others.
    """
    card = json.loads((suite / "card.json").read_text(encoding="utf-8"))
    if card["split"] != "train":
        raise ValueError(f"{suite} is the split {card['split']}; train on --split train alone")
    return f"unflux lab synth {card['scenario']} --split train, seed {card['seed']}"


def fit_published(table: pa.Table, labels: dict[str, Label], source: str) -> None:
    """What the papers trained and did not publish, on the whole day: written as data."""
    is_flux = [(label := labels.get(name)) and label.flux for name in table["name"].to_pylist()]
    table = table.append_column("is_flux", pa.array(is_flux, pa.bool_()))
    chosen = engine.query(
        f"SELECT is_flux, {', '.join(CLUSTER_FEATURES)} FROM features "
        f"WHERE is_flux IS NOT NULL AND cluster_addresses >= {MIN_ADDRESSES}",
        features=table,
    )
    values = np.nan_to_num(np.array([chosen[name].to_numpy() for name in CLUSTER_FEATURES], float))
    truth = chosen["is_flux"].to_numpy()
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=1)
    tree.fit(values.T, truth)
    content = {
        "card": {
            "trained_on": f"{source}, {HOURS[-1]} hours",
            "perdisci2009": "CART (scikit-learn), depth 4, leaves of five names and more",
            "ssfd2010": "means and standard deviations of each class, share of flux as prior",
        },
        "perdisci2009": node_of(tree.tree_, 0),
        "ssfd2010": gaussians(table),
    }
    TRAINED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def node_of(tree: Any, node: int) -> dict[str, Any]:
    """A tree of scikit-learn as data."""
    if tree.children_left[node] < 0:
        share = tree.value[node][0] / tree.value[node][0].sum()
        return {"flux_ratio": round(float(share[-1]), 4)}
    return {
        "feature": CLUSTER_FEATURES[tree.feature[node]],
        "at": round(float(tree.threshold[node]), 6),
        "low": node_of(tree, tree.children_left[node]),
        "high": node_of(tree, tree.children_right[node]),
    }


def gaussians(table: pa.Table) -> dict[str, Any]:
    """Mean and standard deviation of each feature in each class."""
    found: dict[str, Any] = {"flux_prior": 0.0, "features": {}}
    for name in SSFD_FEATURES:
        rows = engine.query(
            f"SELECT is_flux, avg({name}) AS mean, stddev({name}) AS deviation, count(*) AS n "
            "FROM features WHERE is_flux IS NOT NULL AND n_addresses > 0 GROUP BY is_flux",
            features=table,
        ).to_pylist()
        of = {"flux" if row["is_flux"] else "benign": row for row in rows}
        found["features"][name] = {
            kind: [round(row["mean"], 4), round(max(row["deviation"], 0.05), 4)]
            for kind, row in of.items()
        }
        found["flux_prior"] = round(of["flux"]["n"] / sum(row["n"] for row in rows), 4)
    return found


def fit(inputs: np.ndarray, flux: np.ndarray) -> LogisticRegression:
    """Ridge-penalised, as written in the card."""
    return LogisticRegression(C=1.0, max_iter=2000).fit(inputs, flux)


def banded(inputs: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The score as the detector gives it: inside the band of its verdict."""
    names = list(INPUTS)
    low = 0.51 * inputs[:, names.index("called_flux")]
    low += 0.2 * inputs[:, names.index("called_ambiguous")]
    high = np.where(low > 0.5, 1.0, np.where(low > 0, 0.49, 0.19))
    return np.clip(probability, low, high)


def left_out(inputs: np.ndarray, flux: np.ndarray, groups: np.ndarray, chosen: np.ndarray) -> None:
    """Share called flux of each group by a score that never saw it, at the others' threshold."""
    for group in sorted(set(groups[chosen].tolist())):
        out = groups == group
        model = fit(inputs[~out], flux[~out])
        score = banded(inputs, model.predict_proba(inputs)[:, 1])
        threshold = max(0.5, metrics.threshold_at_fpr(flux[~out], score[~out], LIMIT))
        print(f"  {group:14} {float((score[out] >= threshold).mean()):.3f} of {int(out.sum())}")


def main() -> None:
    """Fit, say what it is worth, write."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    suite = Path(sys.argv[1])
    try:
        source = trained_on(suite)
    except (OSError, ValueError) as error:
        sys.exit(f"fit_score.py: {error}")
    run(tables(suite), load_labels(suite / "labels.json"), source)


def run(some: list[pa.Table], labels: dict[str, Label], source: str) -> None:
    """The same over features that were computed already; `source` stands in the cards."""
    fit_published(some[-1], labels, source)
    inputs, flux, kinds, fresh = rows(some, labels)
    model = fit(inputs, flux)
    seen = fresh >= MIN_FRESH
    print(f"one preset left out, names of {MIN_FRESH} fresh answers (sleepers asleep too):")
    left_out(inputs[seen], flux[seen], kinds[seen], flux[seen])
    print("one look-alike left out:")
    left_out(inputs[seen], flux[seen], kinds[seen], ~flux[seen])
    weights = dict(zip(INPUTS, model.coef_[0].round(4).tolist(), strict=True))
    card = {
        "what": "probability of flux of a name with these inputs, on worlds like the training ones",
        "trained_on": f"{source}, at {list(HOURS)} hours",
        "rows": len(flux),
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
