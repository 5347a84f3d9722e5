"""Build the pages of `unflux serve` (`web/`, TypeScript) into the package: `src/unflux/web/ui`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ip_tables

HERE = Path(__file__).parent
SOURCE = HERE.parent / "web"
TARGET = HERE.parent / "src" / "unflux" / "web" / "ui"
STAMP = "built-from.txt"
"""Beside the pages: the hash of what they were built from."""
NOT_SOURCE = ("node_modules",)


def ensure() -> None:
    """Build the pages unless they are fresh; without npm or its registry, say so and go on."""
    if are_built():
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            _build(Path(folder), source_hash())
    except (OSError, subprocess.SubprocessError) as error:
        print(
            f"unflux: the pages could not be built ({error}); the install goes on without them, "
            "and `unflux serve` has the API only",
            file=sys.stderr,
        )


def are_built() -> bool:
    """Are the pages there, built from what stands in `web` now?"""
    if not (SOURCE / "package.json").is_file():
        return True  # a source archive has the pages, not what they are built from
    stamp = TARGET / STAMP
    return stamp.is_file() and stamp.read_text().strip() == source_hash()


def source_hash() -> str:
    """Of every file that the pages are built from."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*")):
        relative = path.relative_to(SOURCE)
        if path.is_file() and relative.parts[0] not in NOT_SOURCE:
            digest.update(relative.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _build(folder: Path, wanted: str) -> None:
    """Install the locked packages, build in a folder of its own, then put the pages in place."""
    command = ip_tables.npm_command()
    if command is None:
        raise FileNotFoundError("there is no npm")
    work = folder / "web"
    shutil.copytree(SOURCE, work, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    environment = os.environ | {"PATH": _with_node(command)}
    options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    _run([*command, *options], work, environment)
    _run([*command, "run", "build", "--", "--outDir", str(folder / "ui")], work, environment)
    (folder / "ui" / STAMP).write_text(wanted + "\n")
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(folder / "ui", TARGET)


def _with_node(command: list[str]) -> str:
    """PATH with the Node.js that runs this npm: the build's own scripts call it."""
    path = os.environ.get("PATH", os.defpath)
    return path if len(command) == 1 else f"{Path(command[0]).parent}{os.pathsep}{path}"


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, timeout=600
    )


if __name__ == "__main__":
    ensure()
