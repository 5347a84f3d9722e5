"""Thresholds re-fitted on training data, with one kind left out at a time.

Published thresholds are of other years and other feeds. The score of every detector gets the
threshold at which one in a thousand of the training data's other names would be called flux; then,
leaving one preset or one look-alike out of the training, the thresholds for what was never met.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from unflux.evaluate import metrics

LIMIT = 1e-3
"""False-positive rate that thresholds are fitted to, on the training data."""


class Fitted(msgspec.Struct, frozen=True):
    """Thresholds of one detector."""

    threshold: float
    without: dict[str, float]
    """By the kind that was left out of the training."""


class Refitted(msgspec.Struct, frozen=True, kw_only=True):
    """A detector with its re-fitted threshold, on the measured names."""

    threshold: float
    recall: float | None
    recall_interval: tuple[float, float] | None
    false_positives: int
    false_positive_rate: float | None
    unmet: dict[str, float]
    """Share called flux of each kind by a threshold whose training never met that kind."""


def fit(
    score: npt.NDArray[np.float64], flux: npt.NDArray[np.bool_], kinds: Sequence[str]
) -> Fitted:
    """Thresholds from the scores of labelled training names."""
    of = np.array(kinds)
    without = {
        kind: metrics.threshold_at_fpr(flux[of != kind], score[of != kind], LIMIT)
        for kind in sorted(set(kinds))
    }
    return Fitted(metrics.threshold_at_fpr(flux, score, LIMIT), without)


def apply(
    fitted: Fitted,
    score: npt.NDArray[np.float64],
    flux: npt.NDArray[np.bool_],
    kinds: Sequence[str],
    groups: npt.NDArray[np.int64],
) -> Refitted:
    """What the thresholds are worth on other names."""
    called, of = score >= fitted.threshold, np.array(kinds)

    def recall(drawn: npt.NDArray[np.int64]) -> float:
        mine = flux[drawn]
        return float(called[drawn][mine].mean()) if mine.any() else float("nan")

    low, high = metrics.interval(groups, recall)
    alarms, n_others = int((called & ~flux).sum()), int((~flux).sum())
    return Refitted(
        threshold=fitted.threshold,
        recall=float(called[flux].mean()) if flux.any() else None,
        recall_interval=None if np.isnan(low) else (low, high),
        false_positives=alarms,
        false_positive_rate=alarms / n_others if n_others else None,
        unmet={
            kind: float((score[of == kind] >= fitted.without.get(kind, fitted.threshold)).mean())
            for kind in sorted(set(kinds))
        },
    )
