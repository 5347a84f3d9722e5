"""Reports for those who can do something: a text and XARF documents per AS, and per domain.

The network of an agent gets its addresses with times; the registrar of a domain gets its names with
what they did. Nothing is sent: the files are for you to read, and to send.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from unflux.detect import Finding
from unflux.detect.base import Agent
from unflux.share import xarf
from unflux.share.case import Case, Reporter, one_line_claim, top_reasons
from unflux.share.text import visible
from unflux.share.timeline import HOUR_US, Timeline, timelines
from unflux.sightings import whole_file
from unflux.times import DAY_US, iso

REPORTED = ("shared", "rotated")
"""Evidence that is enough to write to a network; an address that was seen once is not."""
MAX_LISTED = 200
"""Addresses in the text for a registrar, who cannot act on them; the CSV exports have all."""
MAX_PERIODS = 48

Involved = tuple[Agent, list[Finding]]


class AbuseReports:
    """One text and one XARF file for each network and each registered domain."""

    name: ClassVar[str] = "abuse"
    title: ClassVar[str] = "abuse reports: text and XARF v4, per hosting AS and per domain"

    def write_files(self, case: Case, directory: Path) -> None:
        findings = list(case.indicators())
        lines = timelines(case.scan.judged, findings)
        reporter = case.options.reporter
        for asn, agents in sorted(_by_network(case, findings).items()):
            stem = f"as{asn}" if asn else "as-unknown"
            documents = [xarf.agent_document(agent, of, lines, reporter) for agent, of in agents]
            _write(directory, stem, network_text(asn, agents, reporter), documents)
        for domain, of_domain in sorted(_by_domain(findings).items()):
            document = xarf.domain_document(domain, of_domain, lines, reporter)
            text = domain_text(domain, of_domain, lines, reporter)
            _write(directory, f"domain-{domain}", text, [document])


def _by_domain(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    found: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        found[finding.registered_domain or finding.name].append(finding)
    return found


def _by_network(case: Case, findings: Iterable[Finding]) -> dict[int, list[Involved]]:
    """AS number (0: unknown) → its agents with the names they served, by address."""
    involved: dict[str, Involved] = {}
    for finding in findings:
        for agent in case.agents(finding):
            if agent.evidence in REPORTED:
                before, names = involved.get(agent.address, (agent, []))
                involved[agent.address] = (_later(before, agent), [*names, finding])
    found: defaultdict[int, list[Involved]] = defaultdict(list)
    for _, (agent, names) in sorted(involved.items()):
        found[agent.origin_asn or 0].append((agent, names))
    return found


def _later(one: Agent, other: Agent) -> Agent:
    """The same address in two findings: from its first sight to its last, all answers."""
    if one is other:
        return one
    return msgspec.structs.replace(
        one,
        evidence=min(one.evidence, other.evidence, key=REPORTED.index),
        first_seen=min(one.first_seen, other.first_seen),
        last_seen=max(one.last_seen, other.last_seen),
        count=one.count + other.count,
    )


def _write(directory: Path, stem: str, text: str, documents: list[dict[str, object]]) -> None:
    with whole_file(directory / f"{stem}.txt") as temporary:
        temporary.write_text(text, encoding="utf-8")
    lines = b"".join(msgspec.json.encode(document) + b"\n" for document in documents)
    with whole_file(directory / f"{stem}.xarf.jsonl") as temporary:
        temporary.write_bytes(lines)


def network_text(asn: int, agents: Sequence[Involved], reporter: Reporter) -> str:
    """The mail to the network that hosts agents."""
    organisation = visible(agents[0][0].organisation or "")
    whom = f"AS{asn} ({organisation})" if organisation else f"AS{asn}"
    if not asn:
        whom = "the network of these addresses"
    first = min(agent.first_seen for agent, _ in agents)
    last = max(agent.last_seen for agent, _ in agents)
    rows = [
        (
            agent.address,
            _minute(agent.first_seen),
            _minute(agent.last_seen),
            str(agent.count),
            agent.evidence,
            _some([finding.name for finding in findings]),
        )
        for agent, findings in agents
    ]
    names = {finding.name: finding for _, findings in agents for finding in findings}
    claims = [f"  {name}: {one_line_claim(names[name])}" for name in sorted(names)]
    return "\n".join(
        [
            f"Subject: fast-flux agents in {whom}: {_count(len(agents), 'address', 'addresses')}, "
            f"{first[:10]} to {last[:10]}",
            "",
            f"To the abuse desk of {whom}",
            "",
            "The addresses below answered, for short times and in turn with addresses of many",
            "unrelated networks, for names that are run as fast-flux networks (MITRE ATT&CK",
            "T1568.001). Machines that do so are mostly compromised: they relay connections to a",
            "server that stays hidden. Your customers are victims. Please tell them, and look for",
            "what relays connections there. Flow records of these times show the server behind.",
            "",
            "Addresses may be dynamic: the times (UTC) are when DNS answers held them.",
            "",
            *_aligned(("address", "first seen", "last seen", "answers", "evidence", "for"), rows),
            "",
            "The names, and why they are called flux:",
            "",
            *claims,
            "",
            *_closing(reporter),
        ]
    )


def domain_text(
    domain: str, findings: Sequence[Finding], lines: dict[str, Timeline], reporter: Reporter
) -> str:
    """The mail to the registrar (or registry) of a domain."""
    agents = {
        agent.address: agent
        for finding in findings
        for agent in sorted(finding.agent_list, key=lambda one: one.last_seen)
        if agent.special is None
    }
    latest = sorted(agents.values(), key=lambda one: (one.last_seen, one.address))[-MAX_LISTED:]
    rows = [
        (one.address, f"AS{one.origin_asn or '?'}", one.country or "?", _minute(one.last_seen),
         one.evidence)
        for one in reversed(latest)
    ]  # fmt: skip
    text = [
        f"Subject: {domain}: fast-flux domain, {_count(len(findings), 'name', 'names')}",
        "",
        f"To the registrar of {domain} (RDAP names it: https://rdap.org/domain/{domain})",
        "",
        "Names under this domain are run as a fast-flux network (MITRE ATT&CK T1568.001): their",
        "answers are ever-changing addresses of unrelated networks, most likely of compromised",
        "machines. The addresses belong to victims; the domain is what can be acted upon. Please",
        "look at its registration and delegation.",
        "",
    ]
    for finding in findings:
        text += _about(finding, lines[finding.name])
    if rows:
        listed = f" (the {len(rows)} seen last)" if len(rows) < len(agents) else ""
        text += [f"{_count(len(agents), 'agent', 'agents')}{listed}, victims:", ""]
        text += [*_aligned(("address", "AS", "country", "last seen", "evidence"), rows), ""]
    return "\n".join([*text, *_closing(reporter)])


def _about(finding: Finding, line: Timeline) -> list[str]:
    """What one name did, over time."""
    text = [
        f"{finding.name}: {finding.verdict}, score {finding.score:.2f}, confidence "
        f"{finding.confidence}",
        f"  seen {_minute(finding.first_seen)} to {_minute(finding.last_seen)}",
        f"  because {top_reasons(finding, 5)}",
    ]
    tried = [one.name for one in finding.benign_explanations if not one.match]
    text.append(f"  benign explanations that do not fit: {', '.join(tried) or 'none were tried'}")
    text += [f"  not seen: {spot}" for spot in finding.blind_spots]
    servers = Counter(track.owner for track in line.name_servers)
    if servers:
        shown = [f"{name} ({_count(n, 'address', 'addresses')})" for name, n in servers.items()]
        text.append(f"  name servers: {_some(shown)}")
    length_us, word = (HOUR_US, "hour")
    if len(line.periods()) > MAX_PERIODS:
        length_us, word = (DAY_US, "day")
    rows = [
        (_minute(iso(start_us)), str(n_addresses), str(n_new))
        for start_us, n_addresses, n_new in line.periods(length_us)
    ]
    if rows:
        table = _aligned((word, "addresses", "never seen before"), rows)
        text += ["", *(f"  {row}" for row in table)]
    return [*text, ""]


def _closing(reporter: Reporter) -> list[str]:
    return [
        "What this is not: proof about a machine or a person. It is what DNS answers showed, seen",
        "passively. If it is wrong, please tell us, and how it came about.",
        "",
        f"{visible(reporter.organisation)} <{visible(reporter.contact)}>",
        "Machine-readable: the XARF v4 documents beside this text.",
        "",
    ]


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    table = [titles, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "?"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
