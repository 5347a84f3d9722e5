"""Zeek's intelligence framework: a tab-separated file for ``Intel::read_files``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, ClassVar

from unflux.share.case import AGENT_NOTE, Case, one_line_claim
from unflux.share.text import visible

FIELDS = ("indicator", "indicator_type", "meta.source", "meta.desc")


class ZeekIntel:
    """Names as ``Intel::DOMAIN``; agents as ``Intel::ADDR`` only when asked for."""

    name: ClassVar[str] = "zeek"
    title: ClassVar[str] = "Zeek intel file: names as Intel::DOMAIN"

    def write(self, case: Case, out: IO[bytes]) -> None:
        out.write(("#fields\t" + "\t".join(FIELDS) + "\n").encode())
        out.write(f"# {AGENT_NOTE}\n".encode())
        for row in _rows(case):
            out.write(("\t".join(map(_field, row)) + "\n").encode())


def _rows(case: Case) -> Iterator[tuple[str, str, str, str]]:
    for finding in case.indicators():
        until = case.valid_until(finding.last_seen or "")
        yield finding.name, "Intel::DOMAIN", "unflux", f"{one_line_claim(finding)}; until {until}"
    for address, (agent, findings) in case.agent_indicators().items():
        names = ", ".join(finding.name for finding in findings[:3])
        says = f"flux agent ({agent.evidence}) of {names}: a victim, do not block"
        yield address, "Intel::ADDR", "unflux", f"{says}; last seen {agent.last_seen}"


def _field(text: str) -> str:
    """No tab, no line end; a field that is empty or a hyphen would mean "not set"."""
    return visible(text)
