"""What commands share: single options, progress, and how they end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from unflux import sources
from unflux.errors import UnfluxError
from unflux.share.text import visible
from unflux.sightings import Input, OnProgress, sigterm_as_interrupt

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_FOUND = 0, 1, 2, 3

Paths = Annotated[
    list[Path], typer.Argument(help="Captures, logs, or datasets of unflux; - is standard input.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first thing that is wrong.")]
DetectorOption = Annotated[str, typer.Option("--detector", help="Which detector judges.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: object) -> None:
    """Print on standard error; file names and data in it cannot command the terminal."""
    for line in str(text).split("\n"):
        errors.print(visible(line), markup=False)


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


def none_read(inputs: Iterable[Input]) -> bool:
    """Could no file be read to its end?"""
    return all(one.books.error for one in inputs)


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
