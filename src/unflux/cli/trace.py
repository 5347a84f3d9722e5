"""`unflux trace`: what is behind an agent, out of captures taken at it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from unflux import sources
from unflux.cli import common, shared
from unflux.networks.packets import read_captures
from unflux.networks.trace import trace
from unflux.share import trace_table


def register(app: typer.Typer) -> None:
    app.command("trace")(trace_agent)


def trace_agent(
    captures: Annotated[
        list[Path],
        typer.Argument(help="Captures (pcap, pcapng) taken at the agent, and behind it."),
    ],
    agent: Annotated[str, typer.Option(help="The agent's address in the captures.")],
    as_json: common.AsJson = False,
    since: shared.Since = None,
    until: shared.Until = None,
    seed: Annotated[int, typer.Option(help="Of the shifted counts.")] = 1,
) -> None:
    """Find the server behind an agent: pairs what comes in with what goes out. Contacts nobody."""
    since_us, until_us = shared.between(since, until)
    if seed < 0:
        raise typer.BadParameter("--seed is a number from 0 on")
    with common.clean_end():
        with (
            sources.streams_as_files(captures) as files,
            common.progress_bar("reading") as on_progress,
        ):
            taken = read_captures(
                files, since_us=since_us, until_us=until_us, on_progress=on_progress
            )
        found = trace(taken, agent, seed=seed)
        if as_json:
            sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        else:
            trace_table.show(found, Console(width=None if sys.stdout.isatty() else 140))
        inputs = [one.read for one in taken]
        common.print_errors(inputs)
    raise typer.Exit(common.exit_code(inputs))
