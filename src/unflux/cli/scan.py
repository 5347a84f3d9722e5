"""`unflux scan`: find flux in captures, logs and datasets."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from unflux import pipeline, sightings, sources
from unflux.cli import common, shared
from unflux.pipeline import LISTED_SCORE, Scan
from unflux.share import files, json, table
from unflux.share.text import counted

TABLE_WIDTH = 140
"""Columns of the table where standard output is no terminal."""

ANOTHER_KEY = (
    "unflux: without --client-key this run has a key of its own: in the dataset, clients of other "
    "runs count as others"
)


def register(app: typer.Typer) -> None:
    app.command()(shared.takes_groups(scan))


def scan(
    paths: common.Paths,
    reading: shared.Reading,
    tables: shared.Tables,
    who: shared.Clients,
    cluster: shared.Cluster,
    as_json: common.AsJson = False,
    as_ndjson: Annotated[
        bool, typer.Option("--ndjson", help="One finding a line, with ECS keys.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write report, findings, summary and dataset to this new directory."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Take the inputs into this dataset, each content once, and judge all of it."
        ),
    ] = None,
    min_score: Annotated[
        float, typer.Option(help="List names from this score on; 0 lists all.")
    ] = LISTED_SCORE,
    detector: common.DetectorOption = "unflux",
    window: shared.Window = None,
    strict: common.Strict = False,
    fail_on_find: Annotated[
        bool, typer.Option("--fail-on-find", help="Exit with 3 when flux is found.")
    ] = False,
) -> None:
    """Find fast flux in captures, logs and datasets, with reasons."""
    if as_json and as_ndjson:
        raise typer.BadParameter("--json and --ndjson exclude each other")
    if not 0 <= min_score < math.inf:
        raise typer.BadParameter("--min-score is a number from 0 on")
    options = reading.scan_options(
        tables,
        who,
        strict=strict,
        min_score=min_score,
        detector_id=detector,
        window_s=shared.window_s(window),
        spark=cluster.options(),
        save=save,
    )
    if save and who.clients == "pseudonymise" and who.client_key is None:
        common.say(ANOTHER_KEY)
    with common.clean_end(lambda: _kept(save)):
        if out:
            sightings.check_new_directory(out)
        with (
            sources.streams_as_files(paths) as files_to_read,
            common.progress_bar("reading") as on_progress,
        ):
            result = pipeline.scan(files_to_read, options, on_progress)
            if out:
                files.write_directory(result, out, options)
        _print(result, as_json, as_ndjson)
    raise typer.Exit(_exit_code(result, fail_on_find))


def _kept(save: Path | None) -> str:
    """What a scan that was stopped half way leaves."""
    n_files = 0
    if save is not None and sightings.Dataset.is_at(save):
        n_files = len(sightings.Dataset.open(save).manifest.inputs)
    if not n_files:
        return "nothing was written"
    held = counted(n_files, "file")
    return f"{save} holds {held} so far, each whole; the same command goes on from there"


def _print(result: Scan, as_json: bool, as_ndjson: bool) -> None:
    if as_json:
        json.write_scan(result, sys.stdout.buffer)
    elif as_ndjson:
        json.write_findings(result.findings, sys.stdout.buffer)
    else:
        width = None if sys.stdout.isatty() else TABLE_WIDTH
        table.show_scan(result, Console(width=width))
    if as_ndjson:
        for line in table.summary_lines(result.summary):
            common.say(line)
    common.print_errors(result.history.inputs)


def _exit_code(result: Scan, fail_on_find: bool) -> int:
    found = common.EXIT_FOUND if fail_on_find and result.n_flux else common.EXIT_OK
    return common.exit_code(result.history.inputs) or found
