"""Flux networks as a table for people, and the notes below it."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unflux.networks.model import Network, Networks
from unflux.networks.size import Size
from unflux.share.network_detail import estimate_text, period
from unflux.share.table import STYLES, summary_lines
from unflux.share.text import counted, visible

MAX_ROWS = 100
TITLES = ("names", "seen", "size at a time", "roles", "sub-\nnets", "ASes/\ncountries", "rotation")


def show(found: Networks, summary: dict[str, Any], console: Console) -> None:
    """A row per network, then what happened to them and what was read."""
    if found.networks:
        console.print(_table(found.networks[:MAX_ROWS]))
    if len(found.networks) > MAX_ROWS:
        console.print(f"… and {len(found.networks) - MAX_ROWS} more: use --json")
    console.print(Text(_headline(found)))
    for line in _notes(found):
        console.print(Text(line), highlight=False)
    for line in summary_lines(summary):
        console.print(Text(line), style="dim", highlight=False)


def _table(networks: list[Network]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    table.add_column("network", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for title in TITLES:
        table.add_column(title, justify="right", no_wrap=title.startswith("size"))
    table.add_column("for example", overflow="fold", ratio=1)
    for one in networks:
        roles = ", ".join(f"{count} {role}" for role, count in sorted(one.roles.items()))
        table.add_row(
            Text(one.id),
            Text(one.kind, STYLES[one.kind]),
            str(len(one.names)),
            str(len(one.agents)),
            size_text(one.size),
            roles,
            str(len(one.sub_networks)),
            f"{len(one.asns)}/{len(one.countries)}",
            _rotation(one),
            Text(visible(one.names[0].name)),
        )
    return table


def _rotation(one: Network) -> str:
    """Of answers; where only name servers rotate, of these."""
    if one.rotation_s is None and one.ns_rotation_s is not None:
        return f"NS {period(one.ns_rotation_s)}"
    return "?" if one.rotation_s is None else period(one.rotation_s)


def size_text(size: Size) -> str:
    """``81 (78-90) in 1 h``, or a question mark."""
    if size.estimate is None:
        return "?"
    return f"{estimate_text(size)} in {size.window_h:g} h"


def _headline(found: Networks) -> str:
    names = sum(len(one.names) for one in found.networks)
    agents = len({agent.address for one in found.networks for agent in one.agents})
    return (
        f"{counted(len(found.networks), 'flux network')} with {counted(names, 'name')} and "
        f"{counted(agents, 'address')} (addresses, not machines)"
    )


def _notes(found: Networks) -> list[str]:
    lines = []
    for one in found.networks[:MAX_ROWS]:
        lines += [f"{one.id}: {event}" for event in one.history]
        if one.sleepers:
            waiting = counted(len(one.sleepers), "name")
            lines.append(f"{one.id}: sleepers on its name servers: {waiting}")
        lines += [
            f"{one.id}: {counted(overlap.n_common, 'address')} ({overlap.share:.0%}) also in "
            f"{overlap.network}"
            for overlap in one.overlaps[:3]
            if overlap.share >= 0.02
        ]
    if found.unplaced:
        lines.append(f"in no network: {counted(found.unplaced, 'ambiguous name')}")
    if found.networks:
        lines.append("all that is known of one: --show NETWORK (an id, a name or an address)")
    return lines
