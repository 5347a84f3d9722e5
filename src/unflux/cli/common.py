"""What commands share: their options, progress, and how they end."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from unflux import sources
from unflux.errors import UnfluxError
from unflux.share.text import visible
from unflux.sightings import Input, OnProgress, sigterm_as_interrupt
from unflux.sources.base import ANY_TIME_US, ReadOptions, client_key_of
from unflux.spark.options import SparkOptions, parse_conf
from unflux.times import duration_s, parse_us

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_FOUND = 0, 1, 2, 3

Paths = Annotated[
    list[Path], typer.Argument(help="Captures, logs, or datasets of unflux; - is standard input.")
]
Format = Annotated[
    str | None, typer.Option("--format", help="Format of the input; told by content otherwise.")
]
Ports = Annotated[list[int], typer.Option("--port", help="UDP and TCP port of DNS in captures.")]
Vantage = Annotated[
    str, typer.Option(help="Where it was captured: client (below a cache), upstream or unknown.")
]
Since = Annotated[str | None, typer.Option(help="Only from this time on.")]
Until = Annotated[str | None, typer.Option(help="Only before this time.")]
Window = Annotated[
    str | None,
    typer.Option(help="Only the last 10m, 3h, 24h, 7d … of what was read; all of it by default."),
]
Clients = Annotated[
    str, typer.Option(help="Clients' addresses: keep, pseudonymise (keyed hash) or drop.")
]
ClientKey = Annotated[
    Path | None,
    typer.Option(help="File with the key for pseudonyms; without it, a new key for this run."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first thing that is wrong.")]
AsnDb = Annotated[Path | None, typer.Option(help="MMDB file: address to origin AS.")]
CountryDb = Annotated[Path | None, typer.Option(help="MMDB file: address to country.")]
DetectorOption = Annotated[str, typer.Option("--detector", help="Which detector judges.")]
Engine = Annotated[
    str, typer.Option(help="What reads: embedded (this machine) or spark (a cluster).")
]
Master = Annotated[
    str | None, typer.Option(help="Spark's master: spark://HOST:7077, yarn, local[4] …")
]
Conf = Annotated[
    list[str] | None, typer.Option("--conf", help="KEY=VALUE: a setting of Spark; several times.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: object) -> None:
    """Print on standard error; file names and data in it cannot command the terminal."""
    for line in str(text).split("\n"):
        errors.print(visible(line), markup=False)


def read_options(
    *,
    ports: list[int],
    vantage: str,
    since: str | None,
    until: str | None,
    clients: str,
    client_key: Path | None,
) -> ReadOptions:
    """Options as the sources take them."""
    if vantage not in ("client", "upstream", "unknown"):
        raise typer.BadParameter(f"vantage is client, upstream or unknown, not {vantage!r}")
    if clients not in ("keep", "pseudonymise", "drop"):
        raise typer.BadParameter(f"clients is keep, pseudonymise or drop, not {clients!r}")
    if any(not 0 < port < 65_536 for port in ports):
        raise typer.BadParameter("a port is a number from 1 to 65535")
    now = datetime.now(UTC)
    try:
        since_us = parse_us(since, now) if since else ANY_TIME_US[0]
        until_us = parse_us(until, now) if until else ANY_TIME_US[1]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if since_us >= until_us:
        raise typer.BadParameter("--since is not before --until: nothing lies between them")
    return ReadOptions(
        ports=tuple(ports),
        vantage=vantage,
        since_us=since_us,
        until_us=until_us,
        threads=os.cpu_count() or 1,
        clients=clients,
        client_key=_client_key(client_key) if clients == "pseudonymise" else None,
    )


def window_s(text: str | None) -> int | None:
    """Seconds of ``--window``."""
    try:
        return None if text is None else math.ceil(duration_s(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--window") from None


def spark_options(engine: str, master: str | None, conf: list[str] | None) -> SparkOptions | None:
    """How Spark is reached; None for the embedded engine."""
    if engine not in ("embedded", "spark"):
        raise typer.BadParameter(f"--engine is embedded or spark, not {engine!r}")
    if engine == "embedded":
        if master or conf:
            raise typer.BadParameter("--master and --conf go with --engine spark")
        return None
    try:
        return SparkOptions(master, parse_conf(conf or []))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _client_key(path: Path | None) -> bytes:
    try:
        return client_key_of(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@contextmanager
def progress_bar(what: str) -> Iterator[OnProgress | None]:
    """A bar on standard error where that is a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(
        "{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=errors
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def print_errors(inputs: Iterable[Input]) -> None:
    """One sentence on standard error for each file that could not be read to its end."""
    for one in inputs:
        if one.books.error:
            say(f"unflux: {sources.name_of(one.path)}: {one.books.error}")


def exit_code(inputs: Iterable[Input]) -> int:
    """An error when some file could not be read to its end."""
    return EXIT_ERROR if any(one.books.error for one in inputs) else EXIT_OK


def _nothing() -> str:
    return "nothing was written"


@contextmanager
def clean_end(kept: Callable[[], str] = _nothing) -> Iterator[None]:
    """Turn what may go wrong into one sentence on standard error and an exit code.

    `kept` says what there is of a command's work when it is stopped half way.
    """
    try:
        with sigterm_as_interrupt():
            yield
            sys.stdout.flush()
    except UnfluxError as error:
        say(f"unflux: {error}")
        raise typer.Exit(EXIT_ERROR) from None
    except ValueError as error:
        say(f"unflux: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_OK) from None
        where = f"{error.filename}: " if error.filename else ""
        say(f"unflux: {where}{error.strerror or error}")
        raise typer.Exit(EXIT_ERROR) from None
    except KeyboardInterrupt:
        say(f"unflux: stopped; {kept()}")
        raise typer.Exit(128 + signal.SIGINT) from None
