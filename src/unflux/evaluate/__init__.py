"""Measure detectors on labelled data: side by side, with what each number rests on."""

from __future__ import annotations

from unflux.evaluate.labels import Label, load_labels
from unflux.evaluate.run import Evaluation, Measured, evaluate, fit_thresholds

__all__ = ["Evaluation", "Label", "Measured", "evaluate", "fit_thresholds", "load_labels"]
