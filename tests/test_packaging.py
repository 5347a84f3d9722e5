"""Packaging: the wheel in a clean environment, man pages, completions, components and licences."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT

WHEELS = Path(os.environ.get("UNFLUX_WHEELS", ROOT / ".venv" / "wheels"))
wheels = sorted(WHEELS.glob("unflux-*.whl"), key=lambda path: path.stat().st_mtime)
needs_wheel = pytest.mark.skipif(
    not wheels, reason="no wheel was built: `make test` does, or set UNFLUX_WHEELS to its directory"
)


def tool(name: str):
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def components():
    return tool("components")


@needs_wheel
def test_the_wheel_installs_into_a_clean_environment_and_works(tmp_path: Path) -> None:
    """Only with what it asks for: a dependency that is not declared fails here."""
    prefix = tmp_path / "clean"
    subprocess.run([sys.executable, "-m", "venv", prefix], check=True)
    pip = [prefix / "bin" / "python", "-m", "pip", "install", "--quiet"]
    pins = ["--disable-pip-version-check", "-c", ROOT / "tools" / "constraints.txt"]
    subprocess.run([*pip, *pins, wheels[-1]], check=True, timeout=600)
    environment = {"PATH": f"{prefix}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}

    def unflux(*words: str) -> str:
        command = [prefix / "bin" / "unflux", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert unflux("--version") == f"unflux {version}\n"
    assert "ip-location-db" in unflux("doctor")
    unflux("lab", "synth", "walk", "--hours", "1", "--out", "walk", "--format", "pcap")
    tables = ["--asn-db", "walk/asn.mmdb", "--country-db", "walk/country.mmdb"]
    found = json.loads(unflux("scan", "walk/upstream.pcap", "--json", *tables))
    assert found["summary"]["names"]["judged"] > 10
    share = prefix / "share"
    assert (share / "man" / "man1" / "unflux-scan.1").is_file()
    assert (share / "bash-completion" / "completions" / "unflux").is_file()


@needs_wheel
def test_the_wheel_is_for_every_python_and_every_usual_linux() -> None:
    assert "-cp311-abi3-" in wheels[-1].name
    with zipfile.ZipFile(wheels[-1]) as wheel:
        names = wheel.namelist()
    assert "unflux/enrich/data/asn.mmdb" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "rust/"))]
    auditwheel = shutil.which("auditwheel") or Path(sys.executable).with_name("auditwheel")
    if Path(auditwheel).exists():
        done = subprocess.run(
            [auditwheel, "show", wheels[-1]], capture_output=True, text=True, check=True
        )
        found = re.search(r"manylinux_2_(\d+)_", done.stdout)
        assert found, done.stdout
        assert int(found[1]) <= 36  # glibc of Debian 12


def test_man_pages_and_completions_are_those_of_the_commands() -> None:
    made = tool("make_man")
    files = made.files()
    there = {
        path.relative_to(made.DATA).as_posix() for path in made.DATA.rglob("*.*") if path.is_file()
    }
    there |= {path for path in made.COMPLETIONS.values() if (made.DATA / path).is_file()}
    assert there == set(files)
    for path, content in files.items():
        if path.startswith("man/"):
            assert (made.DATA / path).read_text() == content, "run tools/make_man.py"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_man_pages_are_good_roff() -> None:
    for page in sorted((ROOT / "packaging").rglob("*.1")):
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z", "-K", "utf8", page],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == "", page


def test_every_licence_goes_with_apache_2(components) -> None:
    found = components.components()
    wrong = [
        one for one in found
        if one.needed_for != components.TEST_ONLY and not components.is_compatible(one.licence)
    ]  # fmt: skip
    assert wrong == []
    assert {one.ecosystem for one in found} >= {"pypi", "cargo"}
    assert len(found) > 80


def test_licence_expressions_are_read(components) -> None:
    for good in ("MIT", "MIT OR GPL-3.0-only", "(GPL-2.0 OR MIT) AND Unicode-3.0",
                 "Apache-2.0 WITH LLVM-exception OR MIT"):  # fmt: skip
        assert components.is_compatible(good), good
    for bad in ("GPL-3.0-only", "MIT AND GPL-2.0", "(MIT OR ISC) AND SSPL-1.0", "", "unknown"):
        assert not components.is_compatible(bad), bad


def test_every_dependency_is_on_the_page_of_licences(components) -> None:
    """By the pins and the locks, so that it is the same on every machine: what is installed is not.

    Another Python or another day brings packages that no pin names; their licences are checked
    above all the same.
    """
    page = components.PAGE.read_text()
    wanted = {(name, "pypi") for name in components.pinned()}
    wanted |= {(one.name, "cargo") for one in components.rust_crates()}
    wanted |= {(one.name, "npm") for one in components.npm_packages()}
    missing = [one for one in sorted(wanted) if "| {} | {} |".format(*one) not in page]
    assert missing == [], "run tools/make_constraints.py, then tools/components.py licences"


def test_the_sbom_is_whole_and_valid(components) -> None:
    text = components.sbom()
    bom = json.loads(text)
    assert bom["bomFormat"] == "CycloneDX"
    found = {one["purl"] for one in bom["components"]}
    wanted = [one for one in components.components() if one.needed_for != components.TEST_ONLY]
    assert len(found) == len(wanted)
    assert any(purl.startswith("pkg:pypi/duckdb@") for purl in found)
    assert any(purl.startswith("pkg:cargo/maxminddb@") for purl in found)
    assert all(one.get("licenses") for one in bom["components"])


def test_every_dependency_of_the_tests_is_pinned_and_users_have_ranges() -> None:
    pinned = {}
    for line in (ROOT / "tools" / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            pinned[canonicalize_name(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for text in (one for group in groups for one in group):
        wanted = Requirement(text)
        if wanted.name == "unflux":  # its own extras
            continue
        version = pinned.get(canonicalize_name(wanted.name))
        assert version, f"{wanted.name}: run tools/make_constraints.py"
        assert wanted.specifier.contains(version), text
        assert "==" not in text


def test_nothing_in_the_package_is_dead() -> None:
    """By vulture; what it is not to name, and why, stands in pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-m", "vulture"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert "error" not in done.stderr.lower(), done.stderr
    dead = [line for line in done.stdout.splitlines() if line.startswith("src/")]
    assert dead == []
