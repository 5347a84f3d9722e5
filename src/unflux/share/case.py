"""What leaves the house: findings with the rules on what may be called an indicator.

A name is an indicator when it was judged flux on more than one answer. An agent is the address of a
victim's machine, often a dynamic one: it is context, and an indicator (to look for, not to block)
only when the user asks for it by evidence level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from unflux.detect import Finding
from unflux.detect.base import Agent
from unflux.pipeline import Scan
from unflux.share.text import is_plain_name
from unflux.times import DAY_US, iso, us_of_iso

EVIDENCE = ("shared", "rotated", "answered", "unproven")
"""Evidence levels of agents, strongest first."""
AGENT_CHOICES = ("none", "shared", "rotated", "answered")
"""What ``--include-agents`` takes: the weakest level that becomes an indicator."""
TLP = ("clear", "green", "amber", "red")
CONFIDENCE = {"low": 15, "medium": 50, "high": 85}
"""STIX 2.1 appendix A, "None / Low / Med / High": the middle of each range."""
MAX_AGENTS = 1000
"""Agents of one name that an export lists: the latest; beyond, the number that is left out."""
NAMESPACE = uuid5(NAMESPACE_URL, "urn:unflux:export")

AGENT_NOTE = (
    "Agents are addresses of other people's compromised machines, many of them dynamic: they are "
    "victims. Notify their networks; do not block them."
)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who sends a report, as XARF wants it."""

    organisation: str = "unflux user (set --reporter)"
    contact: str = "abuse@example.com"

    @property
    def domain(self) -> str:
        """The domain of the address."""
        return self.contact.rpartition("@")[2]


NOBODY = Reporter()
"""Stands in where the user names nobody."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the user decides about an export."""

    include_agents: str = "none"
    """Weakest evidence level at which an agent becomes an indicator, or ``none``."""
    valid_days: int = 14
    """Days after the last sight for which an indicator holds: flux names are short-lived."""
    tlp: str = "amber"
    """Traffic light protocol: clear, green, amber or red."""
    reporter: Reporter = NOBODY

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.include_agents, AGENT_CHOICES, "--include-agents"),
            (self.tlp, TLP, "--tlp"),
        ):
            if value not in known:
                raise ValueError(f"{what} is one of {', '.join(known)}, not {value!r}")
        if not 1 <= self.valid_days <= 3650:
            raise ValueError("--valid-days is a number from 1 to 3650")


class Case:
    """Findings on their way out, and a tally of what did not go out, and why."""

    def __init__(self, scan: Scan, options: ExportOptions | None = None) -> None:
        self.scan, self.options = scan, options or ExportOptions()
        self.left_out: Counter[str] = Counter()
        """Sentence → how often; shown to the user after the export."""
        self.n_indicators = 0

    @property
    def findings(self) -> list[Finding]:
        """All that the scan lists."""
        return self.scan.findings

    def claims(self) -> Iterator[Finding]:
        """Findings that are claimed to be flux and have a name that every tool can write."""
        for finding in self.findings:
            if not finding.is_flux:
                continue
            if is_plain_name(finding.name):
                yield finding
            else:
                self.left_out["names that are no host names"] += 1

    def indicators(self) -> Iterator[Finding]:
        """Claims that may be acted upon."""
        return (finding for finding in self.claims() if self.is_indicator(finding))

    def is_indicator(self, finding: Finding) -> bool:
        """Whether a claim may be acted upon; counted either way."""
        why_not = why_no_indicator(finding)
        if why_not:
            self.left_out[f"names that are no indicators: {why_not}"] += 1
        self.n_indicators += not why_not
        return not why_not

    def agents(self, finding: Finding) -> list[Agent]:
        """Its agents, at most `MAX_AGENTS` of them (those seen last), in order of address."""
        agents = [agent for agent in finding.agent_list if agent.special is None]
        if len(agents) > MAX_AGENTS:
            self.left_out[f"agents beyond {MAX_AGENTS} of a name"] += len(agents) - MAX_AGENTS
            agents = sorted(agents, key=lambda one: (one.last_seen, one.address))[-MAX_AGENTS:]
        return sorted(agents, key=lambda one: one.address)

    def is_agent_indicator(self, agent: Agent) -> bool:
        """Whether the user asked for agents of this evidence as indicators."""
        wanted = self.options.include_agents
        if wanted == "none" or agent.special is not None:
            return False
        return EVIDENCE.index(agent.evidence) <= EVIDENCE.index(wanted)

    def agent_indicators(self) -> dict[str, tuple[Agent, list[Finding]]]:
        """Address → agent (its strongest evidence) and the names that used it, by address."""
        found: dict[str, tuple[Agent, list[Finding]]] = {}
        for finding in self.claims():
            if why_no_indicator(finding):
                continue
            for agent in self.agents(finding):
                if self.is_agent_indicator(agent):
                    found.setdefault(agent.address, (agent, []))[1].append(finding)
        return dict(sorted(found.items()))

    def valid_until(self, last_seen: str) -> str:
        """When something that was last seen then stops being an indicator, ISO 8601."""
        return iso(us_of_iso(last_seen) + self.options.valid_days * DAY_US) or ""


def why_no_indicator(finding: Finding) -> str | None:
    """Why a finding must not be acted upon by machines; None when it may."""
    if not finding.is_flux:
        return f"the verdict is {finding.verdict}"
    if finding.confidence == "low":
        return "confidence is low (one answer seen, or no sign yet that it is no volunteers' pool)"
    if finding.last_seen is None or finding.first_seen is None:
        return "when it was seen is not known"
    return None


def stable_id(*parts: object) -> UUID:
    """The same UUID (version 5) for the same things, whenever they are exported."""
    return uuid5(NAMESPACE, "\x1f".join(map(str, parts)))


def top_reasons(finding: Finding, n: int = 3) -> str:
    """The weightiest reasons as one sentence."""
    return "; ".join(reason.says for reason in finding.reasons[:n] if reason.weight > 0)


def one_line_claim(finding: Finding) -> str:
    """Verdict, strength and reasons in a line."""
    return (
        f"{finding.verdict}, score {finding.score:.2f}, confidence {finding.confidence}: "
        f"{top_reasons(finding)}"
    )
