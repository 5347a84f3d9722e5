#!/usr/bin/env python3
"""Write the pages that follow from code: tables, features, counts, and the command line.

`tests/test_docs.py` fails when they are not what this writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from unflux import _native, tables
from unflux.cli import app
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
        "# Features\n\nOne row per name (or per registered domain, all names below it taken as "
        "one) and window: all that was read, or the last of it. Null means not seen, never zero."
        "\n\n```sh\nunflux scan capture.pcap --window 3h    # judged on its last three hours\n"
        "unflux explain c2.mother.test capture.pcap --windows    # 10m, 3h, 24h, 7d, and its domain"
        "\nunflux decode capture.pcap --to features.parquet    # all names, domains and windows"
        "\n```\n\nWithout `--window` verdicts rest on all that was read; `unflux watch` keeps "
        "24 hours (`--window`). Fresh answers and times are those of the window to the "
        "minute; responses, failures and the largest answer are counted by the hour. Verdicts are "
        "about names: hosts of a provider of dynamic DNS, taken as one domain, look like flux.\n\n"
        "| feature | unit | range | meaning | source |\n| --- | --- | --- | --- | --- |"
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


def cli_page() -> str:
    """Every command with its arguments and options, as `--help` has them."""
    parts = [
        "# Command line\n\nEvery command, as `unflux COMMAND --help` prints it. Results go to "
        "standard output, progress and logs to standard error. Exit codes: 0 fine, 1 error, "
        "2 wrong usage, 3 flux found (with `--fail-on-find`).\n"
    ]
    for path, command in _commands("unflux", typer.main.get_command(app)):
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option"]
        usage = " ".join([path, *(_usage(one) for one in arguments)])
        parts.append(f"## `{usage}`\n\n{' '.join((command.help or '').split())}\n")
        if arguments or options:
            parts.append("| argument or option | default | meaning |\n| --- | --- | --- |")
            parts += [_row(one) for one in (*arguments, *options)]
            parts.append("")
    return "\n".join(parts)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Commands below a group, in the order of the help."""
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        yield from _commands(f"{path} {name}", command.get_command(None, name))


def _usage(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper()
    shown = f"{name}…" if argument.nargs == -1 else name
    return shown if argument.required else f"[{shown}]"


def _row(one: Any) -> str:
    """Only what every version of typer has: names, default, help."""
    is_argument = one.param_type_name == "argument"
    takes_value = not is_argument and not one.is_flag
    name = _usage(one) if is_argument else ", ".join(one.opts)
    values = one.default if isinstance(one.default, list | tuple) else [one.default]
    shown = ", ".join(str(value) for value in values if isinstance(value, str | int | float))
    default = f"`{shown}`" if takes_value and shown else ""
    meaning = " ".join((one.help or "").split()).replace("|", "\\|").replace("<", "&lt;")
    return f"| `{name}{' …' if takes_value else ''}` | {default} | {meaning} |"


PAGES = {
    "tables.md": tables_page,
    "features.md": features_page,
    "counts.md": counts_page,
    "cli.md": cli_page,
}


def main() -> None:
    """Write all pages."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
