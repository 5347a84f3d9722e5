"""XARF v4 documents (xarf.org): one per agent, one per registered domain."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from typing import Any

from unflux.detect import Finding
from unflux.detect.base import Agent
from unflux.share.case import (
    CONFIDENCE,
    Reporter,
    one_line_claim,
    stable_id,
)
from unflux.share.timeline import Timeline
from unflux.times import iso

VERSION = "4.2.0"
TAGS = ["attack:t1568-001", "dns:fast-flux"]
MAX_DESCRIPTION = 1000


def agent_document(
    agent: Agent, findings: list[Finding], lines: dict[str, Timeline], reporter: Reporter
) -> dict[str, Any]:
    """An address that takes part in flux: category infrastructure, type botnet."""
    names = [finding.name for finding in findings]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    rows = [
        (name, iso(first_us), iso(last_us))
        for name in names
        for track in lines[name].addresses
        if track.address == agent.address
        for first_us, last_us in track.spells
    ]
    evidence = _evidence(
        ("name", "first_seen", "last_seen"), rows, "DNS answers that held this address, by hour"
    )
    return {
        **_frame(("agent", agent.address, agent.last_seen), agent.last_seen, reporter),
        "source_identifier": agent.address,
        "category": "infrastructure",
        "type": "botnet",
        "compromise_evidence": (
            f"The address answered for {shown} in rotation with addresses of unrelated networks"
        ),
        "bot_capabilities": ["proxy"],
        "first_seen": agent.first_seen,
        "last_seen": agent.last_seen,
        "confidence": _confidence(findings),
        "description": (
            f"Fast-flux agent ({agent.evidence}) of {shown}: probably a compromised machine that "
            "works as a proxy. The address may be dynamic: use the times."
        )[:MAX_DESCRIPTION],
        "evidence": [evidence],
    }


def domain_document(
    domain: str, findings: list[Finding], lines: dict[str, Timeline], reporter: Reporter
) -> dict[str, Any]:
    """A registered domain with names in flux: category reputation, type threat_intelligence."""
    rows = [
        (finding.name, finding.verdict, iso(start_us), n_addresses, n_new)
        for finding in findings
        for start_us, n_addresses, n_new in lines[finding.name].periods()
    ]
    last = max(finding.last_seen or "" for finding in findings)
    columns = ("name", "verdict", "hour", "addresses", "never_seen_before")
    return {
        **_frame(("domain", domain, last), last, reporter),
        "source_identifier": domain,
        "category": "reputation",
        "type": "threat_intelligence",
        "threat_type": "fast_flux",
        "confidence": _confidence(findings),
        "description": "; ".join(f"{one.name}: {one_line_claim(one)}" for one in findings)[
            :MAX_DESCRIPTION
        ],
        "evidence": [_evidence(columns, rows, "Addresses that answered, by hour")],
    }


def _frame(key: tuple[str, ...], time: str, reporter: Reporter) -> dict[str, Any]:
    contact = {
        "org": reporter.organisation,
        "contact": reporter.contact,
        "domain": reporter.domain,
    }
    return {
        "xarf_version": VERSION,
        "report_id": str(stable_id("xarf", *key)),
        "timestamp": time,
        "reporter": contact,
        "sender": contact,
        "evidence_source": "traffic_analysis",
        "tags": TAGS,
    }


def _confidence(findings: list[Finding]) -> float:
    return max(CONFIDENCE[finding.confidence] for finding in findings) / 100


def _evidence(
    columns: tuple[str, ...], rows: list[tuple[Any, ...]], description: str
) -> dict[str, Any]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    content = text.getvalue().encode()
    return {
        "content_type": "text/csv",
        "description": description,
        "payload": base64.b64encode(content).decode(),
        "hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
    }
