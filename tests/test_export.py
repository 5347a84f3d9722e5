"""Exports: each is what its own ecosystem's library takes, the same again, and blocks no victim."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import dns.rdata
import jsonschema
import pymisp
import pytest
import stix2
import xarf
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT, Cli, a_response, flux_answers, udp_frame, write_pcap
from sharing import (
    GOLDEN,
    HOSTILE_LABELS,
    exported,
    exported_files,
    hostile_scan,
    lab_scan,
    lab_world,
    options_of,
)
from unflux import pipeline, sightings
from unflux.pipeline import Scan, ScanOptions
from unflux.share.case import Case, ExportOptions, Reporter, why_no_indicator
from unflux.share.csv import FORMULA_STARTS, guarded
from unflux.share.exports import EXPORTS, DirectoryExport, by_name
from unflux.share.text import HIDDEN, is_plain_name, visible
from unflux.share.xarf import VERSION

__all__ = ["hostile_scan", "lab_scan", "lab_world"]  # fixtures

ONE_FILE = [one.name for one in EXPORTS if not isinstance(one, DirectoryExport)]
REPORTER = Reporter("Lab CERT", "cert@lab.example")


def told(name: str, content: bytes) -> str:
    """What a golden file keeps of an export: all, but of MISP one line an attribute."""
    if name != "misp":
        return content.decode()
    event = json.loads(content)["Event"]
    lines = [f"{event['uuid']} {event['info']} {event['date']} {event['timestamp']}"]
    lines += [tag["name"] for tag in event["Tag"]]
    for made in event["Object"]:
        if made["name"] == "passive-dns":
            values = {one["object_relation"]: one["value"] for one in made["Attribute"]}
            lines.append(f"{made['uuid'][:8]} " + " ".join(map(str, values.values())))
            continue
        for one in made["Attribute"]:
            ids = "ids" if one["to_ids"] else "-"
            lines.append(f"{one['uuid']} {one['object_relation']} {one['value']} {ids}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", ONE_FILE)
def test_an_export_is_what_its_golden_file_says(name: str, lab_scan: Scan) -> None:
    settings = {"include_agents": "shared"} if name == "suricata-ip" else {}
    content, _ = exported(name, lab_scan, **settings)
    golden = GOLDEN / f"{name}.golden"
    if os.environ.get("UNFLUX_GOLDEN") == "write":
        golden.write_text(told(name, content), newline="")
    assert told(name, content) == golden.read_bytes().decode()


def test_abuse_reports_are_what_their_golden_files_say(lab_scan: Scan, tmp_path: Path) -> None:
    files, _ = exported_files("abuse", lab_scan, tmp_path, reporter=REPORTER)
    chosen = {name: files[name] for name in sorted(files) if name.startswith("domain-")}
    first = next(name for name in files if name.startswith("as"))
    chosen |= {first: files[first]}
    folder = GOLDEN / "abuse"
    if os.environ.get("UNFLUX_GOLDEN") == "write":
        folder.mkdir(exist_ok=True)
        for name, content in chosen.items():
            (folder / name).write_bytes(content)
    assert chosen == {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ONE_FILE)
def test_a_dataset_gives_the_same_export_as_the_capture(
    name: str, lab_scan: Scan, lab_world: Path, tmp_path: Path
) -> None:
    sightings.write_dataset(lab_scan.history, tmp_path / "dataset")
    again = pipeline.scan([tmp_path / "dataset"], options_of(lab_world))
    assert exported(name, again)[0] == exported(name, lab_scan)[0]


def stix_of(scan: Scan, **settings: object) -> list[dict]:
    content, _ = exported("stix", scan, **settings)
    bundle = stix2.parse(content.decode(), allow_custom=False)
    return [json.loads(one.serialize()) for one in bundle.objects]


def test_stix_parses_strictly_and_its_references_lead_somewhere(lab_scan: Scan) -> None:
    objects = stix_of(lab_scan)
    ids = {one["id"] for one in objects}
    assert len(ids) == len(objects)
    kinds = {one["type"] for one in objects}
    wanted = {"domain-name", "ipv4-addr", "autonomous-system", "infrastructure", "indicator",
              "relationship", "attack-pattern", "observed-data", "identity"}  # fmt: skip
    assert wanted <= kinds
    for one in objects:
        for key, value in one.items():
            if key.endswith(("_ref", "_refs")):
                assert set([value] if isinstance(value, str) else value) <= ids, (one["type"], key)
        kind, _, uuid = one["id"].partition("--")
        assert kind == one["type"]
        if kind not in ("attack-pattern", "marking-definition"):
            assert UUID(uuid).version == 5
    techniques = [
        one["target_ref"] for one in objects
        if one["type"] == "relationship" and one["target_ref"].startswith("attack-pattern")
    ]  # fmt: skip
    assert techniques == ["attack-pattern--29ba5a15-3b7b-4732-b817-65ea8f6468e6"] * 2


def test_stix_indicators_are_names_and_end(lab_scan: Scan) -> None:
    indicators = [one for one in stix_of(lab_scan, valid_days=3) if one["type"] == "indicator"]
    flux = {one.name: one for one in lab_scan.findings if one.is_flux}
    assert {one["pattern"] for one in indicators} == {
        f"[domain-name:value = '{name}']" for name in flux
    }
    for one in indicators:
        assert one["valid_from"] < one["valid_until"] <= "2026-01-08T04:00:00Z"
        assert "do not block" in one["description"]


def test_agents_become_indicators_only_when_asked_and_say_what_they_are(lab_scan: Scan) -> None:
    asked = [one for one in stix_of(lab_scan, include_agents="rotated")
             if one["type"] == "indicator" and "domain-name" not in one["pattern"]]  # fmt: skip
    assert len(asked) > 20
    for one in asked:
        assert one["indicator_types"] == ["compromised"]
        assert "do-not-block" in one["labels"]
    shared = [one for one in stix_of(lab_scan, include_agents="shared")
              if one["type"] == "indicator" and "domain-name" not in one["pattern"]]  # fmt: skip
    assert len(shared) < len(asked)


def test_an_identifier_stays_when_more_is_seen(lab_world: Path) -> None:
    half = options_of(lab_world)
    early = pipeline.scan(
        [lab_world / "answers.parquet"],
        options_of(lab_world, read=type(half.read)(until_us=1_767_582_000_000_000)),
    )
    late = pipeline.scan([lab_world / "answers.parquet"], half)
    before = {one["id"]: one for one in stix_of(early) if one["type"] == "infrastructure"}
    after = {one["id"]: one for one in stix_of(late) if one["type"] == "infrastructure"}
    assert before
    assert before.keys() <= after.keys()
    assert all(after[key]["modified"] > one["modified"] for key, one in before.items())


def misp_of(scan: Scan, **settings: object) -> pymisp.MISPEvent:
    content, _ = exported("misp", scan, **settings)
    event = pymisp.MISPEvent()
    event.load(content.decode())
    return event


def test_misp_loads_and_only_names_are_for_detection(lab_scan: Scan) -> None:
    event = misp_of(lab_scan)
    flux = {one.name for one in lab_scan.findings if one.is_flux}
    marked = [one for made in event.objects for one in made.attributes if one.to_ids]
    assert {(one.object_relation, one.value) for one in marked} == {
        ("domain", name) for name in flux
    }
    assert {made.name for made in event.objects} == {"domain-ip", "passive-dns"}
    assert {tag.name for tag in event.tags} == {
        'misp-galaxy:mitre-attack-pattern="Fast Flux DNS - T1568.001"',
        'misp-galaxy:first-dns="Dynamic DNS resolution: Fast flux"',
        "tlp:amber",
    }
    assert not event.published
    assert event.distribution == 0
    uuids = [one.uuid for made in event.objects for one in [made, *made.attributes]]
    assert len(set(uuids)) == len(uuids)


def test_misp_marks_agents_only_when_asked(lab_scan: Scan) -> None:
    event = misp_of(lab_scan, include_agents="answered")
    marked = [one for made in event.objects for one in made.attributes
              if one.to_ids and one.object_relation == "ip"]  # fmt: skip
    assert len(marked) > 20
    assert all("do not block" in one.comment for one in marked)


def zeek_rows(content: bytes) -> list[dict[str, str]]:
    head, *lines = content.decode().splitlines()
    assert head.startswith("#fields\t")
    columns = head.split("\t")[1:]
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert all(len(row) == len(columns) for row in rows)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_zeek_takes_names_and_agents_only_when_asked(lab_scan: Scan) -> None:
    content, case = exported("zeek", lab_scan)
    rows = zeek_rows(content)
    assert b"do not block" in content
    assert {row["indicator_type"] for row in rows} == {"Intel::DOMAIN"}
    assert len(rows) == case.n_indicators == 2
    with_agents = zeek_rows(exported("zeek", lab_scan, include_agents="rotated")[0])
    addresses = [r["indicator"] for r in with_agents if r["indicator_type"] == "Intel::ADDR"]
    assert len(addresses) > 20
    assert all(ip_address(address) for address in addresses)


def test_suricata_datasets_are_base64_names_and_plain_addresses(lab_scan: Scan) -> None:
    content, _ = exported("suricata", lab_scan)
    names = [base64.b64decode(line, validate=True).decode() for line in content.splitlines()]
    assert names == [one.name for one in lab_scan.findings if one.is_flux]
    nothing, case = exported("suricata-ip", lab_scan)
    assert nothing == b""
    assert any("--include-agents" in sentence for sentence in case.left_out)
    some, _ = exported("suricata-ip", lab_scan, include_agents="rotated")
    assert all(ip_address(line) for line in some.decode().splitlines())


def test_cof_reads_back_as_what_was_seen(lab_scan: Scan, tmp_path: Path) -> None:
    content, _ = exported("cof", lab_scan)
    path = tmp_path / "pdns.ndjson"
    path.write_bytes(content)
    history = sightings.reduce([path])
    assert history.inputs[0].source == "cof"
    assert history.inputs[0].books.decoded == len(content.splitlines())
    kept = ("owner", "rdtype", "rdata")
    back = {tuple(row[key] for key in kept) for row in history.sightings_table().to_pylist()}
    origin = lab_scan.history.sightings_table().to_pylist()
    assert back <= {tuple(row[key] for key in kept) for row in origin}
    for finding in lab_scan.findings:
        seen = {row["rdata"] for row in origin if row["owner"] == finding.name + "."}
        assert seen <= {rdata for owner, _, rdata in back if owner == finding.name + "."}
    for line in content.splitlines():
        row = json.loads(line)
        assert dns.rdata.from_text("IN", row["rrtype"], row["rdata"])
        assert row["time_first"] <= row["time_last"]
        assert row["count"] >= 1


@given(st.text())
def test_no_cell_of_a_spreadsheet_is_a_formula(text: str) -> None:
    cell = guarded(text)
    assert isinstance(cell, str)
    assert not cell.startswith(FORMULA_STARTS)
    assert not any(unicodedata.category(one) in HIDDEN for one in cell)


@pytest.mark.parametrize("name", ["csv", "csv-agents"])
def test_csv_has_a_row_for_each_and_no_formula(name: str, hostile_scan: Scan) -> None:
    content, _ = exported(name, hostile_scan)
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
    n_agents = sum(len(one.agent_list) for one in hostile_scan.findings)
    assert len(rows) == (len(hostile_scan.findings) if name == "csv" else n_agents)
    for row in rows:
        for cell in row.values():
            assert cell.isprintable()
            assert not cell.startswith(FORMULA_STARTS)
    assert any(row["name"].startswith("'=cmd") for row in rows)


ECS_SHAPE = {
    "type": "object",
    "required": ["@timestamp", "event", "rule", "threat", "dns", "flux"],
    "properties": {
        "@timestamp": {"type": "string", "format": "date-time"},
        "event": {
            "required": ["kind", "category", "severity", "reason"],
            "properties": {
                "kind": {"enum": ["alert", "event"]},
                "category": {"type": "array", "items": {"enum": ["network", "intrusion_detection"]}},
                "severity": {"type": "integer", "minimum": 0, "maximum": 100},
            },
        },
        "dns": {
            "properties": {
                "resolved_ip": {"type": "array", "items": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}}
            }
        },
        "client": {"properties": {"ip": {"type": "array"}}},
        "threat": {"required": ["technique"]},
    },
}  # fmt: skip


def test_ecs_is_what_scan_prints(lab_world: Path, lab_scan: Scan, cli: Cli) -> None:
    content, _ = exported("ecs", lab_scan)
    tables = [f"--{kind}-db={lab_world / kind}.mmdb" for kind in ("asn", "country")]
    done = cli("scan", lab_world / "answers.parquet", "--ndjson", *tables)
    assert done.stdout.encode() == content
    checker = jsonschema.FormatChecker()
    for line in content.splitlines():
        jsonschema.validate(json.loads(line), ECS_SHAPE, format_checker=checker)


def test_abuse_reports_are_valid_xarf_and_leave_out_what_is_not_proven(
    lab_scan: Scan, tmp_path: Path
) -> None:
    files, case = exported_files("abuse", lab_scan, tmp_path, reporter=REPORTER)
    documents = [
        json.loads(line) for name, content in files.items() if name.endswith(".xarf.jsonl")
        for line in content.splitlines()
    ]  # fmt: skip
    assert {one["xarf_version"] for one in documents} == {VERSION}
    for document in documents:
        result = xarf.parse(json.dumps(document))
        assert not result.errors, result.errors
        for item in document["evidence"]:
            assert base64.b64decode(item["payload"], validate=True).startswith(b"name,")
    flux = [one for one in lab_scan.findings if one.is_flux]
    evidence = {
        agent.address: agent.evidence
        for one in flux
        for agent in one.agent_list
        if agent.special is None  # decoys are nobody's machines
    }
    reported = {one["source_identifier"]: one for one in documents if one["type"] == "botnet"}
    assert reported.keys() == {
        address for address, level in evidence.items() if level in ("shared", "rotated")
    }
    assert {one["source_identifier"] for one in documents} - reported.keys() == {
        one.registered_domain for one in flux
    }
    assert case.n_indicators == len(flux)
    last = {agent.address: agent.last_seen for one in flux for agent in one.agent_list}
    texts = {name: content.decode() for name, content in files.items() if name.endswith(".txt")}
    for address in reported:
        [name] = [
            name for name, text in texts.items() if f"\n{address} " in text and name[0] == "a"
        ]
        assert last[address][:16].replace("T", " ") in texts[name]
        assert "victims" in texts[name]
        assert "cert@lab.example" in texts[name]


def test_what_is_not_proven_is_no_indicator(
    lab_scan: Scan, lab_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    ambiguous = [one for one in lab_scan.findings if one.verdict == "ambiguous"]
    assert ambiguous
    for name in ("stix", "misp", "zeek", "suricata"):
        content, _ = exported(name, lab_scan, include_agents="answered")
        for one in ambiguous:
            assert one.name.encode() not in content
            assert base64.b64encode(one.name.encode()) not in content.splitlines()
    addresses = [f"198.18.{number}.7" for number in range(10)]
    capture = write_pcap(
        tmp_path / "once.pcap", [(1.79e9, udp_frame(a_response("once.test.", 300, addresses)))]
    )
    once = pipeline.scan([capture], ScanOptions(asn_db=lab_tables[0], country_db=lab_tables[1]))
    low = [one for one in once.findings if one.is_flux]
    assert [one.name for one in low] == ["once.test"]
    assert all("low" in (why_no_indicator(one) or "") for one in low)
    for name in ("stix", "misp", "zeek", "suricata"):
        content, case = exported(name, once)
        assert case.n_indicators == 0
        assert [one for one in case.left_out if "confidence is low" in one]
    assert content == b""


@pytest.mark.parametrize("name", ["stix", "misp", "zeek", "suricata", "suricata-ip"])
def test_names_that_are_no_host_names_stay_at_home(name: str, hostile_scan: Scan) -> None:
    content, case = exported(name, hostile_scan, include_agents="answered")
    assert case.left_out["names that are no host names"] >= len(HOSTILE_LABELS)
    assert b"<script>alert(1" not in content
    text = content.decode()
    assert all(character.isprintable() or character in "\n\t" for character in text)
    if name == "stix":
        stix2.parse(text, allow_custom=False)


def test_abuse_reports_show_hostile_networks_as_text(hostile_scan: Scan, tmp_path: Path) -> None:
    files, _ = exported_files("abuse", hostile_scan, tmp_path)
    for name, content in files.items():
        assert Path(name).name == name
        if name.endswith(".txt"):
            text = content.decode()
            assert all(one.isprintable() or one == "\n" for one in text)


@given(st.text())
def test_what_is_made_visible_has_nothing_hidden(text: str) -> None:
    assert not any(unicodedata.category(one) in HIDDEN for one in visible(text))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.test", True),
        ("_dmarc.a-b.test", True),
        ("xn--bcher-kva.example", True),
        ("test", False),
        ("a.test.", False),
        ("-a.test", False),
        ("a\\032b.test", False),
        ("a..test", False),
        ("a" * 64 + ".test", False),
        (".".join(["a" * 60] * 5), False),
        ("a.test\n", False),
    ],
)
def test_plain_names_are_what_every_tool_writes(name: str, plain: bool) -> None:
    assert is_plain_name(name) is plain


def test_too_many_agents_are_counted_not_listed(
    lab_scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unflux.share.case.MAX_AGENTS", 10)
    case = Case(lab_scan)
    finding = next(one for one in lab_scan.findings if one.is_flux)
    kept = case.agents(finding)
    assert len(kept) == 10
    dropped = len(finding.agent_list) - 10
    assert case.left_out["agents beyond 10 of a name"] == dropped
    latest = sorted((one.last_seen for one in finding.agent_list), reverse=True)[:10]
    assert sorted((one.last_seen for one in kept), reverse=True) == latest


@pytest.mark.parametrize(
    "settings", [{"include_agents": "all"}, {"tlp": "purple"}, {"valid_days": 0}]
)
def test_options_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="--"):
        ExportOptions(**settings)


@pytest.mark.parametrize("export", EXPORTS, ids=lambda one: one.name)
def test_every_export_is_in_the_docs_and_the_help(export) -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    assert f"`{export.name}`" in page
    assert by_name(export.name) is export


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    frames = [(1.79e9 + 300 * n, udp_frame(wire)) for n, wire in enumerate(flux_answers(12))]
    return write_pcap(tmp_path / "flux.pcap", frames)


def test_the_command_writes_to_a_pipe_a_file_and_a_directory(
    cli: Cli, capture: Path, tmp_path: Path
) -> None:
    piped = cli("export", "suricata", capture)
    assert (piped.returncode, piped.stdout) == (0, "Zmx1eC50ZXN0\n")
    assert "agents are no indicators" in piped.stderr
    assert "1 name as indicators" in piped.stderr
    out = tmp_path / "stix.json"
    assert cli("export", "stix", capture, "--out", out).returncode == 0
    assert stix2.parse(out.read_text()).type == "bundle"
    folder = tmp_path / "reports"
    done = cli("export", "abuse", capture, "--out", folder)
    assert done.returncode == 0
    assert "--contact" in done.stderr
    assert (folder / "domain-flux.test.txt").is_file()
    again = cli("export", "abuse", capture, "--out", folder)
    assert (again.returncode, "not empty" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["stixx"], 2, "known ones: stix, misp"),
        (["abuse"], 2, "--out"),
        (["csv", "--tlp", "blue"], 2, "--tlp"),
        (["csv", "--include-agents", "some"], 2, "--include-agents"),
        (["csv", "--out", "."], 1, "is a directory"),
        (["csv", "--min-score", "nan"], 2, "--min-score"),
    ],
)
def test_what_cannot_be_exported_is_said(
    cli: Cli, capture: Path, words: list[str], code: int, says: str
) -> None:
    done = cli("export", words[0], capture, *words[1:])
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_input_that_is_gone_does_not_empty_the_export_of_yesterday(
    cli: Cli, tmp_path: Path
) -> None:
    zone = tmp_path / "rpz.zone"
    zone.write_text("yesterday's\n")
    done = cli("export", "rpz", tmp_path / "absent", "--out", zone)
    assert done.returncode == 1
    assert "none of these could be read: nothing was written" in done.stderr
    assert zone.read_text() == "yesterday's\n"


@pytest.mark.parametrize(("name", "package"), [("stix", "stix2"), ("misp", "pymisp")])
def test_a_missing_library_is_one_sentence(
    name: str, package: str, capture: Path, tmp_path: Path
) -> None:
    (tmp_path / f"{package}.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "unflux", "export", name, str(capture)],
        env=os.environ | {"PYTHONPATH": path}, cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'unflux[export]'" in done.stderr
    assert "Traceback" not in done.stderr
