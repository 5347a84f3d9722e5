"""`unflux doctor`: what is installed, what it can read, what it cannot see."""

from __future__ import annotations

import json
import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import publicsuffixlist
import typer
from rich.console import Console
from rich.text import Text

from unflux import __version__, detect, enrich, sources
from unflux._native import __version__ as core_version
from unflux.cli import common, shared
from unflux.share.text import visible

LIBRARIES = ("duckdb", "pyarrow", "msgspec", "publicsuffixlist", "typer", "rich")
TOOLS = ("tshark",)


def register(app: typer.Typer) -> None:
    app.command()(shared.takes_groups(doctor))


def doctor(tables: shared.Tables, as_json: common.AsJson = False) -> None:
    """Tell what is installed, which formats are read, and what cannot be seen."""
    with common.clean_end():
        report = examine(tables.asn_db, tables.country_db)
        if as_json:
            typer.echo(json.dumps(report, indent=2))
            return
        console = Console()
        for section, content in report.items():
            console.print(Text(section.replace("_", " "), "bold"))
            for line in _lines(content) or ["none"]:
                console.print(Text(visible(f"  {line}")), soft_wrap=True)


def examine(asn_db: Path | None = None, country_db: Path | None = None) -> dict[str, Any]:
    """What `doctor` prints."""
    enrichment = enrich.load(asn_db, country_db)
    found = {"asn": enrichment.asn, "country": enrichment.country}
    return {
        "versions": {
            "unflux": __version__,
            "core": core_version,
            "python": platform.python_version(),
            **{name: _version(name) for name in LIBRARIES},
        },
        "formats": {source.name: source.title for source in sources.SOURCES},
        "packed": sources.PACKED_AS,
        "detectors": {one.id: one.title for one in detect.DETECTORS},
        "tables": {kind: _table(one) for kind, one in found.items()},
        "public_suffix_list": publicsuffixlist.PSLFILE,
        "tools": {tool: shutil.which(tool) or "not installed" for tool in TOOLS},
        "blind_spots": list(enrichment.blind_spots),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _table(table: enrich.IpTable | None) -> dict[str, str | None] | None:
    if table is None:
        return None
    return {
        "path": str(table.path),
        "kind": table.kind,
        "date": f"{table.made_at:%Y-%m-%d}",
        "licence": table.licence,
        "warning": table.warning(datetime.now(UTC)),
    }


def _lines(content: Any) -> list[str]:
    if isinstance(content, dict):
        return [f"{key}: {_inline(value)}" for key, value in content.items()]
    return [str(line) for line in (content if isinstance(content, list) else [content])]


def _inline(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(str(part) for part in value.values() if part is not None)
    return str(value)
