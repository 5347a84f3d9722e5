"""CONTRIBUTING's recipes, run as they stand there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from conftest import ROOT, a_response, udp_frame, write_pcap
from unflux import detect, pipeline, sightings, sources
from unflux.pipeline import ScanOptions


def recipe(name: str, class_name: str) -> type:
    """The class that the code block with `# recipe: NAME` defines."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    [code] = [block for block in map(textwrap.dedent, blocks) if f"# recipe: {name}" in block]
    namespace: dict[str, object] = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), namespace)  # noqa: S102  our own text
    found = namespace[class_name]
    assert isinstance(found, type)
    return found


def test_add_an_input_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = recipe("source", "CsvLog")()
    monkeypatch.setattr(sources, "SOURCES", (*sources.SOURCES, source))
    path = tmp_path / "log.csv"
    path.write_text(
        "time,client,qname,address,ttl\n"
        "1790000000.5,198.19.254.1,A.test,198.18.0.1,60\n"
        "1790000001.5,198.19.254.1,a.test,nonsense,60\n"
        "1790000002.5,198.19.254.1,a.test,2001:db8::1,60\n"
    )
    history = sightings.reduce([path])
    [one] = history.inputs
    assert one.source == "csvlog"
    assert one.books.balanced
    assert (one.books.items, one.books.decoded) == (3, 2)
    assert one.books.malformed["bad_field"].first == 3
    assert sorted(history.sightings_table().column("rdata").to_pylist()) == [
        "198.18.0.1",
        "2001:db8::1",
    ]


def test_add_a_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab_tables: tuple[Path, Path]
) -> None:
    detector = recipe("detector", "CisaNaive")()
    monkeypatch.setattr(detect, "DETECTORS", (*detect.DETECTORS, detector))
    many = [f"198.18.0.{host}" for host in range(1, 11)]
    frames = [
        (1_790_000_000.0, udp_frame(a_response("many.test.", 300, many))),
        (1_790_000_001.0, udp_frame(a_response("few.test.", 300, many[:2]))),
    ]
    options = ScanOptions(asn_db=lab_tables[0], detector_id="cisa_naive", min_score=0)
    result = pipeline.scan([write_pcap(tmp_path / "a.pcap", frames)], options)
    verdicts = {finding.name: finding.verdict for finding in result.findings}
    assert verdicts == {"many.test": "single_flux", "few.test": "not_flux"}
    assert result.findings[0].detector.id == "cisa_naive"
