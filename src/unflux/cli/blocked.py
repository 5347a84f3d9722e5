"""`unflux blocked`: is it blocked, by what, since when, until when?"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from unflux.cli import common
from unflux.times import iso
from unflux.watch import store


def register(app: typer.Typer) -> None:
    app.command()(blocked)


def blocked(
    what: Annotated[str, typer.Argument(help="A name, or an address.")],
    state: Annotated[Path, typer.Option(help="State directory of the watch.")] = Path(
        "/var/lib/unflux"
    ),
    as_json: common.AsJson = False,
) -> None:
    """Say whether a name or address is blocked, by what, why, since when and until when."""
    name = what.strip().rstrip(".").lower()
    labels = name.split(".")
    is_address = ":" in name or name.replace(".", "").isdigit()
    triggers = [name] if is_address else [".".join(labels[at:]) for at in range(len(labels))]
    with common.clean_end():
        if not re.fullmatch(r"[!-~]{1,253}", name):
            raise ValueError(f"{what!r} is neither a name nor an address")
        if not any((state / one).exists() for one in (store.FILE, "sightings")):
            raise ValueError(f"{state} is no state of a watch: name its --state")
        found = store.BlockStore(state).find(triggers, time.time_ns() // 1000)
        is_blocked = found is not None and found.action != "monitor"
        answer = {
            "blocked": is_blocked,
            "by": found.by if found else None,
            "reason": f"{found.verdict}: {found.reason}" if found else None,
            "since": iso(found.since_us) if found else None,
            "until": iso(found.until_us) if found else None,
            "trigger": found.trigger if found else None,
            "kind": found.kind if found else None,
            "action": found.action if found else None,
        }
        if as_json:
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        elif found is None:
            print(f"{name} is not blocked")
        else:
            word = "blocked" if is_blocked else "listed, but only watched (monitor)"
            print(f"{name} is {word}, by {found.by} ({found.kind} {found.trigger}, {found.action})")
            print(f"  why    {found.verdict} {found.score:.2f}: {found.reason}")
            print(f"  since  {answer['since']}\n  until  {answer['until']}, unless seen again")
