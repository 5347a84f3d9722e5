"""A MISP event: per name a `domain-ip` and its `passive-dns` objects, tagged with the galaxies.

``to_ids`` is set on names that may be acted upon, and on no address unless agents are asked for.
MISP's own RPZ export would make blocking rules of such addresses.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, ClassVar

from unflux.detect import Finding
from unflux.errors import Unavailable
from unflux.share import cof
from unflux.share.case import (
    AGENT_NOTE,
    Case,
    one_line_claim,
    stable_id,
    top_reasons,
    why_no_indicator,
)
from unflux.share.text import visible

if TYPE_CHECKING:
    from types import ModuleType

TAGS = (
    'misp-galaxy:mitre-attack-pattern="Fast Flux DNS - T1568.001"',
    'misp-galaxy:first-dns="Dynamic DNS resolution: Fast flux"',
)
THREAT_LEVEL_MEDIUM, ANALYSIS_ONGOING, YOUR_ORGANISATION_ONLY = 2, 1, 0


class MispEvent:
    """One event of all claims, unpublished, for your organisation only."""

    name: ClassVar[str] = "misp"
    title: ClassVar[str] = "MISP event (JSON)"

    def write(self, case: Case, out: IO[bytes]) -> None:
        event = _event(_library(), case)
        text: str = event.to_json(sort_keys=True, indent=1)
        out.write(f'{{"Event": {text}}}\n'.encode())


def _library() -> ModuleType:
    try:
        logging.getLogger("pymisp").setLevel(logging.ERROR)
        import pymisp
    except ImportError:
        raise Unavailable("MISP needs the package pymisp: pip install 'unflux[export]'") from None
    return pymisp


def _event(pymisp: ModuleType, case: Case) -> Any:
    claims = list(case.claims())
    last = max((one.last_seen for one in claims if one.last_seen), default=None)
    event = pymisp.MISPEvent(force_timestamps=True)
    names = sorted(one.name for one in claims)
    event.uuid = str(stable_id("misp-event", *names))
    event.info = f"Fast-flux DNS: {len(claims)} names"
    event.date = (last or "1970-01-01")[:10]
    event.timestamp = _seconds(last)
    event.threat_level_id = THREAT_LEVEL_MEDIUM
    event.analysis = ANALYSIS_ONGOING
    event.distribution = YOUR_ORGANISATION_ONLY
    event.published = False
    for tag in (*TAGS, f"tlp:{case.options.tlp}"):
        event.add_tag(tag)
    note = event.add_attribute("comment", AGENT_NOTE, uuid=str(stable_id("note", event.uuid)))
    note.timestamp = _seconds(last)
    for finding in claims:
        event.add_object(_domain_ip(pymisp, case, finding))
    for row in cof.records(case.scan.judged, claims):
        if row["rrtype"] in ("A", "AAAA", "NS", "CNAME"):
            event.add_object(_passive_dns(pymisp, row))
    return event


def _domain_ip(pymisp: ModuleType, case: Case, finding: Finding) -> Any:
    made = _object(pymisp, "domain-ip", finding.name, finding.last_seen)
    made.comment = one_line_claim(finding)
    is_indicator = why_no_indicator(finding) is None
    case.n_indicators += is_indicator
    _put(made, "domain", finding.name, to_ids=is_indicator, comment=top_reasons(finding))
    for agent in case.agents(finding):
        where = f"AS{agent.origin_asn or '?'} {visible(agent.organisation or '')}".strip()
        says = f"agent ({agent.evidence}), {where}: a victim, do not block"
        is_wanted = is_indicator and case.is_agent_indicator(agent)
        _put(made, "ip", agent.address, to_ids=is_wanted, comment=says)
    if finding.first_seen:
        _put(made, "first-seen", finding.first_seen)
    if finding.last_seen:
        _put(made, "last-seen", finding.last_seen)
    return made


def _passive_dns(pymisp: ModuleType, row: dict[str, Any]) -> Any:
    key = (row["rrname"], row["rrtype"], row["rdata"])
    made = _object(pymisp, "passive-dns", "\x1f".join(key), None, row["time_last"])
    for relation in ("rrname", "rrtype", "rdata", "count"):
        _put(made, relation, visible(str(row[relation])), to_ids=False)
    for relation in ("time_first", "time_last"):
        _put(made, relation, datetime.fromtimestamp(row[relation], UTC).isoformat())
    return made


def _object(
    pymisp: ModuleType, kind: str, key: str, last_seen: str | None, last_s: int | None = None
) -> Any:
    made = pymisp.MISPObject(kind, strict=True, force_timestamps=True)
    made.uuid = str(stable_id("misp", kind, key))
    made.timestamp = last_s if last_s is not None else _seconds(last_seen)
    return made


def _put(made: Any, relation: str, value: Any, **settings: Any) -> None:
    """An attribute with an identifier that follows from its object and value."""
    uuid = str(stable_id(made.uuid, relation, value))
    attribute = made.add_attribute(relation, value=value, uuid=uuid, **settings)
    attribute.timestamp = made.timestamp


def _seconds(time: str | None) -> int:
    return int(datetime.fromisoformat(time).timestamp()) if time else 0
