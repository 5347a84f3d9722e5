"""STIX 2.1: a bundle of what was seen and what is claimed of it.

Per registered domain an `infrastructure`; per name `observed-data` (the name, the addresses that
it resolved to, their autonomous systems) and, where the claim allows it, an `indicator`. Their
identifiers are UUIDv5 of what an object is about, so a second export updates the first.
"""

from __future__ import annotations

from collections import defaultdict
from typing import IO, TYPE_CHECKING, Any, ClassVar

from unflux.detect import Finding
from unflux.detect.base import Agent
from unflux.errors import Unavailable
from unflux.share.case import (
    AGENT_NOTE,
    CONFIDENCE,
    Case,
    one_line_claim,
    stable_id,
    why_no_indicator,
)
from unflux.share.text import visible

if TYPE_CHECKING:
    from types import ModuleType

EPOCH = "2026-01-01T00:00:00Z"
"""When the identity of unflux was made."""
TECHNIQUE_ID = "attack-pattern--29ba5a15-3b7b-4732-b817-65ea8f6468e6"
TECHNIQUE_MADE = "2020-03-11T14:11:16.560Z"
"""MITRE's own object is newer, so whoever has it keeps it."""
MAX_OBSERVED = 999_999_999
"""STIX allows no larger `number_observed`."""


class StixBundle:
    """One bundle of all claims."""

    name: ClassVar[str] = "stix"
    title: ClassVar[str] = "STIX 2.1 bundle"

    def write(self, case: Case, out: IO[bytes]) -> None:
        bundle = _Bundle(_library(), case)
        out.write(bundle.text().encode() + b"\n")


def _library() -> ModuleType:
    try:
        import stix2
    except ImportError:
        raise Unavailable("STIX needs the package stix2: pip install 'unflux[export]'") from None
    library: ModuleType = stix2
    return library


class _Bundle:
    """Objects by identifier, put together finding by finding."""

    def __init__(self, stix: ModuleType, case: Case) -> None:
        self.stix, self.case = stix, case
        self.objects: dict[str, Any] = {}
        self.common: dict[str, Any] = {}
        self._add_frame()
        domains: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in case.claims():
            domains[finding.registered_domain or finding.name].append(finding)
        for domain, findings in sorted(domains.items()):
            self._add_domain(domain, findings)
        self._add_agent_indicators()

    def text(self) -> str:
        """The bundle as JSON, its own identifier made of all others."""
        identifier = f"bundle--{stable_id('bundle', *sorted(self.objects))}"
        bundle = self.stix.Bundle(id=identifier, objects=list(self.objects.values()))
        text: str = bundle.serialize(indent=1)
        return text

    def _add(self, kind: str, **fields: Any) -> str:
        made = getattr(self.stix, kind)(**fields)
        self.objects[made.id] = made
        return str(made.id)

    def _add_frame(self) -> None:
        identity = self._add(
            "Identity",
            id=f"identity--{stable_id('identity')}",
            created=EPOCH,
            modified=EPOCH,
            name="unflux",
            identity_class="system",
            description="Toolkit against fast-flux DNS networks. " + AGENT_NOTE,
        )
        tlp = self.case.options.tlp
        marking = getattr(self.stix, f"TLP_{'white' if tlp == 'clear' else tlp}".upper())
        self.objects[marking.id] = marking
        self.common = {"created_by_ref": identity, "object_marking_refs": [marking.id]}
        self._add(
            "AttackPattern",
            id=TECHNIQUE_ID,
            created=TECHNIQUE_MADE,
            modified=TECHNIQUE_MADE,
            name="Fast Flux DNS",
            external_references=[
                {
                    "source_name": "mitre-attack",
                    "external_id": "T1568.001",
                    "url": "https://attack.mitre.org/techniques/T1568/001",
                }
            ],
            kill_chain_phases=[
                {"kill_chain_name": "mitre-attack", "phase_name": "command-and-control"}
            ],
        )

    def _add_domain(self, domain: str, findings: list[Finding]) -> None:
        """The infrastructure behind one registered domain, and what is known of its names."""
        seen = [(one.first_seen, one.last_seen) for one in findings if one.first_seen]
        first = min((first for first, _ in seen if first), default=EPOCH)
        last = max((last for _, last in seen if last), default=EPOCH)
        infrastructure = self._add(
            "Infrastructure",
            id=f"infrastructure--{stable_id('infrastructure', domain)}",
            created=first,
            modified=last,
            name=f"fast-flux network behind {domain}",
            description="; ".join(f"{one.name}: {one_line_claim(one)}" for one in findings[:20]),
            infrastructure_types=["anonymization"],
            first_seen=first,
            last_seen=last,
            **self.common,
        )
        for finding in findings:
            self._add_finding(finding, infrastructure)

    def _add_finding(self, finding: Finding, infrastructure: str) -> None:
        addresses = [self._address(agent) for agent in self.case.agents(finding)]
        domain = self._add("DomainName", value=finding.name, resolves_to_refs=addresses or None)
        if finding.first_seen is None or finding.last_seen is None:
            return
        when = {"created": finding.first_seen, "modified": finding.last_seen}
        observed = self._add(
            "ObservedData",
            id=f"observed-data--{stable_id('observed-data', finding.name)}",
            first_observed=finding.first_seen,
            last_observed=finding.last_seen,
            number_observed=_times(self.case.agents(finding)),
            object_refs=[domain, *addresses],
            **when,
            **self.common,
        )
        self._relate(infrastructure, "consists-of", observed, when)
        if why_no_indicator(finding) is None:
            self._add_indicator(finding, infrastructure, observed, when)

    def _add_indicator(
        self, finding: Finding, infrastructure: str, observed: str, when: dict[str, str]
    ) -> None:
        self.case.n_indicators += 1
        indicator = self._add(
            "Indicator",
            id=f"indicator--{stable_id('indicator', finding.name)}",
            name=f"{finding.verdict}: {finding.name}",
            description=f"{one_line_claim(finding)}. {AGENT_NOTE}",
            indicator_types=["malicious-activity"],
            pattern=f"[domain-name:value = '{finding.name}']",
            pattern_type="stix",
            valid_from=finding.first_seen,
            valid_until=self.case.valid_until(finding.last_seen or EPOCH),
            confidence=CONFIDENCE[finding.confidence],
            labels=[finding.verdict.replace("_", "-"), "T1568.001"],
            **when,
            **self.common,
        )
        self._relate(indicator, "indicates", infrastructure, when)
        self._relate(indicator, "indicates", TECHNIQUE_ID, when)
        self._relate(indicator, "based-on", observed, when)

    def _add_agent_indicators(self) -> None:
        for address, (agent, findings) in self.case.agent_indicators().items():
            kind = "ipv6-addr" if ":" in address else "ipv4-addr"
            names = ", ".join(finding.name for finding in findings[:5])
            self._add(
                "Indicator",
                id=f"indicator--{stable_id('indicator', address)}",
                created=agent.first_seen,
                modified=agent.last_seen,
                name=f"flux agent: {address}",
                description=f"Answered for {names} (evidence: {agent.evidence}). {AGENT_NOTE}",
                indicator_types=["compromised"],
                pattern=f"[{kind}:value = '{address}']",
                pattern_type="stix",
                valid_from=agent.first_seen,
                valid_until=self.case.valid_until(agent.last_seen),
                labels=["flux-agent", "do-not-block"],
                **self.common,
            )

    def _address(self, agent: Agent) -> str:
        systems = [self._system(agent)] if agent.origin_asn else None
        kind = "IPv6Address" if ":" in agent.address else "IPv4Address"
        return self._add(kind, value=agent.address, belongs_to_refs=systems)

    def _system(self, agent: Agent) -> str:
        name = visible(agent.organisation) if agent.organisation else None
        return self._add("AutonomousSystem", number=agent.origin_asn, name=name)

    def _relate(self, source: str, kind: str, target: str, when: dict[str, str]) -> None:
        self._add(
            "Relationship",
            id=f"relationship--{stable_id('relationship', source, kind, target)}",
            source_ref=source,
            relationship_type=kind,
            target_ref=target,
            **when,
            **self.common,
        )


def _times(agents: list[Agent]) -> int:
    """How often the name was seen: at least as often as its commonest address."""
    return min(MAX_OBSERVED, max((agent.count for agent in agents), default=1))
