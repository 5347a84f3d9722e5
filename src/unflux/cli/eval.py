"""`unflux eval`: detectors side by side on labelled data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from unflux import detect, sources
from unflux.cli import common, shared
from unflux.evaluate import evaluate, fit_thresholds, load_labels, report
from unflux.evaluate.run import Choice
from unflux.sightings import whole_file


def register(app: typer.Typer) -> None:
    app.command("eval")(shared.takes_groups(evaluate_detectors))


def evaluate_detectors(
    paths: common.Paths,
    reading: shared.Reading,
    tables: shared.Tables,
    labels: Annotated[Path, typer.Option(help="labels.json: what each name is.")],
    detectors: Annotated[
        list[str] | None, typer.Option("--detector", help="Only these; all by default.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only names of this split.")] = None,
    min_fresh: Annotated[
        int, typer.Option(min=0, help="Only names with so many fresh answers.")
    ] = 0,
    fit: Annotated[
        Path | None, typer.Option(help="Training data: thresholds are re-fitted on it as well.")
    ] = None,
    fit_labels: Annotated[
        Path | None, typer.Option(help="labels.json of the training data.")
    ] = None,
    delays: Annotated[
        bool, typer.Option("--delays", help="Judge growing prefixes too: how long to a verdict.")
    ] = False,
    as_json: common.AsJson = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Also write a report: NAME.md or NAME.html.")
    ] = None,
    window: shared.Window = None,
) -> None:
    """Measure detectors on labelled data: what they find, what they miss, whom they accuse."""
    if report_file is not None and report_file.suffix not in (".md", ".html"):
        raise typer.BadParameter("--report is a file NAME.md or NAME.html")
    if (fit is None) != (fit_labels is None):
        raise typer.BadParameter("--fit and --fit-labels go together")
    options = reading.scan_options(tables, window_s=shared.window_s(window))
    with common.clean_end():
        chosen = [detect.by_id(one) for one in detectors or ()] or list(detect.DETECTORS)
        known = load_labels(labels)
        with (
            sources.streams_as_files(paths) as files,
            common.progress_bar("reading") as on_progress,
        ):
            choice = Choice(split, min_fresh, delays)
            fitted = None
            if fit is not None and fit_labels is not None:
                training = Choice(min_fresh=min_fresh)
                learnt = load_labels(fit_labels)
                fitted = fit_thresholds([fit], learnt, chosen, options, training)
            result = evaluate(files, known, chosen, options, choice, on_progress, fitted)
        title = "Detectors on labelled data"
        if report_file is not None:
            text = report.html if report_file.suffix == ".html" else report.markdown
            with whole_file(report_file) as temporary:
                temporary.write_text(text(result, title), encoding="utf-8")
        if as_json:
            sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        else:
            sys.stdout.write(report.markdown(result, title))
