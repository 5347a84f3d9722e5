"""The numbers, from scores and truth alone. Arrays are of one length, one entry a name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

FALSE_POSITIVE_RATES = (1e-2, 1e-3, 1e-4)
N_BINS = 10
N_BOOTSTRAPS = 400


def pr_curve(flux: Bools, score: Floats) -> tuple[Floats, Floats]:
    """(recall, precision) at every distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(flux[order])
    last_of_score = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True]) if len(order) else order
    recall = hits[last_of_score] / max(int(flux.sum()), 1)
    precision = hits[last_of_score] / (last_of_score + 1)
    return recall, precision


def pr_auc(flux: Bools, score: Floats) -> float:
    """Average precision: sum of precision × gain in recall (no interpolation).

    Davis & Goadrich, ICML 2006, on why not to interpolate. NaN without any flux.

    >>> pr_auc(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))  # 1/2·1 + 1/2·2/3
    0.8333333333333333
    """
    if not flux.any():
        return math.nan
    recall, precision = pr_curve(flux, score)
    return float(np.sum(np.diff(np.r_[0.0, recall]) * precision))


def tpr_at_fpr(flux: Bools, score: Floats, limit: float) -> float:
    """Highest share of flux found while at most `limit` of the others score as high.

    NaN without flux, or without enough others to tell (fewer than 1 / limit).
    """
    n_others = int((~flux).sum())
    if not flux.any() or n_others < 1 / limit:
        return math.nan
    order = np.argsort(-score, kind="stable")
    hits, alarms = np.cumsum(flux[order]), np.cumsum(~flux[order])
    last_of_score = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    allowed = last_of_score[alarms[last_of_score] <= limit * n_others]
    return float(hits[allowed[-1]] / flux.sum()) if len(allowed) else 0.0


def threshold_at_fpr(flux: Bools, score: Floats, limit: float) -> float:
    """The lowest threshold (flux: score ≥ it) that at most `limit` of the others reach.

    Ties stand or fall together; never 0, because a score of 0 says nothing.

    >>> threshold_at_fpr(np.array([True, True, False]), np.array([0.9, 0.7, 0.5]), 0.0) > 0.5
    True
    """
    others = np.sort(score[~flux])[::-1]
    allowed = int(limit * len(others))
    above = others[allowed] if allowed < len(others) else 0.0
    return float(np.nextafter(max(above, 0.0), np.inf))


def f1(true: Bools, called: Bools) -> float:
    """Harmonic mean of precision and recall; NaN where there is nothing to find and nothing called.

    >>> f1(np.array([True, True, False]), np.array([True, False, True]))  # P = R = 1/2
    0.5
    """
    both = int((true & called).sum())
    wrong = int((true ^ called).sum())
    return 2 * both / (2 * both + wrong) if both or wrong else math.nan


def brier(flux: Bools, score: Floats) -> float:
    """Mean squared distance of score and truth, 0 (best) to 1."""
    return float(np.mean((score - flux) ** 2)) if len(flux) else math.nan


def reliability(flux: Bools, score: Floats) -> list[dict[str, float]]:
    """Ten bins of the score: how many names, their mean score, and the share of flux among them."""
    place = np.minimum((np.clip(score, 0, 1) * N_BINS).astype(int), N_BINS - 1)
    found = []
    for number in range(N_BINS):
        mine = place == number
        if mine.any():
            found.append(
                {
                    "from": number / N_BINS,
                    "n": int(mine.sum()),
                    "score": float(score[mine].mean()),
                    "flux_ratio": float(flux[mine].mean()),
                }
            )
    return found


def calibration_error(flux: Bools, score: Floats) -> float:
    """Expected calibration error: mean distance of score and share of flux, by bin size."""
    bins = reliability(flux, score)
    total = sum(one["n"] for one in bins)
    if not total:
        return math.nan
    return sum(one["n"] * abs(one["score"] - one["flux_ratio"]) for one in bins) / total


def interval(
    groups: npt.NDArray[np.int64], measure: Callable[[npt.NDArray[np.int64]], float], seed: int = 1
) -> tuple[float, float]:
    """95 % interval of a measure, by drawing whole groups with replacement.

    `measure` takes the indices of the names drawn. Names of one network are alike, so drawing names
    one by one would promise too much (cluster bootstrap, Field & Welsh 2007).
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) != 0]) if len(order) else order
    members = np.split(order, starts[1:])
    found = []
    for _ in range(N_BOOTSTRAPS):
        drawn = rng.integers(0, len(members), len(members))
        found.append(measure(np.concatenate([members[place] for place in drawn])))
    known = [value for value in found if not math.isnan(value)]
    if not known:
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def wilson(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), honest where it is 0 or 1.

    >>> tuple(round(end, 3) for end in wilson(0, 100))
    (0.0, 0.037)
    """
    if not total:
        return math.nan, math.nan
    z = 1.959964
    share = hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return max(0.0, middle - half), min(1.0, middle + half)
