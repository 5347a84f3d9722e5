"""A table that a person reads on a terminal, and the summary below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unflux.detect import Finding
from unflux.detect.base import Agent, Reason
from unflux.pipeline import Scan
from unflux.share.json import SEVERITY
from unflux.share.text import counted, visible

STYLES = {
    "single_flux": "bold red",
    "double_flux": "bold red",
    "ns_flux": "bold red",
    "ambiguous": "yellow",
    "not_flux": "green",
    "insufficient": "dim",
}
MAX_ROWS = 200


def show_scan(scan: Scan, console: Console) -> None:
    """The findings as a table, then what was read and what could not be seen."""
    worth_a_row = in_triage_order(one for one in scan.findings if one.verdict != "insufficient")
    if worth_a_row:
        draw = _narrow_table if console.width < NARROW_COLUMNS else _table
        console.print(draw(worth_a_row[:MAX_ROWS]))
        if len(worth_a_row) > MAX_ROWS:
            console.print(f"… and {len(worth_a_row) - MAX_ROWS} more: use --json or --ndjson")
    console.print(_headline(scan.n_flux, scan.summary["names"]))
    for line in summary_lines(scan.summary):
        console.print(Text(visible(line)), style="dim", highlight=False, soft_wrap=True)
    if scan.n_flux and console.is_terminal:
        hint = "next: unflux explain NAME … (why), scan … --out DIR (report with pictures)"
        console.print(Text(hint), style="dim", highlight=False)


def in_triage_order(findings: Iterable[Finding]) -> list[Finding]:
    """As an analyst takes them: highest score first; among equals the gravest, the most asked for.

    Scores count as they are shown, with two decimals.
    """
    return sorted(
        findings,
        key=lambda one: (
            -round(one.score, 2), -SEVERITY.get(one.verdict, 0), -one.n_clients, one.name
        ),
    )  # fmt: skip


def _table(findings: list[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("name", overflow="fold")
    for title in ("addresses", "ASes", "countries", "TTL s", "clients"):
        table.add_column(title, justify="right")
    table.add_column("why", overflow="fold", ratio=1)
    for finding in findings:
        table.add_row(
            Text(finding.verdict, STYLES[finding.verdict]),
            f"{finding.score:.2f}",
            Text(visible(finding.name)),
            *(
                number(value)
                for value in (
                    finding.n_addresses,
                    finding.n_asns,
                    finding.n_countries,
                    finding.ttl_max_s,
                    finding.n_clients,
                )
            ),
            Text(visible(one_line(finding))),
        )
    return table


NARROW_COLUMNS = 120
"""Below so many, the whole table would break every name into pieces."""


def _narrow_table(findings: list[Finding]) -> Table:
    """The same for a narrow terminal: fewer columns, and the reasons below the name."""
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("name, why", overflow="fold", ratio=1)
    for title in ("addresses", "ASes", "clients"):
        table.add_column(title, justify="right")
    for finding in findings:
        name = Text(visible(finding.name)).append(f"\n{visible(one_line(finding))}", "dim")
        counts = (finding.n_addresses, finding.n_asns, finding.n_clients)
        verdict = Text(finding.verdict, STYLES[finding.verdict])
        table.add_row(verdict, f"{finding.score:.2f}", name, *map(number, counts))
    return table


def number(value: int | None) -> str:
    """A count, or a question mark where it is not known."""
    return "?" if value is None else str(value)


def one_line(finding: Finding) -> str:
    """The two weightiest reasons, or the benign explanation that fits."""
    fitting = [one.name for one in finding.benign_explanations if one.match]
    if fitting and not finding.is_flux:
        return f"rotates like a {fitting[0].replace('_', ' ')}"
    if finding.verdict == "insufficient":
        return "not enough was seen to judge it"
    speaking = [reason.says for reason in finding.reasons[:2] if reason.weight > 0]
    return "; ".join(speaking) or "nothing in it speaks for flux"


def _headline(n_flux: int, names: dict[str, Any]) -> Text:
    if not names["judged"]:  # "0 flux" would read as an all-clear
        return Text("nothing was judged: no name with answers was read", "bold yellow")
    by_verdict = names["by_verdict"]
    text = Text(f"{n_flux} flux", "bold red" if n_flux else "bold green")
    counts = (f"{by_verdict[verdict]} {verdict}" for verdict in list(by_verdict)[3:])
    return text.append(f", {', '.join(counts)}: {names['judged']} names judged", "default")


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """What was read, what was left out and why, what cannot be seen."""
    counts = summary["counts"]
    lines = [
        f"read {counts['items']} items: {counts['decoded']} decoded ({counts['records']} records)"
    ]
    for kind, title in (
        ("skipped", "left out"),
        ("malformed", "malformed"),
        ("records_left_out", "records left out"),
        ("oddities", "odd"),
    ):
        if counts[kind]:
            inner = ", ".join(f"{count} {name}" for name, count in counts[kind].items())
            lines.append(f"{title}: {inner}")
    known = sum(entry["known"] for entry in summary["inputs"])
    if known:
        lines.append(f"taken in before: {counted(known, 'file')}, not read again")
    notes = Counter(entry["note"] for entry in summary["inputs"] if entry["note"])
    lines += [f"note on {counted(n, 'file')}: {note}" for note, n in notes.items()]
    if summary["passed_over"]:
        n_passed_over = counted(len(summary["passed_over"]), "file")
        lines.append(f"in no known format: {n_passed_over}, passed over")
    for entry in summary["inputs"]:
        places = ", ".join(
            f"{kind} first at {tally['first']}" for kind, tally in entry["malformed"].items()
        )
        if places:
            lines.append(f"{entry['path']}: {places}")
    lines += [f"cannot see: {spot}" for spot in summary["blind_spots"]]
    return lines + [f"warning: {warning}" for warning in summary["warnings"]]


def show_finding(finding: Finding, features: dict[str, Any], console: Console) -> None:
    """Everything about one name: reasons, explanations, clients, agents, features."""
    title = Text(visible(finding.name), "bold").append(
        f"  {finding.verdict}", STYLES[finding.verdict]
    )
    title.append(f"  score {finding.score:.2f}, confidence {finding.confidence}", "default")
    console.print(title)
    seen = f"seen {_minute(finding.first_seen)} to {_minute(finding.last_seen)} UTC"
    console.print(seen, style="dim", highlight=False)
    weighty = [one for one in finding.reasons if one.weight >= LEAST_WEIGHT]
    _section(console, "Why (share of the score)", [_weighed(one) for one in weighty])
    others = [f"      {one.says}" for one in finding.reasons if one.weight < LEAST_WEIGHT]
    _section(console, "Seen too, and adds nothing to the score", others)
    tried = [
        f"{'fits ' if one.match else 'no   '} {one.name}: {one.says}"
        for one in finding.benign_explanations
    ]
    _section(console, "Benign explanations tried", tried)
    _section(console, "Not seen", finding.blind_spots)
    clients = ", ".join(map(visible, finding.client_list))
    _section(console, f"Clients who asked ({finding.n_clients})", [clients] if clients else [])
    agents = sorted(finding.agent_list, key=lambda one: (one.last_seen, one.address), reverse=True)
    _agents(console, agents)
    known = [f"{name} = {value}" for name, value in features.items() if value is not None]
    _section(console, "Features", known)


def show_windows(rows: list[dict[str, Any]], console: Console) -> None:
    """Features in columns, one for each window and level."""
    if not rows:
        return
    console.print(Text("\nFeatures by window", "bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("feature", no_wrap=True)
    for row in rows:
        of = "" if row["level"] == "name" else "domain, "
        table.add_column(f"{of}{row['window']}", justify="right", no_wrap=True)
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in ("window", "level", "name") or all(value is None for value in values):
            continue
        shown = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values]
        cells = ["–" if value is None else text for value, text in zip(values, shown, strict=True)]
        table.add_row(name, *cells)
    console.print(table)


LEAST_WEIGHT = 0.005
"""Reasons below show as 0 %."""


def _weighed(reason: Reason) -> str:
    return f"{reason.weight:4.0%}  {reason.says}"


def _agents(console: Console, agents: list[Agent]) -> None:
    """Addresses in columns, those seen last first."""
    if not agents:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    longest = max(len(one.address) for one in agents)
    fixed = (("address", longest), ("evidence", 8), ("last seen", 16), ("first seen", 16))
    for column, width in fixed:
        table.add_column(column, no_wrap=True, min_width=width)
    table.add_column("country", no_wrap=True)
    table.add_column("AS", no_wrap=True, overflow="ellipsis")
    for one in agents:
        system = f"{one.origin_asn or '?'} {visible(one.organisation or '')}".strip()
        times = (_minute(one.last_seen), _minute(one.first_seen))
        cells = (one.address, one.evidence, *times, visible(one.country or "?"), system)
        table.add_row(*map(Text, cells))
    console.print(Text(f"Addresses ({len(agents)}): victims' machines, not to be blocked", "bold"))
    console.print(Padding(table, (0, 0, 0, 2)))


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "?"


def _section(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        body = Group(*(Text(visible(line)) for line in lines))
        console.print(Text(title, "bold"), Padding(body, (0, 0, 0, 2)))
