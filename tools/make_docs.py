#!/usr/bin/env python3
"""Write the pages that follow from code: `docs/tables.md`, `docs/features.md`, `docs/counts.md`.

`tests/test_docs.py` fails when they are not what this writes.
"""

from __future__ import annotations

from pathlib import Path

from unflux import _native, tables
from unflux.features import FEATURES

DOCS = Path(__file__).parent.parent / "docs"


def tables_page() -> str:
    """Columns of the three tables."""
    parts = [
        "# Tables\n",
        f"Schema version {tables.SCHEMA_VERSION}. Times are UTC, names absolute.\n",
    ]
    for name, schema in tables.TABLES.items():
        parts.append(f"## {name}\n\n| column | type | null | meaning |\n| --- | --- | --- | --- |")
        for field in schema:
            meaning = field.metadata[b"meaning"].decode().replace("|", "\\|")
            null = "yes" if field.nullable else "no"
            parts.append(f"| `{field.name}` | {field.type} | {null} | {meaning} |")
        parts.append("")
    return "\n".join(parts)


def features_page() -> str:
    """The catalogue of features."""
    rows = [
        f"| `{one.name}` | {one.unit} | {one.range} | {one.meaning} | {one.source} |"
        for one in FEATURES
    ]
    head = (
        "# Features\n\nOne row per name and window (all that was read). Null means not seen, never "
        "zero.\n\n| feature | unit | range | meaning | source |\n| --- | --- | --- | --- | --- |"
    )
    return "\n".join([head, *rows]) + "\n"


def counts_page() -> str:
    """Kinds of skipped and malformed items."""
    kinds = _native.kinds()
    parts = [
        "# Counts in = counts out\n\nEvery packet or line of an input is *decoded*, *skipped* "
        "(nothing wrong, nothing to take) or *malformed*; `items = decoded + Σ skipped + Σ "
        "malformed`. Each kind has its number and first place: a byte offset in captures, a line "
        "number in text. The names are stable.\n"
    ]
    for title in ("skipped", "malformed"):
        parts.append(f"## {title}\n")
        parts += [f"- `{name}`" for name in kinds[title]]
        parts.append("")
    return "\n".join(parts)


PAGES = {"tables.md": tables_page, "features.md": features_page, "counts.md": counts_page}


def main() -> None:
    """Write all pages."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
