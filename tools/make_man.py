#!/usr/bin/env python3
"""Write man pages and shell completions to packaging/unflux.data, from the commands themselves.

The wheel carries them to share/man, share/bash-completion and so on below the prefix. (click-man
knows only commands of click, which typer no longer uses.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from unflux.cli import app

ROOT = Path(__file__).parent.parent
DATA = ROOT / "packaging" / "unflux.data" / "data" / "share"
COMPLETIONS = {
    "bash": "bash-completion/completions/unflux",
    "zsh": "zsh/site-functions/_unflux",
    "fish": "fish/vendor_completions.d/unflux.fish",
}
EXIT_STATUS = "0 fine, 1 error, 2 wrong usage, 3 flux found (with --fail-on-find)."


def files() -> dict[str, str]:
    """Every file below share/, by its path."""
    pages = {f"man/man1/{path.replace(' ', '-')}.1": _page(path, one) for path, one in commands()}
    return pages | {path: _completion(shell) for shell, path in COMPLETIONS.items()}


def commands(path: str = "unflux", command: Any = None) -> Iterator[tuple[str, Any]]:
    """Every command and group, with the words that call it."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, below in _below(command).items():
        yield from commands(f"{path} {name}", below)


def _below(command: Any) -> dict[str, Any]:
    """The commands of a group, in order; a command has none."""
    if not hasattr(command, "list_commands"):
        return {}
    return {name: command.get_command(None, name) for name in command.list_commands(None)}


def _page(path: str, command: Any) -> str:
    parameters = [one for one in command.params if one.name != "help"]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option"]
    synopsis = [f"[{_roff('--option')} …]" if options else "", *map(_usage, arguments)]
    about = " ".join((command.help or "").split())
    lines = [
        f'.TH "{path.replace(" ", "-").upper()}" 1 "" unflux "unflux manual"',
        ".SH NAME", f"{_roff(path.replace(' ', '-'))} \\- {_roff(about.rstrip('.'))}",
        ".SH SYNOPSIS", f".B {_roff(path)}", " ".join(filter(None, synopsis)) or "[--help]",
        ".SH DESCRIPTION", _roff(about),
    ]  # fmt: skip
    below = _below(command)
    lines += [".SH COMMANDS"] if below else []
    for name, one in below.items():
        lines += [".TP", f".B {_roff(name)}", _roff(" ".join((one.help or "").split()))]
    lines += [".SH OPTIONS"] if arguments or options else []
    for one in (*arguments, *options):
        named = [f"\\fB{_roff(word)}\\fR" for word in getattr(one, "opts", [])]
        shown = ", ".join(named) if one in options else _usage(one)
        value = "" if one in arguments or one.is_flag else " \\fIVALUE\\fR"
        lines += [".TP", shown + value, _roff(" ".join((one.help or "").split()))]
    lines += [".SH EXIT STATUS", _roff(EXIT_STATUS)]
    if path != "unflux":
        lines += [".SH SEE ALSO", ".BR unflux (1)"]
    return "\n".join(lines) + "\n"


def _usage(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper()
    return f"\\fI{_roff(name)}\\fR" + (" …" if argument.nargs == -1 else "")


def _roff(text: str) -> str:
    """Text as roff has it: hyphens that are meant, no line that looks like a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped[:1] in (".", "'") else escaped


def _completion(shell: str) -> str:
    """What `unflux --show-completion` prints, said for one shell without asking which one runs."""
    environment = os.environ | {"_UNFLUX_COMPLETE": f"source_{shell}"}
    program = (
        "import sys; sys.argv = ['unflux']; from unflux.cli import app; app(prog_name='unflux')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout


def main() -> None:
    """Write all of them, and remove pages of commands that are gone."""
    made = files()
    for path in DATA.rglob("*"):
        if path.is_file() and path.relative_to(DATA).as_posix() not in made:
            path.unlink()
    for path, content in made.items():
        (DATA / path).parent.mkdir(parents=True, exist_ok=True)
        (DATA / path).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
