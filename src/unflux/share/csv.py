"""CSV for spreadsheets: one row a finding, or one row an agent. Cells are never formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import IO, ClassVar

from unflux.detect import Finding
from unflux.detect.base import Agent
from unflux.share.case import Case, top_reasons, why_no_indicator
from unflux.share.text import visible

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "|", "%")
"""A cell that starts so may be run by a spreadsheet (OWASP, "CSV Injection")."""

FINDING_COLUMNS = (
    "name", "verdict", "score", "confidence", "indicator", "registered_domain", "zone",
    "first_seen", "last_seen", "n_addresses", "n_asns", "n_countries", "ttl_max_s", "n_clients",
    "why", "benign_explanations_that_fit", "blind_spots", "detector",
)  # fmt: skip
AGENT_COLUMNS = (
    "name", "verdict", "address", "evidence", "indicator", "origin_asn", "organisation", "country",
    "special", "first_seen", "last_seen", "count",
)  # fmt: skip


class CsvFindings:
    """All findings, flux or not, with what speaks for them."""

    name: ClassVar[str] = "csv"
    title: ClassVar[str] = "CSV, one row a finding"

    def write(self, case: Case, out: IO[bytes]) -> None:
        _write(out, FINDING_COLUMNS, map(_finding_row, case.findings))


class CsvAgents:
    """Agents of all findings that have any; who they are is context, not an indicator."""

    name: ClassVar[str] = "csv-agents"
    title: ClassVar[str] = "CSV, one row a name and agent"

    def write(self, case: Case, out: IO[bytes]) -> None:
        rows = (
            _agent_row(finding, agent, case.is_agent_indicator(agent))
            for finding in case.findings
            for agent in finding.agent_list
        )
        _write(out, AGENT_COLUMNS, rows)


def _finding_row(one: Finding) -> Sequence[object]:
    why_not = why_no_indicator(one)
    fitting = "; ".join(tried.name for tried in one.benign_explanations if tried.match)
    return (
        one.name, one.verdict, one.score, one.confidence, f"no: {why_not}" if why_not else "yes",
        one.registered_domain, one.zone, one.first_seen, one.last_seen, one.n_addresses, one.n_asns,
        one.n_countries, one.ttl_max_s, one.n_clients, top_reasons(one), fitting,
        " ".join(one.blind_spots), f"{one.detector.id} {one.detector.version}",
    )  # fmt: skip


def _agent_row(finding: Finding, agent: Agent, is_indicator: bool) -> Sequence[object]:
    return (
        finding.name, finding.verdict, agent.address, agent.evidence,
        "to look for, not to block" if is_indicator else "no: a victim's machine",
        agent.origin_asn, agent.organisation, agent.country, agent.special, agent.first_seen,
        agent.last_seen, agent.count,
    )  # fmt: skip


def _write(out: IO[bytes], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(columns)
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    text.detach()


def guarded(cell: object) -> object:
    """A cell that a spreadsheet shows and never runs; None is an empty cell, numbers stay."""
    if cell is None or isinstance(cell, int | float):
        return cell
    text = visible(str(cell))
    return f"'{text}" if str(cell).startswith(FORMULA_STARTS) else text
