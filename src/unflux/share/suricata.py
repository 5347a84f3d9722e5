"""Suricata datasets: values for ``dataset:isset`` (strings are base64, one a line)."""

from __future__ import annotations

import base64
from typing import IO, ClassVar

from unflux.share.case import Case


class SuricataNames:
    """Names for ``dns.query``, ``tls.sni`` and ``http.host``."""

    name: ClassVar[str] = "suricata"
    title: ClassVar[str] = "Suricata dataset of names (type string)"

    def write(self, case: Case, out: IO[bytes]) -> None:
        for finding in case.indicators():
            out.write(base64.b64encode(finding.name.encode()) + b"\n")


class SuricataAddresses:
    """Agents for ``ip.dst``, to alert on; empty unless agents are asked for."""

    name: ClassVar[str] = "suricata-ip"
    title: ClassVar[str] = "Suricata dataset of agents (type ip), with --include-agents"

    def write(self, case: Case, out: IO[bytes]) -> None:
        addresses = case.agent_indicators()
        for address in addresses:
            out.write(address.encode() + b"\n")
        if not addresses:
            case.left_out["agents (name an evidence level with --include-agents)"] += sum(
                len(case.agents(finding)) for finding in case.claims()
            )
