"""The command line: one module per command, thin on top of the rooms."""

from __future__ import annotations

from typing import Annotated

import typer

from unflux import __version__
from unflux.cli import (
    blocked,
    config,
    decode,
    doctor,
    eval,
    explain,
    export,
    lab,
    networks,
    rejudge,
    scan,
    serve,
    trace,
    track,
    watch,
    zonediff,
)

app = typer.Typer(
    name="unflux",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unflux {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Detect, track, map and block fast-flux DNS networks."""


for command in (
    scan,
    explain,
    export,
    track,
    zonediff,
    networks,
    trace,
    watch,
    blocked,
    config,
    serve,
    rejudge,
    decode,
    eval,
    lab,
    doctor,
):
    command.register(app)
