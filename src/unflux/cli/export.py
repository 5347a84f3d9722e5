"""`unflux export`: findings in the form that another tool takes."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import IO, Annotated

import typer

from unflux import pipeline, sightings, sources
from unflux.cli import common, shared
from unflux.errors import UnfluxError
from unflux.pipeline import LISTED_SCORE
from unflux.share import exports
from unflux.share.case import AGENT_CHOICES, NOBODY, Case, ExportOptions, Reporter
from unflux.share.exports import DirectoryExport, Export, FileExport

FORMATS = "; ".join(f"{one.name}: {one.title}" for one in exports.EXPORTS)


def register(app: typer.Typer) -> None:
    app.command()(shared.takes_groups(export))


def export(
    export_format: Annotated[str, typer.Argument(metavar="FORMAT", help=f"{FORMATS}.")],
    paths: common.Paths,
    reading: shared.Reading,
    tables: shared.Tables,
    who: shared.Clients,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write (abuse: a new directory); standard output otherwise."),
    ] = None,
    min_score: Annotated[
        float, typer.Option(help="Export names from this score on.")
    ] = LISTED_SCORE,
    include_agents: Annotated[
        str,
        typer.Option(
            help="Agents are victims: context only. Name the weakest evidence at which they become "
            f"indicators all the same: {', '.join(AGENT_CHOICES)}."
        ),
    ] = "none",
    valid_days: Annotated[
        int, typer.Option(help="Days after its last sight for which an indicator holds.")
    ] = 14,
    tlp: Annotated[
        str, typer.Option(help="Traffic light protocol: clear, green, amber or red.")
    ] = "amber",
    reporter: Annotated[
        str, typer.Option(help="Your organisation, in abuse reports.")
    ] = NOBODY.organisation,
    contact: Annotated[
        str, typer.Option(help="Your address for answers, in abuse reports.")
    ] = NOBODY.contact,
    detector: common.DetectorOption = "unflux",
) -> None:
    """Write findings as STIX, MISP, Zeek, Suricata, COF, CSV, ECS, or as abuse reports."""
    if not 0 <= min_score < math.inf:
        raise typer.BadParameter("--min-score is a number from 0 on")
    scan_options = reading.scan_options(tables, who, min_score=min_score, detector_id=detector)
    with common.clean_end():
        options = ExportOptions(include_agents, valid_days, tlp, Reporter(reporter, contact))
        chosen = exports.by_name(export_format)
        _check_target(chosen, out)
        with (
            sources.streams_as_files(paths) as files,
            common.progress_bar("reading") as on_progress,
        ):
            scan = pipeline.scan(files, scan_options, on_progress)
        if common.none_read(scan.history.inputs):
            common.print_errors(scan.history.inputs)
            raise UnfluxError("none of these could be read: nothing was written")
        case = Case(scan, options)
        _write(chosen, case, out)
        common.print_errors(scan.history.inputs)
        for line in exports.told(chosen, case):
            common.say(f"unflux: {line}")
    raise typer.Exit(common.exit_code(scan.history.inputs))


def _check_target(chosen: Export, out: Path | None) -> None:
    """Say before the work what would fail after it."""
    if isinstance(chosen, DirectoryExport):
        if out is None:
            raise ValueError(f"{chosen.name} writes several files: name a directory with --out")
        sightings.check_new_directory(out)
    elif out is not None and out.is_dir():
        raise UnfluxError(f"{out} is a directory; name a file")


def _write(chosen: Export, case: Case, out: Path | None) -> None:
    if isinstance(chosen, FileExport):
        if out is None:
            _write_file(chosen, case, sys.stdout.buffer)
            return
        with sightings.whole_file(out) as temporary, temporary.open("wb") as file:
            _write_file(chosen, case, file)
    elif out is not None:
        with sightings.whole_directory(out) as temporary:
            chosen.write_files(case, temporary)


def _write_file(chosen: FileExport, case: Case, out: IO[bytes]) -> None:
    chosen.write(case, out)
