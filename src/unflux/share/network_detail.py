"""One flux network, everything that is known of it, for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unflux.errors import UnfluxError
from unflux.networks.model import Growth, Lifetime, Network, NetworkAgent, NetworkName, Networks
from unflux.networks.size import Size
from unflux.share.table import STYLES
from unflux.share.text import counted, visible
from unflux.times import duration_text

MAX_LISTED = 12
"""Origin ASes, delegations, sleepers and so on that are shown; all are in --json."""
MAX_NAMES, MAX_AGENTS = 60, 30
"""Rows of its names, and of its addresses."""
BARS = "▁▂▃▄▅▆▇█"
MAX_BARS = 60


def choose(found: Networks, wanted: str) -> Network:
    """A network by its id, or by one of its names or addresses.

    Raises
    ------
    UnfluxError
        When there is none.
    """
    text = wanted.strip().lower().removesuffix(".")
    for one in found.networks:
        if text == one.id or any(name.name == text for name in one.names):
            return one
    for one in found.networks:
        if any(agent.address == text for agent in one.agents):
            return one
    raise UnfluxError(
        f"no network is called {wanted}, or has it: `unflux networks` without --show lists them"
    )


def show(one: Network, console: Console) -> None:
    """Everything of a network, then its first names and addresses."""
    head = Text(f"{one.id} ")
    head.append(one.kind, STYLES[one.kind])
    head.append(f": {counted(len(one.names), 'name')}, {counted(len(one.agents), 'address')}")
    console.print(head, highlight=False)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for key, value in _facts(one):
        facts.add_row(key, Text(visible(value)))
    console.print(facts, highlight=False)
    console.print(_names(one.names), highlight=False)
    console.print(_agents(one.agents), highlight=False)


def _facts(one: Network) -> Iterator[tuple[str, str]]:
    yield "seen", f"{_time(one.first_seen)} to {_time(one.last_seen)}"
    yield from _size(one.size)
    yield from _growth(one.growth)
    yield "stay", lifetime_text(one.lifetime)
    yield "roles", ", ".join(f"{n} {role}" for role, n in sorted(one.roles.items()))
    yield "rotation", f"answers {period(one.rotation_s)}, name servers {period(one.ns_rotation_s)}"
    yield (
        "layers",
        "; ".join(
            f"{part.layer}: {counted(part.n_addresses, 'address')}, "
            f"{counted(part.n_groups, 'group')}"
            for part in one.layers
        ),
    )
    if len(one.sub_networks) > 1:
        for number, sub in enumerate(one.sub_networks[:MAX_LISTED], 1):
            size = f", {estimate_text(sub.size)} at a time" if sub.size.estimate is not None else ""
            yield (
                f"sub-network {number}",
                (
                    f"{counted(len(sub.names), 'name')} ({sub.names[0]} …), "
                    f"{counted(sub.n_agents, 'address')}{size}"
                ),
            )
    yield "origin ASes", _counts(one.asns)
    yield "countries", _counts(one.countries)
    yield from _delegations(one)
    if one.sleepers:
        yield f"sleepers ({len(one.sleepers)})", _some([each.name for each in one.sleepers])
    for other in one.overlaps[:MAX_LISTED]:
        yield (
            "shared with",
            (
                f"{other.network}: {counted(other.n_common, 'address')}, "
                f"{_share(other.share)} of its own"
            ),
        )
    for event in one.history:
        yield "history", event


def _size(size: Size) -> Iterator[tuple[str, str]]:
    if size.estimate is None:
        yield "size at a time", f"not known: {size.note}"
        return
    yield "size at a time", f"{estimate_text(size)} in {size.window_h:g} h: {size.note}"
    told = [each.estimate for each in size.series if each.estimate is not None]
    if len(told) > 1:
        yield "… over time", f"{bars(told)} {min(told):.0f} to {max(told):.0f}"


def _growth(growth: Growth) -> Iterator[tuple[str, str]]:
    if not growth.hours:
        return
    more = "" if growth.new_per_h is None else f", lately {growth.new_per_h:g} new an hour"
    yield "addresses", f"{bars(growth.seen)} by hour, {growth.total[-1]} in all{more}"
    if growth.by_hour_of_day:
        low, high = min(growth.by_hour_of_day), max(growth.by_hour_of_day)
        yield (
            "… of the day",
            (f"{bars(growth.by_hour_of_day)} 0 to 23 h UTC, {low:g} to {high:g} an hour"),
        )


def lifetime_text(life: Lifetime) -> str:
    """How long addresses stay, in words."""
    if not life.n:
        return "not known: all were there from the first hour on"
    known = f"of {life.n} whose beginning was seen, {life.n_gone} are gone"
    if life.median_h is None:
        return f"more than half for as long as was watched ({known})"
    return f"half for {period(life.median_h * 3600)} and more ({known})"


def _delegations(one: Network) -> Iterator[tuple[str, str]]:
    found = one.delegations
    suffixes = ", ".join(f"{n} under {suffix}" for suffix, n in found.by_public_suffix.items())
    n_glue = found.glue_addresses
    glue = f", {counted(n_glue, 'address')} of name servers" if n_glue else ""
    yield (
        "delegations",
        (
            f"{counted(found.zones, 'zone')} ({suffixes}), "
            f"{counted(found.ns_changes, 'change')} of NS{glue}"
        ),
    )
    for change in found.changes[-3:]:
        yield (
            f"… {_time(change.at)}",
            (f"{change.zone}: {_some(change.ns_removed, 3)} → {_some(change.ns_added, 3)}"),
        )


def _names(names: Sequence[NetworkName]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("name", "verdict", "score", "sub-net", "first seen", "last seen"):
        table.add_column(title, justify="right" if title in ("score", "sub-net") else "left")
    for one in names[:MAX_NAMES]:
        table.add_row(
            Text(visible(one.name)), Text(one.verdict, STYLES[one.verdict]), f"{one.score:.2f}",
            str(one.sub_network + 1), _time(one.first_seen), _time(one.last_seen),
        )  # fmt: skip
    return _with_rest(table, len(names) - MAX_NAMES)


def _agents(agents: Sequence[NetworkAgent]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("address", "role", "evidence", "names", "answers", "AS", "country",
                  "first seen", "last seen"):  # fmt: skip
        table.add_column(title, justify="right" if title in ("names", "answers") else "left")
    most = sorted(agents, key=lambda one: (-one.n_names, -one.count, one.address))
    for one in most[:MAX_AGENTS]:
        asn = "" if one.origin_asn is None else f"AS{one.origin_asn} {one.organisation or ''}"
        table.add_row(
            one.address, one.role, one.evidence, str(one.n_names), str(one.count),
            Text(visible(asn.strip())), one.country or "?", _time(one.first_seen),
            _time(one.last_seen),
        )  # fmt: skip
    return _with_rest(table, len(agents) - MAX_AGENTS)


def _share(share: float) -> str:
    """A share that is there is never 0%."""
    return "under 1%" if 0 < share < 0.01 else f"{share:.0%}"


def _with_rest(table: Table, n_more: int) -> Table:
    if n_more > 0:
        table.caption = f"… and {n_more} more: use --json"
        table.caption_justify = "left"
    return table


def bars(values: Sequence[float]) -> str:
    """A row of bars from 0 to the largest; means of several where there are too many.

    >>> bars([0, 1, 2, 4])
    '▁▂▄█'
    """
    step = -(-len(values) // MAX_BARS)
    parts = [values[at : at + step] for at in range(0, len(values), step)]
    means = [sum(part) / len(part) for part in parts]
    top = max(means, default=0.0) or 1.0
    return "".join(BARS[min(7, int(mean / top * 7.999))] for mean in means)


def period(seconds: float | None) -> str:
    """A duration that may not be known."""
    return "not known" if seconds is None else duration_text(seconds)


def estimate_text(size: Size) -> str:
    """``81 (78-90)``."""
    return f"{size.estimate:.0f} ({size.low:.0f}-{size.high:.0f})"


def _counts(counts: dict[str, int]) -> str:
    return f"{len(counts)}: " + _some([f"{key} {n}" for key, n in counts.items()])


def _some(texts: Sequence[str], at_most: int = MAX_LISTED) -> str:
    rest = f" … and {len(texts) - at_most} more" if len(texts) > at_most else ""
    return (", ".join(texts[:at_most]) or "none") + rest


def _time(text: str | None) -> str:
    """To the minute."""
    return text[:16].replace("T", " ") if text else "?"
