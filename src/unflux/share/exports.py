"""The exports by name. To add one: a module beside this one, and one line in `EXPORTS`."""

from __future__ import annotations

from pathlib import Path
from typing import IO, ClassVar, Protocol, runtime_checkable

from unflux.share.abuse import AbuseReports
from unflux.share.case import AGENT_NOTE, NOBODY, Case
from unflux.share.cof import Cof
from unflux.share.csv import CsvAgents, CsvFindings
from unflux.share.json import EcsLines
from unflux.share.misp import MispEvent
from unflux.share.rpz_zone import RpzZone
from unflux.share.stix import StixBundle
from unflux.share.suricata import SuricataAddresses, SuricataNames
from unflux.share.text import counted
from unflux.share.zeek import ZeekIntel

__all__ = ["EXPORTS", "DirectoryExport", "Export", "FileExport", "by_name", "told"]


@runtime_checkable
class FileExport(Protocol):
    """An export that is one file."""

    name: ClassVar[str]
    """What ``unflux export NAME`` takes."""
    title: ClassVar[str]
    """One line for people: what it is, and who reads it."""

    def write(self, case: Case, out: IO[bytes]) -> None:
        """Write the case; what cannot be written is counted in ``case.left_out``."""
        ...


@runtime_checkable
class DirectoryExport(Protocol):
    """An export of one file per receiver."""

    name: ClassVar[str]
    title: ClassVar[str]

    def write_files(self, case: Case, directory: Path) -> None:
        """Write into an empty directory."""
        ...


Export = FileExport | DirectoryExport

EXPORTS: tuple[Export, ...] = (
    StixBundle(),
    MispEvent(),
    ZeekIntel(),
    SuricataNames(),
    SuricataAddresses(),
    RpzZone(),
    Cof(),
    CsvFindings(),
    CsvAgents(),
    EcsLines(),
    AbuseReports(),
)


def by_name(name: str) -> Export:
    """The export of that name.

    Raises
    ------
    ValueError
        When there is none; the sentence names those there are.
    """
    for export in EXPORTS:
        if export.name == name:
            return export
    known = ", ".join(export.name for export in EXPORTS)
    raise ValueError(f"there is no export {name!r}; known ones: {known}")


def told(chosen: Export, case: Case) -> list[str]:
    """What the user must know about what went out: standard error and the page say it."""
    n_flux = sum(finding.is_flux for finding in case.findings)
    lines = [f"{counted(len(case.findings), 'finding')}, {n_flux} of them flux"]
    if case.n_indicators:
        lines[0] += f"; {counted(case.n_indicators, 'name')} as indicators"
        if case.options.include_agents == "none":
            lines.append(f"agents are no indicators. {AGENT_NOTE}")
        else:
            lines.append(f"agents are indicators to look for, as you asked. {AGENT_NOTE}")
    if case.options.reporter == NOBODY and isinstance(chosen, DirectoryExport):
        lines.append("set --reporter and --contact before you send these")
    lines += [f"left out: {count} {what}" for what, count in sorted(case.left_out.items()) if count]
    return lines
