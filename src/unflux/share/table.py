"""A table that a person reads on a terminal, and the summary below it."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unflux.detect import Finding
from unflux.pipeline import Scan

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
    worth_a_row = [finding for finding in scan.findings if finding.verdict != "insufficient"]
    if worth_a_row:
        console.print(_table(worth_a_row[:MAX_ROWS]))
        if len(worth_a_row) > MAX_ROWS:
            console.print(f"… and {len(worth_a_row) - MAX_ROWS} more: use --json or --ndjson")
    console.print(_headline(scan.n_flux, scan.summary["names"]))
    for line in summary_lines(scan.summary):
        console.print(Text(line), style="dim", highlight=False)


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
            Text(finding.name),
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
            Text(one_line(finding)),
        )
    return table


def number(value: int | None) -> str:
    """A count, or a question mark where it is not known."""
    return "?" if value is None else str(value)


def one_line(finding: Finding) -> str:
    """The two weightiest reasons, or the benign explanation that fits."""
    fitting = [one.name for one in finding.benign_explanations if one.match]
    if fitting and not finding.is_flux:
        return f"rotates like a {fitting[0].replace('_', ' ')}"
    speaking = [reason.says for reason in finding.reasons[:2] if reason.weight > 0]
    return "; ".join(speaking) or "nothing in it speaks for flux"


def _headline(n_flux: int, names: dict[str, Any]) -> Text:
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
        lines.append(f"taken in before: {known} files, not read again")
    if summary["passed_over"]:
        lines.append(f"in no known format: {len(summary['passed_over'])} files, passed over")
    for entry in summary["inputs"]:
        places = ", ".join(
            f"{kind} first at {tally['first']}" for kind, tally in entry["malformed"].items()
        )
        if places:
            lines.append(f"{entry['path']}: {places}")
    lines += [f"cannot see: {spot}" for spot in summary["blind_spots"]]
    return lines + [f"warning: {warning}" for warning in summary["warnings"]]


def show_finding(finding: Finding, features: dict[str, Any], console: Console) -> None:
    """Everything about one name: reasons, explanations, agents, features."""
    title = Text(finding.name, "bold").append(f"  {finding.verdict}", STYLES[finding.verdict])
    title.append(f"  score {finding.score:.2f}, confidence {finding.confidence}", "default")
    console.print(title)
    console.print(f"seen {finding.first_seen} … {finding.last_seen}", style="dim", highlight=False)
    _section(console, "Why", [f"{one.weight:5.0%}  {one.says}" for one in finding.reasons])
    tried = [
        f"{'fits ' if one.match else 'no   '} {one.name}: {one.says}"
        for one in finding.benign_explanations
    ]
    _section(console, "Benign explanations tried", tried)
    _section(console, "Not seen", finding.blind_spots)
    agents = [
        f"{one.address}  AS{one.origin_asn or '?'} {one.organisation or ''}  "
        f"{one.country or '?'}  {one.evidence}  {one.first_seen} … {one.last_seen}"
        for one in finding.agent_list
    ]
    _section(console, f"Addresses ({len(agents)})", agents)
    _section(console, f"Clients who asked ({finding.n_clients})", finding.client_list)
    known = [f"{name} = {value}" for name, value in features.items() if value is not None]
    _section(console, "Features", known)


def _section(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        body = Group(*(Text(line) for line in lines))
        console.print(Text(title, "bold"), Padding(body, (0, 0, 0, 2)))
