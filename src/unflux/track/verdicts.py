"""Verdicts of the listed names, from the tracker's dataset, by the detector that all else uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from unflux import pipeline, sightings
from unflux.detect import Finding
from unflux.pipeline import Scan, ScanOptions
from unflux.share import json
from unflux.sightings import Dataset
from unflux.sources.base import ReadOptions
from unflux.track import history
from unflux.track.facts import Event
from unflux.track.store import Store

FINDINGS = "findings.ndjson"
UNSEEN_SCORE = 2.0
"""No finding has such a score: nothing is written out but what is asked for."""


@dataclass(frozen=True, slots=True)
class Judging:
    """Tables and detector to judge with."""

    asn_db: Path | None = None
    country_db: Path | None = None
    detector_id: str = "unflux"


def scan(directory: Path, judging: Judging) -> Scan | None:
    """The whole dataset of a tracker, judged; None when nothing was heard yet."""
    where = history.dataset_of(directory)
    if not Dataset.is_at(where):
        return None
    options = ScanOptions(
        read=ReadOptions(threads=1),
        asn_db=judging.asn_db,
        country_db=judging.country_db,
        detector_id=judging.detector_id,
        min_score=UNSEEN_SCORE,
    )
    return pipeline.scan([where], options)


def findings_of(result: Scan, names: Sequence[str]) -> list[Finding]:
    """Findings of some names (absolute), highest score first."""
    table = result.judged.table
    wanted = pc.is_in(table.column("name").cast(pa.string()), pa.array(names, pa.string()))
    rows = table.filter(wanted).sort_by([("score", "descending"), ("name", "ascending")])
    return result.judged.findings(rows.to_pylist())


def update(directory: Path, judging: Judging, now: Callable[[], float]) -> list[Event]:
    """Bring what was heard into the dataset and judge it: an event for each verdict that changed.

    `findings.ndjson` beside the dataset holds the findings of all listed names.
    """
    history.flush(directory)
    for path in directory.glob(f".{FINDINGS}.*"):  # of a killed run; this one holds the lock
        path.unlink()
    result = scan(directory, judging)
    if result is None:
        return []
    store = Store(directory)
    try:
        found = findings_of(result, [one.name for one in store.names()])
        with sightings.whole_file(directory / FINDINGS) as temporary, temporary.open("wb") as out:
            json.write_findings(found, out)
        before = store.verdicts()
        fresh = {f"{one.name}.": (one.verdict, one.score) for one in found}
        store.put_verdicts(fresh, now())
    finally:
        store.close()
    return [
        Event(now(), name, "verdict", {"from": old, "to": verdict, "score": score})
        for name, (verdict, score) in sorted(fresh.items())
        if (old := before.get(name, ("insufficient", 0.0))[0]) != verdict
    ]
