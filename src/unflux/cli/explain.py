"""`unflux explain`: everything about one name."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated, Any

import msgspec
import pyarrow.compute as pc
import typer
from rich.console import Console

from unflux import enrich, pipeline, sources
from unflux.cli import common, shared
from unflux.cli.scan import TABLE_WIDTH
from unflux.errors import UnfluxError
from unflux.features import FEATURES, compute_windows
from unflux.pipeline import Explained, ScanOptions, absolute
from unflux.share import table


def register(app: typer.Typer) -> None:
    app.command()(shared.takes_groups(explain))


def explain(
    name: Annotated[str, typer.Argument(help="The name, as in the findings.")],
    paths: common.Paths,
    reading: shared.Reading,
    tables: shared.Tables,
    who: shared.Clients,
    detector: common.DetectorOption = "unflux",
    window: shared.Window = None,
    windows: Annotated[
        bool,
        typer.Option(
            "--windows",
            help="Features in the last 10m, 3h, 24h and 7d too, and of its registered domain.",
        ),
    ] = False,
    as_json: common.AsJson = False,
) -> None:
    """Say why a name has its verdict: reasons, explanations tried, addresses, all features."""
    options = reading.scan_options(
        tables, who, detector_id=detector, window_s=shared.window_s(window)
    )
    with common.clean_end():
        with sources.streams_as_files(paths) as files:
            explained = pipeline.explain(files, name, options)
        common.print_errors(explained.inputs)
        if explained.finding is None:
            raise UnfluxError(f"{name} is not in the input{_left_out(explained)}")
        features = {feature.name: explained.row[feature.name] for feature in FEATURES}
        by_window = _by_window(explained, options) if windows else []
        if as_json:
            content = {"finding": explained.finding, "features": features}
            if windows:
                content["windows"] = by_window
            sys.stdout.buffer.write(msgspec.json.encode(content) + b"\n")
        else:
            table.show_finding(explained.finding, features, Console())
            width = None if sys.stdout.isatty() else TABLE_WIDTH
            table.show_windows(by_window, Console(width=width))
    raise typer.Exit(common.exit_code(explained.inputs))


def _left_out(explained: Explained) -> str:
    """What a name that is not found may have been in."""
    kinds: Counter[str] = Counter()
    for one in explained.inputs:
        tallies = one.books.records_left_out.items()
        kinds.update({kind: tally.count for kind, tally in tallies})
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f", of which some records could not be taken: {counted}" if counted else ""


def _by_window(explained: Explained, options: ScanOptions) -> list[dict[str, Any]]:
    """Features of the name, and of its registered domain, in each window: a row each."""
    finding = explained.finding
    if finding is None:
        return []
    table = compute_windows(
        explained.history,
        enrich.load(options.asn_db, options.country_db),
        threads=options.read.threads,
    )
    wanted = {"name": absolute(finding.name)}
    if finding.registered_domain:
        wanted["registered_domain"] = absolute(finding.registered_domain)
    keys = ["window", "level", "name", *(feature.name for feature in FEATURES)]
    rows = []
    for level, name in wanted.items():
        mine = pc.and_(pc.equal(table["level"], level), pc.equal(table["name"], name))
        rows += table.filter(mine).select(keys).to_pylist()
    return [row | {"name": pipeline.bare(row["name"])} for row in rows]
