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
from unflux.cli import common
from unflux.cli.scan import TABLE_WIDTH
from unflux.errors import UnfluxError
from unflux.features import FEATURES, compute_windows
from unflux.pipeline import Explained, ScanOptions, absolute
from unflux.share import table


def register(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    name: Annotated[str, typer.Argument(help="The name, as in the findings.")],
    paths: common.Paths,
    format_name: common.Format = None,
    asn_db: common.AsnDb = None,
    country_db: common.CountryDb = None,
    detector: common.DetectorOption = "unflux",
    ports: common.Ports = [53],  # noqa: B006  typer copies it
    vantage: common.Vantage = "unknown",
    since: common.Since = None,
    until: common.Until = None,
    window: common.Window = None,
    windows: Annotated[
        bool,
        typer.Option(
            "--windows",
            help="Features in the last 10m, 3h, 24h and 7d too, and of its registered domain.",
        ),
    ] = False,
    clients: common.Clients = "keep",
    client_key: common.ClientKey = None,
    as_json: common.AsJson = False,
) -> None:
    """Say why a name has its verdict: reasons, explanations tried, addresses, all features."""
    read = common.read_options(
        ports=ports,
        vantage=vantage,
        since=since,
        until=until,
        clients=clients,
        client_key=client_key,
    )
    options = ScanOptions(
        read=read,
        format_name=format_name,
        asn_db=asn_db,
        country_db=country_db,
        detector_id=detector,
        window_s=common.window_s(window),
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
