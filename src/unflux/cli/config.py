"""`unflux config`: check a file of settings before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unflux.cli import common
from unflux.watch import config as settings

app = typer.Typer(help="Settings of `unflux watch` in a TOML file.")


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="config")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="TOML file with settings.")]) -> None:
    """Say everything that is wrong with a file of settings; exit with 2 if anything is."""
    values, problems = settings.load(file)
    problems += settings.combine(values, {}).problems()
    for sentence in problems:
        common.errors.print(f"unflux: {sentence}", markup=False)
    if problems:
        raise typer.Exit(common.EXIT_USAGE)
    print(f"{file} is fine")


@app.command()
def show() -> None:
    """Print every setting with its default, to copy and change."""
    from dataclasses import fields

    from unflux.watch.config import WatchConfig

    for one in fields(WatchConfig):
        default = settings.defaults()[one.name]
        print(f"# {one.metadata['help']}")
        print(f"{'# ' if default is None else ''}{one.name} = {_toml(default)}\n")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value or ""}"' if isinstance(value, str) or value is None else str(value)
