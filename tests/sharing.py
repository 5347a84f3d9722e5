"""Worlds that the tests of exports and of the report share: a small lab, and a hostile capture."""

from __future__ import annotations

import io
from ipaddress import ip_address
from pathlib import Path

import pytest

from conftest import ROOT, a_response, udp_frame, write_pcap
from unflux import pipeline
from unflux.enrich import mmdb
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.pipeline import Scan, ScanOptions
from unflux.share.case import Case, ExportOptions
from unflux.share.exports import DirectoryExport, by_name

GOLDEN = ROOT / "tests" / "golden" / "exports"
START = 1_790_000_000.0

HOSTILE_LABELS = {
    "script": b"<script>alert(1)</script>",
    "attribute": b"\"onload=alert(1) x='",
    "formula": b"=cmd|'/c calc'!A0",
    "right_to_left": "\u202egpj.exe".encode(),
    "control": b"\x1b[31m\x00\x07\r\n\t",
    "markup_end": b"-->]]></svg><img src=x onerror=1>",
}
HOSTILE_ORGANISATION = "</title><script>alert(2)</script>\u202e\u2066=HYPERLINK(1)\x1b[2J\t|x"


def long_name() -> bytes:
    """A label of 63 bytes, four times: 255 bytes on the wire with its root."""
    return b"\x3f" + b"w" * 63 + b"\x3f" + b"x" * 63 + b"\x3f" + b"y" * 63 + b"\x3d" + b"z" * 61


@pytest.fixture(scope="session")
def lab_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hours with one name of double flux, one of single flux and one that is ambiguous."""
    directory = tmp_path_factory.mktemp("sharing") / "world"
    synth(scenarios.load(str(GOLDEN / "world.toml")), directory, ["parquet"])
    return directory


def options_of(world: Path, **settings: object) -> ScanOptions:
    return ScanOptions(
        asn_db=world / "asn.mmdb",
        country_db=world / "country.mmdb",
        **settings,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="session")
def lab_scan(lab_world: Path) -> Scan:
    return pipeline.scan([lab_world / "answers.parquet"], options_of(lab_world))


@pytest.fixture(scope="session")
def hostile_scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """Flux under names, and in networks, that attack whoever prints them."""
    folder = tmp_path_factory.mktemp("hostile")
    start = int(ip_address("198.18.0.0"))
    asn_rows = [
        (start + 256 * number, start + 256 * number + 255,
         {"autonomous_system_number": 64_512 + number,
          "autonomous_system_organization": HOSTILE_ORGANISATION})
        for number in range(512)
    ]  # fmt: skip
    country_rows = [(start, start + 131_071, {"country_code": "DE"})]
    mmdb.write(asn_rows, folder / "asn.mmdb", kind="lab", built_at_s=int(START))
    mmdb.write(country_rows, folder / "country.mmdb", kind="lab", built_at_s=int(START))
    frames = []
    wires = [bytes([len(label)]) + label + b"\x04test" for label in HOSTILE_LABELS.values()]
    for place, owner in enumerate([*wires, long_name()]):
        for number in range(12):
            hosts = [(number * 7 + host + place * 60) % 500 for host in range(10)]
            addresses = [f"198.{18 + host // 256}.{host % 256}.{place + 1}" for host in hosts]
            wire = a_response("flux.test.", 300, addresses)
            wire = wire.replace(b"\x04flux\x04test", owner)
            frames.append((START + 300 * number + place, udp_frame(wire)))
    frames.sort(key=lambda frame: frame[0])
    capture = write_pcap(folder / "<b>hostile\u202e.pcap", frames)
    return pipeline.scan([capture], options_of(folder))


def exported(name: str, scan: Scan, **settings: object) -> tuple[bytes, Case]:
    """An export of one file, as bytes."""
    case = Case(scan, ExportOptions(**settings))  # type: ignore[arg-type]
    export = by_name(name)
    assert not isinstance(export, DirectoryExport)
    out = io.BytesIO()
    export.write(case, out)
    return out.getvalue(), case


def exported_files(
    name: str, scan: Scan, directory: Path, **settings: object
) -> tuple[dict[str, bytes], Case]:
    """An export of many files, by name."""
    case = Case(scan, ExportOptions(**settings))  # type: ignore[arg-type]
    export = by_name(name)
    assert isinstance(export, DirectoryExport)
    export.write_files(case, directory)
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}, case
