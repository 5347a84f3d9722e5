"""Judge what changed: the names with fresh evidence, with all that their features need."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from unflux import pipeline
from unflux._native import Window
from unflux.detect import FLUX_VERDICTS, Detector, Finding
from unflux.detect.base import AMBIGUOUS
from unflux.enrich import Enrichment
from unflux.sightings import History

FORMATS = {"dnstap"}


@dataclass(slots=True)
class Judgements:
    """What one round of judging gave."""

    n_names: int = 0
    findings: list[Finding] = field(default_factory=list)
    """Names that are flux, or ambiguous; the others are only counted."""
    cleared: list[str] = field(default_factory=list)
    """Names judged to be neither (with the final dot)."""


class Judge:
    """The features and the detector of a scan, on the part of a window that has to be judged.

    The result is what a scan of everything in the window would say of these names, but for
    counts over all names (`address_idf`, `shared_ratio` and the like), which see only names that
    may rotate and do not enter verdicts.
    """

    def __init__(self, enrichment: Enrichment, detector: Detector, threads: int = 1) -> None:
        self.enrichment, self.detector, self.threads = enrichment, detector, threads

    def judge(self, window: Window, ids: list[int]) -> Judgements:
        """Verdicts of the names with these numbers."""
        if not ids:
            return Judgements()
        names = window.names(ids)
        history = History(*window.select(ids), [], FORMATS, [])
        judged = pipeline.judge(history, self.enrichment, self.detector, self.threads)
        asked = judged.table.filter(pc.is_in(judged.table.column("name"), pa.array(names)))
        told = pa.array([*FLUX_VERDICTS, AMBIGUOUS])
        is_told = pc.is_in(asked.column("verdict"), told)
        accused = asked.filter(is_told).sort_by([("score", "descending"), ("name", "ascending")])
        cleared = asked.filter(pc.invert(is_told)).column("name").to_pylist()
        return Judgements(len(names), judged.findings(accused.to_pylist()), cleared)
