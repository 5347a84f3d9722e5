#!/usr/bin/env python3
"""What unflux is made of: `components.py sbom FILE` (CycloneDX), `components.py licences`.

Python packages are found from pyproject.toml through what is installed, Rust crates by `cargo
metadata`, npm packages in web/package-lock.json where it is. Nothing is fetched.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
PINS = ROOT / "tools" / "constraints.txt"
COMPATIBLE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unicode-3.0", "Unlicense", "Zlib",
    "HPND", "LGPL-3.0-only", "CDLA-Permissive-2.0",
}  # fmt: skip
"""May be used by an Apache-2.0 program. MPL-2.0 and LGPL-3.0 hold for their own files: these
packages are installed unchanged beside unflux, never copied into it."""
SPELLINGS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "mit license": "MIT",
    "the mit license (mit)": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "isc license (iscl)": "ISC",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "isc license": "ISC",
    "dual license": "Apache-2.0 OR BSD-3-Clause",
    "apache": "Apache-2.0",
}
TEST_ONLY = "tests"


@dataclass(frozen=True, slots=True, order=True)
class Component:
    """One package that unflux needs."""

    ecosystem: str
    """``pypi``, ``cargo`` or ``npm``, as in package URLs."""
    name: str
    version: str
    licence: str
    """SPDX expression, or what its metadata says where that is none."""
    needed_for: str
    """``core``, ``tests``, or the name of the extra."""


def components() -> list[Component]:
    """Everything, each package once."""
    return sorted({*python_packages(), *rust_crates(), *npm_packages()})


def python_packages() -> Iterator[Component]:
    """Installed packages that pyproject.toml asks for, directly or not; core before extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [("core", project["dependencies"])]
    wanted += [(name, extras[name]) for name in sorted(extras, key=lambda one: one == "test")]
    seen: set[str] = set()
    for needed_for, requirements in wanted:
        label = TEST_ONLY if needed_for == "test" else needed_for
        waiting = [Requirement(text) for text in requirements]
        while waiting:
            requirement = waiting.pop()
            name = canonicalize_name(requirement.name)
            if name in seen or name == "unflux":  # its extras have their own turn
                continue
            seen.add(name)
            try:
                found = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue  # a marker left it out, or the extra is not installed
            yield Component("pypi", name, found.version, _python_licence(found.metadata), label)
            waiting += _asked_for(found, requirement.extras)


def pinned() -> set[str]:
    """Python packages that a run of the tests installs, whatever this machine has of them.

    Without what only builds need: that is in no wheel and on no user's machine.
    """
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    builds = {canonicalize_name(Requirement(text).name) for text in build}
    lines = [line for line in PINS.read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(line.partition("==")[0]) for line in lines} - builds


def _asked_for(found: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for text in found.requires or []:
        one = Requirement(text)
        chosen = [{"extra": extra} for extra in ("", *extras)]
        if one.marker is None or any(map(one.marker.evaluate, chosen)):
            yield one


def _python_licence(about: metadata.PackageMetadata) -> str:
    """The licence expression, else the classifier, else the first line of the old field."""
    texts = [about.get("License-Expression") or ""]
    classifiers = about.get_all("Classifier") or []
    old = (about.get("License") or "").strip().split("\n")[0]
    marked = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")]
    texts += [old] if old and len(old) < 60 else []
    texts += marked
    texts = [SPELLINGS.get(text.lower(), text) for text in texts if text]
    return next((text for text in texts if is_compatible(text)), texts[0] if texts else "unknown")


def rust_crates() -> Iterator[Component]:
    """Crates in the built module: what `unflux-py` depends on, without build and test crates."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    done = subprocess.run(command, cwd=ROOT / "rust", capture_output=True, check=True, timeout=120)
    graph = json.loads(done.stdout)
    crates = {one["id"]: one for one in graph["packages"]}
    nodes = {one["id"]: one for one in graph["resolve"]["nodes"]}
    waiting, seen = list(graph["workspace_members"]), set(graph["workspace_members"])
    while waiting:
        for below in nodes[waiting.pop()]["deps"]:
            ordinary = any(kind["kind"] is None for kind in below["dep_kinds"])
            if ordinary and below["pkg"] not in seen:
                seen.add(below["pkg"])
                waiting.append(below["pkg"])
    for one in seen - set(graph["workspace_members"]):
        crate = crates[one]
        licence = (crate["license"] or "unknown").replace("/", " OR ")
        yield Component("cargo", crate["name"], crate["version"], licence, "core")


def npm_packages() -> Iterator[Component]:
    """Packages that the web pages are made of or with."""
    lock = ROOT / "web" / "package-lock.json"
    if not lock.exists():
        return
    for path, one in json.loads(lock.read_text())["packages"].items():
        if path:
            name = path.rpartition("node_modules/")[2]
            used = "build" if one.get("dev") else "serve"
            yield Component("npm", name, one["version"], one.get("license", "unknown"), used)


def is_compatible(expression: str) -> bool:
    """Whether an SPDX expression leaves a choice that an Apache-2.0 program may take."""
    tokens = re.findall(r"\(|\)|[^\s()]+", re.sub(r" WITH \S+", "", expression))
    return _either(tokens) if tokens else False


def _either(tokens: list[str]) -> bool:
    """One alternative of `OR`, at the front of `tokens`, which are used up."""
    value = _all(tokens)
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        value = _all(tokens) or value
    return value


def _all(tokens: list[str]) -> bool:
    value = _one(tokens)
    while tokens and tokens[0] not in ("OR", ")"):
        if tokens[0] == "AND":
            tokens.pop(0)
        value = _one(tokens) and value
    return value


def _one(tokens: list[str]) -> bool:
    if not tokens:
        return False
    first = tokens.pop(0)
    if first == "(":
        value = _either(tokens)
        del tokens[:1]
        return value
    return first in COMPATIBLE


def sbom() -> str:
    """All of it as CycloneDX JSON."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component as Part
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.spdx import is_expression
    from packageurl import PackageURL

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    bom = Bom()
    bom.metadata.component = Part(
        name="unflux", version=version, type=ComponentType.APPLICATION, bom_ref="unflux"
    )
    parts = []
    for one in components():
        if one.needed_for == TEST_ONLY:
            continue
        namespace, _, name = one.name.rpartition("/")
        purl = PackageURL(one.ecosystem, namespace or None, name, one.version)
        kind = LicenseExpression if is_expression(one.licence) else DisjunctiveLicense
        licence = kind(one.licence) if kind is LicenseExpression else kind(name=one.licence)
        parts.append(
            Part(
                name=one.name,
                version=one.version,
                purl=purl,
                bom_ref=str(purl),
                licenses=[licence],
                type=ComponentType.LIBRARY,
            )
        )
    bom.components.update(parts)
    bom.register_dependency(bom.metadata.component, parts)
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    return text


def page() -> str:
    """The page of licences, without versions: they change more often than licences.

    Raises SystemExit where a pinned package is not installed: its row would be lost unseen.
    """
    found = components()
    absent = pinned() - {one.name for one in found if one.ecosystem == "pypi"}
    if absent:
        raise SystemExit(
            f"not installed here: {', '.join(sorted(absent))}; first "
            "pip install -c tools/constraints.txt '.[test,spark]'"
        )
    lines = [
        "# Licences of what unflux is made of\n",
        "unflux is Apache-2.0. Written by `python tools/components.py licences`; a test compares "
        "it with the pins of\nthe tests and the Rust and npm locks, and refuses licences that do "
        "not go with Apache-2.0. `tests` are never\ngiven to users.\n",
        "| package | from | licence | needed for |\n| --- | --- | --- | --- |",
    ]
    rows = {f"| {one.name} | {one.ecosystem} | {one.licence} | {one.needed_for} |": None
            for one in found}  # fmt: skip
    note = (
        "\nMPL-2.0 and LGPL-3.0 packages are installed unchanged beside unflux; nothing of them is "
        "copied into it.\nAddress tables and the Public Suffix List: see NOTICE."
    )
    return "\n".join([*lines, *rows, note]) + "\n"


def main() -> None:
    """See the module."""
    match sys.argv[1:]:
        case ["sbom", name]:
            Path(name).write_text(sbom() + "\n")
        case ["licences"]:
            PAGE.write_text(page(), encoding="utf-8")
        case _:
            raise SystemExit("usage: components.py sbom FILE | licences")


if __name__ == "__main__":
    main()
