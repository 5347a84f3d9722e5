"""Options that several commands share, in groups; a command takes a group as one argument."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from unflux.pipeline import ScanOptions
from unflux.sources.base import ANY_TIME_US, ReadOptions, client_key_of
from unflux.spark.options import SparkOptions, parse_conf
from unflux.times import duration_s, parse_us

Since = Annotated[str | None, typer.Option(help="Only from this time on.")]
Until = Annotated[str | None, typer.Option(help="Only before this time.")]
Vantage = Annotated[
    str, typer.Option(help="Where it was captured: client (below a cache), upstream or unknown.")
]

Window = Annotated[
    str | None,
    typer.Option(help="Only the last 10m, 3h, 24h, 7d … of what was read; all of it by default."),
]


@dataclass(frozen=True)
class Tables:
    """Where addresses belong."""

    asn_db: Annotated[Path | None, typer.Option(help="MMDB file: address to origin AS.")] = None
    country_db: Annotated[Path | None, typer.Option(help="MMDB file: address to country.")] = None


@dataclass(frozen=True)
class Clients:
    """What is kept of clients' addresses."""

    clients: Annotated[
        str, typer.Option(help="Clients' addresses: keep, pseudonymise (keyed hash) or drop.")
    ] = "keep"
    client_key: Annotated[
        Path | None,
        typer.Option(help="File with the key for pseudonyms; without it, a new key for this run."),
    ] = None


NO_CLIENTS = Clients("drop")


@dataclass(frozen=True)
class Reading:
    """What is read of the inputs, and how."""

    format_name: Annotated[
        str | None,
        typer.Option("--format", help="Format of the input; told by content otherwise."),
    ] = None
    ports: Annotated[
        list[int], typer.Option("--port", help="UDP and TCP port of DNS in captures.")
    ] = field(default_factory=lambda: [53])
    vantage: Vantage = "unknown"
    since: Since = None
    until: Until = None

    def options(self, clients: Clients = NO_CLIENTS) -> ReadOptions:
        """As the sources take them."""
        if self.vantage not in ("client", "upstream", "unknown"):
            raise typer.BadParameter(
                f"vantage is client, upstream or unknown, not {self.vantage!r}"
            )
        if clients.clients not in ("keep", "pseudonymise", "drop"):
            raise typer.BadParameter(
                f"clients is keep, pseudonymise or drop, not {clients.clients!r}"
            )
        if any(not 0 < port < 65_536 for port in self.ports):
            raise typer.BadParameter("a port is a number from 1 to 65535")
        since_us, until_us = between(self.since, self.until)
        key = _client_key(clients.client_key) if clients.clients == "pseudonymise" else None
        return ReadOptions(
            ports=tuple(self.ports),
            vantage=self.vantage,
            since_us=since_us,
            until_us=until_us,
            threads=os.cpu_count() or 1,
            clients=clients.clients,
            client_key=key,
        )

    def scan_options(
        self, tables: Tables, clients: Clients = NO_CLIENTS, **more: Any
    ) -> ScanOptions:
        """As a scan takes them."""
        return ScanOptions(
            self.options(clients),
            self.format_name,
            asn_db=tables.asn_db,
            country_db=tables.country_db,
            **more,
        )


@dataclass(frozen=True)
class Cluster:
    """What reads and reduces."""

    engine: Annotated[
        str, typer.Option(help="What reads: embedded (this machine) or spark (a cluster).")
    ] = "embedded"
    master: Annotated[
        str | None, typer.Option(help="Spark's master: spark://HOST:7077, yarn, local[4] …")
    ] = None
    conf: Annotated[
        list[str] | None,
        typer.Option("--conf", help="KEY=VALUE: a setting of Spark; several times."),
    ] = None

    def options(self) -> SparkOptions | None:
        """How Spark is reached; None for the embedded engine."""
        if self.engine not in ("embedded", "spark"):
            raise typer.BadParameter(f"--engine is embedded or spark, not {self.engine!r}")
        if self.engine == "embedded":
            if self.master or self.conf:
                raise typer.BadParameter("--master and --conf go with --engine spark")
            return None
        with _wrong_usage():
            return SparkOptions(self.master, parse_conf(self.conf or []))


def between(since: str | None, until: str | None) -> tuple[int, int]:
    """Microseconds since the epoch of ``--since`` and ``--until``."""
    now = datetime.now(UTC)
    with _wrong_usage():
        since_us = parse_us(since, now) if since else ANY_TIME_US[0]
        until_us = parse_us(until, now) if until else ANY_TIME_US[1]
    if since_us >= until_us:
        raise typer.BadParameter("--since is not before --until: nothing lies between them")
    return since_us, until_us


def window_s(text: str | None) -> int | None:
    """Seconds of ``--window``."""
    with _wrong_usage("--window"):
        return None if text is None else math.ceil(duration_s(text))


def _client_key(path: Path | None) -> bytes:
    with _wrong_usage():
        return client_key_of(path)


@contextmanager
def _wrong_usage(option: str | None = None) -> Iterator[None]:
    """What is wrong with an option's text is told as typer tells it, with the usage."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of its groups behind its own, one by one, as typer reads them."""
    hints = get_type_hints(command, include_extras=True)
    given = inspect.signature(command).parameters
    groups = {name: hints[name] for name in given if is_dataclass(hints[name])}
    flat = [
        one.replace(annotation=hints[name], kind=one.KEYWORD_ONLY)
        for name, one in given.items()
        if name not in groups
    ]
    flat += [one for group in groups.values() for one in _parameters(group)]

    @functools.wraps(command)
    def flattened(**options: Any) -> None:
        made = {
            name: group(**{one.name: options.pop(one.name) for one in fields(group)})
            for name, group in groups.items()
        }
        command(**options, **made)

    flattened.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    flattened.__annotations__ = {one.name: one.annotation for one in flat}
    return flattened


def _parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(one),
            annotation=hints[one.name],
        )
        for one in fields(group)
    ]


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()
