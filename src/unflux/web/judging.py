"""Facts to findings in the store: judged when the facts, the tables or the detector changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.compute as pc

from unflux import detect, enrich, pipeline, sources
from unflux.detect import Finding
from unflux.errors import UnfluxError
from unflux.pipeline import Judged, ScanOptions
from unflux.sightings import Dataset
from unflux.sightings.dataset import MANIFEST
from unflux.times import now_us
from unflux.web.store import Scan, Store

NAMES_AT_ONCE = 50_000
"""Findings are put together for so many names at a time: the bound of memory."""
MAX_TAKEN_IN = 1000
"""Files that went into a dataset which its summary names."""
NONE_LISTED = 2.0
"""A score that no name has: findings are not needed twice."""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """What judging a scan again brought."""

    scan: Scan
    names: int
    changes: dict[tuple[str, str], int]
    """How many names went from one verdict to another, by (old, new)."""
    current: bool = False
    """Facts, tables and detector are those of the last time: nothing was done."""


def scan_of(dataset: Path) -> Scan:
    """The scan that stands for a dataset on disk."""
    resolved = dataset.resolve()
    digest = hashlib.blake2b(str(resolved).encode(errors="surrogateescape"), digest_size=8)
    return Scan(digest.hexdigest(), "dataset", sources.name_of(dataset), str(resolved))


def judge(
    store: Store, scan: Scan, options: ScanOptions, *, even_if_current: bool = False
) -> Rejudged:
    """Judge the dataset of a scan and keep the findings, in place of those there were.

    Raises
    ------
    UnfluxError
        When the dataset is gone or cannot be read.
    """
    directory = Path(scan.dataset)
    if not Dataset.is_at(directory):
        raise UnfluxError(f"{sources.name_of(directory)} is no dataset (any more)")
    detector = detect.by_id(options.detector_id)
    judged_from = _judged_from(directory, options)
    asked = (judged_from, detector.id, detector.version)
    if not even_if_current and asked == (
        scan.judged_from, scan.detector_id, scan.detector_version
    ):  # fmt: skip
        return Rejudged(scan, 0, {}, current=True)
    result = pipeline.scan([directory], replace(options, min_score=NONE_LISTED))
    for one in result.history.inputs:
        if one.books.error is not None:
            raise UnfluxError(f"{sources.name_of(one.path)}: {one.books.error}")
    names = result.judged.table.num_rows
    result.summary["names"] |= {"listed": names, "min_score": 0.0}
    result.summary["taken_in"] = _taken_in(directory)
    judged = replace(
        scan,
        judged_from=judged_from,
        detector_id=detector.id,
        detector_version=detector.version,
        judged_at_us=now_us(),
        summary=msgspec.json.encode(result.summary).decode(),
    )
    store.findings.add_scan(scan)
    changes = store.findings.replace(judged, _findings(result.judged))
    return Rejudged(judged, names, changes)


def _taken_in(directory: Path) -> list[dict[str, Any]]:
    """The captures and logs that a dataset was made of, as it remembers them; the latest first."""
    inputs = Dataset.open(directory).manifest.inputs[-MAX_TAKEN_IN:]
    return [
        {"path": one.path, "format": one.format, "size_bytes": one.size_bytes}
        for one in reversed(inputs)
    ]


def _judged_from(directory: Path, options: ScanOptions) -> str:
    """Hash of the dataset's manifest and of which IP tables are used."""
    manifest = (directory / MANIFEST).read_bytes()
    digest = hashlib.blake2b(manifest, digest_size=16)
    tables = enrich.load(options.asn_db, options.country_db)
    for table in (tables.asn, tables.country):
        known = None if table is None else (str(table.path), table.made_at.isoformat())
        digest.update(repr(known).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _findings(judged: Judged) -> Iterator[Finding]:
    """All names, highest score first."""
    order = pc.sort_indices(judged.table, [("score", "descending"), ("name", "ascending")])
    table = judged.table.take(order)
    for start in range(0, table.num_rows, NAMES_AT_ONCE):
        yield from judged.findings(table.slice(start, NAMES_AT_ONCE).to_pylist())
