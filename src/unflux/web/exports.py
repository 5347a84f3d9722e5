"""Findings of the store in the forms of `unflux.share`, written to a temporary file and sent."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import msgspec

from unflux import pipeline
from unflux.detect import Finding
from unflux.errors import UnfluxError
from unflux.pipeline import Scan, ScanOptions
from unflux.share import exports, report
from unflux.share.case import Case, ExportOptions
from unflux.share.exports import DirectoryExport
from unflux.web.history import HistoryReader
from unflux.web.judging import NONE_LISTED

CHUNK_BYTES = 1 << 18
NEEDS_SIGHTINGS = ("cof", "misp", "abuse", "report")
"""Made from sightings too, which are read from the dataset for them."""
OWN = {
    "json": "JSON, one object (as scan --json)",
    "ndjson": "JSON, one finding a line",
    "report": "HTML report, one file to read without a server",
}
SUFFIXES = {"ecs": "ndjson", "cof": "ndjson", "csv-agents": "csv", "stix": "json", "misp": "json",
            "rpz": "zone", "abuse": "zip", "report": "html"}  # fmt: skip
MEDIA = {"json": "application/json", "ndjson": "application/x-ndjson", "csv": "text/csv",
         "zone": "text/plain", "zip": "application/zip",
         "html": "application/octet-stream"}  # fmt: skip
BINARY = ("application/zip", "application/octet-stream")
TITLES = {"abuse": "abuse reports: text and XARF v4, a zip archive"}


def formats() -> dict[str, str]:
    """What the page offers: name and title."""
    return OWN | {one.name: one.title for one in exports.EXPORTS} | TITLES


def suffix(name: str) -> str:
    """Of the file that is downloaded."""
    ending = SUFFIXES.get(name, name)
    return ending if ending in MEDIA else "txt"


def media_type(name: str) -> str:
    """What is sent; never anything that a browser would run."""
    kind = MEDIA.get(suffix(name), "text/plain")
    return kind if kind in BINARY else f"{kind}; charset=utf-8"


def write(
    name: str,
    bodies: Iterator[bytes],
    summary: str,
    reader: Callable[[], HistoryReader],
    options: ScanOptions,
    how: ExportOptions,
) -> tuple[IO[bytes], list[str]]:
    """A temporary file with the findings in a format, at its beginning, and what to know of it.

    Raises
    ------
    UnfluxError
        When the format's library is not installed; `ValueError` for a format there is not.
    """
    if name not in formats():
        raise ValueError(f"there is no export {name!r}; known ones: {', '.join(formats())}")
    out = cast("IO[bytes]", tempfile.TemporaryFile(prefix="unflux-export-"))  # noqa: SIM115
    told: list[str] = []
    try:
        if name == "ndjson":
            out.writelines(body + b"\n" for body in bodies)
        elif name == "json":
            _write_object(bodies, summary, out)
        else:
            findings = [msgspec.json.decode(body, type=Finding) for body in bodies]
            listed = Scan(json.loads(summary), findings, None, None)  # type: ignore[arg-type]
            if name in NEEDS_SIGHTINGS:
                listed = _with_sightings(listed, reader(), options)
            told = _write_shared(name, listed, how, out)
    except ModuleNotFoundError as error:
        out.close()
        raise UnfluxError(f"this export needs {error.name}: pip install 'unflux[export]'") from None
    except BaseException:
        out.close()
        raise
    out.seek(0)
    return out, told


def _write_object(bodies: Iterator[bytes], summary: str, out: IO[bytes]) -> None:
    """The object of `unflux scan --json`."""
    out.write(b'{"summary":' + summary.encode() + b',"findings":[')
    for number, body in enumerate(bodies):
        out.write((b"," if number else b"") + body)
    out.write(b"]}\n")


def _write_shared(name: str, listed: Scan, how: ExportOptions, out: IO[bytes]) -> list[str]:
    if name == "report":
        report.write_report(listed, out)
        return []
    export = exports.by_name(name)
    case = Case(listed, how)
    if isinstance(export, DirectoryExport):
        _write_zip(export, case, out)
    else:
        export.write(case, out)
    return exports.told(export, case)


def _write_zip(export: DirectoryExport, case: Case, out: IO[bytes]) -> None:
    """The files of an export as an archive, and what was left out as one of them."""
    with tempfile.TemporaryDirectory(prefix="unflux-export-") as folder:
        export.write_files(case, Path(folder))
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, path.name)
            if case.left_out:
                left = [f"{n} {what}" for what, n in sorted(case.left_out.items())]
                archive.writestr("left-out.txt", "\n".join(left) + "\n")


def _with_sightings(listed: Scan, reader: HistoryReader, options: ScanOptions) -> Scan:
    """The scan with the history of its own names; the findings stay those of the store."""
    owners = {one.name.removesuffix(".") + "." for one in listed.findings}
    owners |= {one.zone.removesuffix(".") + "." for one in listed.findings if one.zone}
    with tempfile.TemporaryDirectory(prefix="unflux-export-") as folder:
        part = Path(folder) / "sightings.parquet"
        reader.copy_about(owners, part)
        small = pipeline.scan(
            [part],
            ScanOptions(
                min_score=NONE_LISTED, asn_db=options.asn_db, country_db=options.country_db
            ),
        )
    return replace(small, summary=listed.summary, findings=listed.findings)


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The file, and then it is gone."""
    with file:
        while data := file.read(CHUNK_BYTES):
            yield data
