"""`unflux explain`: everything about one name."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from unflux import pipeline, sources
from unflux.cli import common
from unflux.errors import UnfluxError
from unflux.features import FEATURES
from unflux.pipeline import ScanOptions
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
    )
    with common.clean_end():
        with sources.streams_as_files(paths) as files:
            explained = pipeline.explain(files, name, options)
        common.print_errors(explained.inputs)
        if explained.finding is None:
            raise UnfluxError(f"{name} is not in the input")
        features = {feature.name: explained.row[feature.name] for feature in FEATURES}
        if as_json:
            content = {"finding": explained.finding, "features": features}
            sys.stdout.buffer.write(msgspec.json.encode(content) + b"\n")
        else:
            table.show_finding(explained.finding, features, Console())
    raise typer.Exit(common.exit_code(explained.inputs))
