"""`unflux zonediff`: what moved between two states of a zone."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unflux.cli import common

State = Annotated[
    str, typer.Argument(help="A zone file (also gzipped), or axfr://SERVER[:PORT]/ZONE.")
]
MAX_ROWS = 100


def register(app: typer.Typer) -> None:
    app.command()(zonediff)


def zonediff(
    old: State,
    new: State,
    origin: Annotated[
        str | None, typer.Option(help="The zone's name, for files without $ORIGIN.")
    ] = None,
    min_score: Annotated[float, typer.Option(help="List delegations from this score on.")] = 0.0,
    as_json: common.AsJson = False,
) -> None:
    """Rank the delegations of a zone by how they moved between OLD and NEW."""
    from unflux.track.zonediff import diff
    from unflux.track.zonefiles import load

    with common.clean_end():
        content = diff(load(old, origin), load(new, origin))
        content["delegations"] = [
            row for row in content["delegations"] if row["score"] >= min_score
        ]
        if as_json:
            sys.stdout.buffer.write(msgspec.json.encode(content) + b"\n")
            return
        rows = content["delegations"]
        if rows:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for title in ("score", "name", "NS changes", "glue changes", "glue TTL s", "shared"):
                table.add_column(title, justify="left" if title in ("name", "shared") else "right")
            for row in rows[:MAX_ROWS]:
                ttl = "" if row["glue_ttl_min"] is None else str(row["glue_ttl_min"])
                table.add_row(
                    f"{row['score']:.2f}", Text(row["name"]), str(row["ns_changes"]),
                    str(row["glue_changes"]), ttl, Text(" ".join(row["shared_name_servers"][:3])),
                )  # fmt: skip
            Console(width=None if sys.stdout.isatty() else 120).print(table)
        if len(rows) > MAX_ROWS:
            print(f"… and {len(rows) - MAX_ROWS} more: use --json")
        for what, n in content["summary"].items():
            print(f"{what.replace('_', ' ')}: {'?' if n is None else n}")
