"""`unflux watch`: a live resolver's responses judged as they come. Options are `WatchConfig`'s."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from unflux.cli import common
from unflux.watch import config as settings
from unflux.watch.config import WatchConfig
from unflux.watch.log import Log
from unflux.watch.loop import Watch

TYPES: dict[str, Any] = {
    "bool": bool | None,
    "int": int | None,
    "float": float | None,
    "str": str | None,
    "str | None": str | None,
    "tuple[str, ...]": list[str] | None,
    "tuple[int, ...]": list[int] | None,
}
RENAMED = {"ports": "--port"}


def register(app: typer.Typer) -> None:
    app.command()(_with_options(watch))


def watch(config_path: Path | None = None, **said: Any) -> None:
    """Judge a live resolver's responses as they come: alert, and block by a policy zone.

    Settings may also stand in a TOML file, by the same names (--config; SIGHUP reads it again).
    """
    from_file, problems = settings.load(config_path) if config_path else ({}, [])
    with common.clean_end():
        if problems:
            raise ValueError("; ".join(problems))
        Watch(settings.combine(from_file, said), Log(), config_path, said).run()


def _with_options(command: Any) -> Any:
    """Give the command an option per setting, with the setting's own help and default."""
    config = inspect.Parameter(
        "config_path",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Path | None, typer.Option("--config", help="TOML file with settings.")
        ],
    )
    parameters = [config]
    for one in fields(WatchConfig):
        default = settings.defaults()[one.name]
        about = one.metadata["help"]
        if default not in (None, (), False):
            shown = ", ".join(map(str, default)) if isinstance(default, tuple) else default
            about = f"{about} [default: {shown}]"
        flag = RENAMED.get(one.name, f"--{one.name.replace('_', '-')}")
        option = typer.Option(flag, help=about, show_default=False)
        kind: Any = Annotated.__class_getitem__((TYPES[str(one.type)], option))  # type: ignore[attr-defined]
        parameters.append(
            inspect.Parameter(
                one.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind
            )
        )
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command
