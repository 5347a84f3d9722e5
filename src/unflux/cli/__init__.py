"""The command line: one module per command, thin on top of the rooms."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unflux import __version__

COMMANDS = (
    "scan",
    "explain",
    "export",
    "track",
    "zonediff",
    "networks",
    "trace",
    "watch",
    "blocked",
    "config",
    "serve",
    "rejudge",
    "decode",
    "eval",
    "lab",
    "doctor",
)
"""Modules here, each of which registers the command of its name."""


class Commands(TyperGroup):
    """Loads a command when it is asked for: all of them would be a quarter of a second more."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # Of a name that is none, those that look like it are told: that takes all of them.
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = _load(name)
        return self.commands.get(cmd_name)


def _load(name: str) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    importlib.import_module(f"unflux.cli.{name}").register(alone)
    made = typer.main.get_command(alone)
    return made.commands[name] if isinstance(made, TyperGroup) else made


app = typer.Typer(
    name="unflux",
    cls=Commands,
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
