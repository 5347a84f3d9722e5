"""JSON: one object for a scan, or one finding a line with Elastic Common Schema keys."""

from __future__ import annotations

from typing import IO, Any, ClassVar

import msgspec

from unflux.detect import Finding
from unflux.pipeline import Scan
from unflux.share.case import Case

SEVERITY = {"single_flux": 73, "double_flux": 90, "ns_flux": 60, "ambiguous": 30}
"""ECS `event.severity`, 0…100."""

_ENCODER = msgspec.json.Encoder()


class EcsLines:
    """What `unflux scan --ndjson` prints, as an export."""

    name: ClassVar[str] = "ecs"
    title: ClassVar[str] = "Elastic Common Schema, one finding a line (as scan --ndjson)"

    def write(self, case: Case, out: IO[bytes]) -> None:
        write_findings(case.findings, out)


def write_scan(scan: Scan, out: IO[bytes]) -> None:
    """``{"summary": {…}, "findings": […]}``, written finding by finding: there may be many."""
    out.write(b'{"summary":' + _ENCODER.encode(scan.summary) + b',"findings":[')
    for number, finding in enumerate(scan.findings):
        out.write(b"," if number else b"")
        out.write(_ENCODER.encode(finding))
    out.write(b"]}\n")


def write_findings(findings: list[Finding], out: IO[bytes]) -> None:
    """One finding a line, keys as in the Elastic Common Schema, ours under ``flux``."""
    for finding in findings:
        out.write(_ENCODER.encode(ecs(finding)) + b"\n")


def ecs_head(at: str | None, verdict: str, reason: str, *, is_alert: bool = True) -> dict[str, Any]:
    """What every event of ours says in ECS: when, how grave, why, by which verdict, T1568.001."""
    return {
        "@timestamp": at,
        "event": {
            "kind": "alert" if is_alert else "event",
            "category": ["network", "intrusion_detection"],
            "severity": SEVERITY.get(verdict, 0),
            "reason": reason,
        },
        "rule": {"name": verdict},
        "threat": {"technique": {"id": ["T1568"], "subtechnique": {"id": ["T1568.001"]}}},
    }


def ecs(finding: Finding) -> dict[str, Any]:
    """A finding as an ECS alert."""
    top = finding.reasons[0].says if finding.reasons else finding.verdict
    head = ecs_head(finding.last_seen, finding.verdict, top, is_alert=finding.is_flux)
    head["rule"] |= {"id": finding.detector.id, "version": str(finding.detector.version)}
    return head | {
        "dns": {
            "question": {"name": finding.name, "registered_domain": finding.registered_domain},
            "resolved_ip": [agent.address for agent in finding.agent_list],
        },
        "client": {"ip": finding.clients},
        "flux": finding,
    }
