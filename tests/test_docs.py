"""Docs say what is: generated pages are fresh, every room's page exists, every command runs."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Cli
from unflux.detect import DETECTORS
from unflux.lab.live import doctor as live_doctor
from unflux.sources import SOURCES

DOCS = ROOT / "docs"


def make_docs():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "tools" / "make_docs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["tables.md", "features.md", "counts.md", "cli.md"])
def test_generated_pages_are_fresh(name: str) -> None:
    fresh = make_docs().PAGES[name]()
    assert (DOCS / name).read_text(encoding="utf-8") == fresh, "run tools/make_docs.py"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_source_has_its_page(source) -> None:
    page = DOCS / "sources" / f"{source.name}.md"
    assert "goes wrong" in page.read_text(encoding="utf-8"), f"write {page}"


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.id)
def test_every_detector_has_its_page(detector) -> None:
    page = (DOCS / "detectors" / f"{detector.id}.md").read_text(encoding="utf-8")
    assert f"(version {detector.version})" in page
    assert "goes wrong" in page


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def sessions() -> list[list[str]]:
    """The `unflux …` lines of each ```sh block, in the order in which a reader types them."""
    blocks = [
        block
        for page in pages()
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    ]
    found = [[line.split("#")[0].strip() for line in block.splitlines()] for block in blocks]
    typed = [[line for line in lines if line.startswith("unflux ")] for lines in found]
    return [list(lines) for lines in dict.fromkeys(map(tuple, typed)) if lines]


@pytest.fixture(scope="session")
def example() -> Path:
    shutil.rmtree(ROOT / "examples" / "out" / "walk", ignore_errors=True)  # made by a command
    subprocess.run([sys.executable, "examples/make_example.py"], cwd=ROOT, check=True)
    return ROOT / "examples" / "out" / "flux-example.pcap"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_format_is_listed_with_a_sample(source) -> None:
    page = (DOCS / "sources" / "README.md").read_text(encoding="utf-8")
    row = rf"^\| \[{source.name}\]\({source.name}\.md\) \| .+ \| `(.+)` \|$"
    [sample] = re.findall(row, page, re.MULTILINE)
    assert (ROOT / sample).is_file()


@pytest.mark.parametrize("session", sessions(), ids="; ".join)
def test_every_command_of_the_docs_runs(
    session: list[str], cli: Cli, example: Path, tmp_path: Path
) -> None:
    stand_ins = {
        "capture.pcap": str(example),
        "/var/log/zeek/dns.log.gz": str(example),
        "answers.parquet": str(tmp_path / "answers.parquet"),
        "/var/log/dns": str(example.parent),
        "features.parquet": str(tmp_path / "features.parquet"),
        "history": str(tmp_path / "history"),
        "out": str(tmp_path / "out"),
        "flux.json": str(tmp_path / "flux.json"),
        "pictures": str(tmp_path / "pictures"),
        **dict.fromkeys(("at-agent.pcap", "at-next-hop.pcap"), str(example)),
        "watch.toml": str(tmp_path / "watch.toml"),
        "state": str(tmp_path / "state"),
        "/tmp/walk": str(tmp_path / "walk"),  # noqa: S108  what the page says, not what is used
        "/tmp/live": str(tmp_path / "live"),  # noqa: S108
        "/tmp/live-walk": str(tmp_path / "live-walk"),  # noqa: S108
    }
    if any(command.startswith(("unflux lab run", "unflux lab walk")) for command in session):
        lacking = live_doctor.missing(live_doctor.examine())
        if lacking:
            pytest.skip(f"no live lab can run here: {lacking[0].detail}")
    (tmp_path / "state" / "sightings").mkdir(parents=True)  # as a watch leaves it
    (tmp_path / "watch.toml").write_text('dnstap = "unix:/tmp/tap.sock"\n')
    for command in session:
        words = [stand_ins.get(word, word) for word in shlex.split(command)[1:]]
        words = [word.replace("/tmp/live/", f"{tmp_path}/live/") for word in words]  # noqa: S108
        words = [word.replace("/tmp/small", f"{tmp_path}/small") for word in words]  # noqa: S108
        done = cli(*words)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_make_has_the_two_commands_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"\n{target}:" in makefile
        assert f"make {target}" in (ROOT / "README.md").read_text(encoding="utf-8")
