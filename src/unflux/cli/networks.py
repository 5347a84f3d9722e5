"""`unflux networks`: flux networks out of captures, logs and datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from unflux import networks, pipeline, sources
from unflux.cli import common, shared
from unflux.share import network_detail, network_pictures, network_table
from unflux.sightings import Dataset, check_new_directory, whole_directory

TABLE_WIDTH = 140
STATE_FILE = "networks.json"


def register(app: typer.Typer) -> None:
    app.command("networks")(shared.takes_groups(find_networks))


def find_networks(
    paths: common.Paths,
    reading: shared.Reading,
    tables: shared.Tables,
    cluster: shared.Cluster,
    as_json: common.AsJson = False,
    show: Annotated[
        str | None,
        typer.Option(help="One network with all that is known of it: its id, name or address."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="File of known networks, so that ids last; networks.json in a dataset by default."
        ),
    ] = None,
    no_state: Annotated[
        bool, typer.Option("--no-state", help="Neither read nor write known networks.")
    ] = False,
    pictures_to: Annotated[
        Path | None, typer.Option("--pictures", help="Write SVG pictures to this new directory.")
    ] = None,
    png: Annotated[
        bool, typer.Option("--png", help="Pictures as PNG beside the SVG: 'unflux[pictures]'.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the clustering.")] = 1,
    detector: common.DetectorOption = "unflux",
    strict: common.Strict = False,
) -> None:
    """Map flux networks: who belongs together, how big, which role, since when."""
    if seed < 0:
        raise typer.BadParameter("--seed is a number from 0 on")
    if png and not pictures_to:
        raise typer.BadParameter("--png goes with --pictures DIR")
    options = reading.scan_options(
        tables, strict=strict, min_score=2.0, detector_id=detector, spark=cluster.options()
    )
    with common.clean_end():
        if pictures_to:
            check_new_directory(pictures_to)
        state_file = None if no_state else state or _state_beside(paths)
        with (
            sources.streams_as_files(paths) as files,
            common.progress_bar("reading") as on_progress,
        ):
            scan = pipeline.scan(files, options, on_progress)
        found = networks.find_networks(scan.judged, seed=seed, state_file=state_file)
        if pictures_to:
            with whole_directory(pictures_to) as temporary:
                network_pictures.write_networks(found, temporary, png=png)
        if show:
            found = msgspec.structs.replace(found, networks=[network_detail.choose(found, show)])
        if as_json:
            content = {"summary": scan.summary, **msgspec.to_builtins(found)}
            sys.stdout.buffer.write(msgspec.json.encode(content) + b"\n")
        else:
            console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
            if show:
                network_detail.show(found.networks[0], console)
            else:
                network_table.show(found, scan.summary, console)
        common.print_errors(scan.history.inputs)
    raise typer.Exit(common.exit_code(scan.history.inputs))


def _state_beside(paths: list[Path]) -> Path | None:
    """A dataset that is the only input keeps its networks; anything else has no place for them."""
    if len(paths) == 1 and Dataset.is_at(paths[0]):
        return paths[0] / STATE_FILE
    return None
