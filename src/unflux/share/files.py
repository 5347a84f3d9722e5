"""A scan as files in a directory: findings, summary, and the dataset to scan again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from unflux import sightings
from unflux.pipeline import Scan, ScanOptions
from unflux.share import json, report


def write_directory(scan: Scan, directory: Path, options: ScanOptions) -> list[Path]:
    """Write ``report.html``, ``findings.ndjson``, ``summary.json`` and the dataset, or nothing.

    Raises
    ------
    UnfluxError
        When the directory holds something already.
    """
    with sightings.whole_directory(directory) as temporary:
        written = _write(scan, temporary, options)
        return [directory / path.relative_to(temporary) for path in written]


def _write(scan: Scan, directory: Path, options: ScanOptions) -> list[Path]:
    written = sightings.write_dataset(scan.history, directory, _taken_in(scan, options))
    findings, summary = directory / "findings.ndjson", directory / "summary.json"
    with sightings.whole_file(findings) as temporary, temporary.open("wb") as out:
        json.write_findings(scan.findings, out)
    with sightings.whole_file(summary) as temporary:
        encoded = msgspec.json.encode(scan.summary)
        temporary.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
    page = directory / "report.html"
    with sightings.whole_file(page) as temporary, temporary.open("wb") as out:
        report.write_report(scan, out)
    return [*written, findings, summary, page]


def _taken_in(scan: Scan, options: ScanOptions) -> list[sightings.TakenIn]:
    """By what the inputs are known again when the directory grows by ``--save``."""
    if options.save is not None and options.window_s is None:
        return sightings.Dataset.open(options.save).manifest.inputs
    return sightings.entries_of(scan.history, None if options.window_s else options.read)
