"""The command line as a user meets it: outputs, exit codes, sentences instead of tracebacks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from conftest import ROOT, Cli, a_response, flux_answers, udp_frame, write_pcap
from unflux import tables
from unflux.share import table

START = 1_790_000_000.0


@pytest.fixture
def flux_capture(tmp_path: Path) -> Path:
    frames = [
        (START + 300 * number, udp_frame(wire)) for number, wire in enumerate(flux_answers(12))
    ]
    frames.append((START + 5, udp_frame(a_response("plain.test.", 60, ["198.18.0.1"]))))
    frames.append((START + 6, udp_frame(b"\0" * 5)))
    return write_pcap(tmp_path / "flux.pcap", frames)


def last_record_at(capture: Path) -> int:
    """Offset of the last record: its header, Ethernet, IPv4, UDP and five bytes of payload."""
    return capture.stat().st_size - (16 + 14 + 20 + 8 + 5)


def test_json_is_one_object_as_designed(cli: Cli, flux_capture: Path) -> None:
    done = cli("scan", flux_capture, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert set(result) == {"summary", "findings"}
    [finding] = result["findings"]
    assert finding["name"] == "flux.test"
    assert finding["verdict"] == "single_flux"
    wanted = {"score", "confidence", "reasons", "benign_explanations", "agents", "clients",
              "first_seen", "last_seen", "blind_spots", "detector"}  # fmt: skip
    assert wanted <= set(finding)
    assert finding["clients"] == ["198.19.254.1"]
    assert finding["detector"] == {"id": "unflux", "version": 6}
    summary = result["summary"]
    counts = summary["counts"]
    assert counts["items"] == 14
    assert counts["items"] == counts["decoded"] + sum(counts["malformed"].values())
    assert counts["balanced"] is True
    assert summary["names"]["judged"] == 2
    assert sum(summary["names"]["by_verdict"].values()) == 2
    assert summary["inputs"][0]["malformed"] == {
        "short_dns_header": {"count": 1, "first": last_record_at(flux_capture)}
    }


def test_min_score_0_lists_every_name(cli: Cli, flux_capture: Path) -> None:
    done = cli("scan", flux_capture, "--json", "--min-score", "0")
    names = {one["name"]: one["verdict"] for one in json.loads(done.stdout)["findings"]}
    assert names == {"flux.test": "single_flux", "plain.test": "insufficient"}


def test_ndjson_has_ecs_keys(cli: Cli, flux_capture: Path) -> None:
    done = cli("scan", flux_capture, "--ndjson")
    [line] = [json.loads(line) for line in done.stdout.splitlines()]
    assert line["event"]["kind"] == "alert"
    assert line["threat"]["technique"]["subtechnique"]["id"] == ["T1568.001"]
    assert line["dns"]["question"]["name"] == "flux.test"
    assert line["@timestamp"] == line["flux"]["last_seen"]


def test_the_table_names_verdict_name_and_reason(cli: Cli, flux_capture: Path) -> None:
    done = cli("scan", flux_capture)
    assert "single_flux" in done.stdout
    assert "flux.test" in done.stdout
    assert "networks" in done.stdout
    assert "1 flux" in done.stdout
    assert "1 short_dns_header" in done.stdout


def test_control_characters_of_a_name_never_reach_the_terminal(cli: Cli, tmp_path: Path) -> None:
    evil = "\\027[31m[red].flux.test."
    answers = [wire.replace(b"\x04flux", b"\x04\x1b[3m") for wire in flux_answers(12)]
    frames = [(START + 300 * number, udp_frame(wire)) for number, wire in enumerate(answers)]
    done = cli("scan", write_pcap(tmp_path / "evil.pcap", frames))
    assert "\x1b[3m" not in done.stdout
    assert "\\027[3m.test" in done.stdout, evil


def test_fail_on_find_gives_3(cli: Cli, flux_capture: Path) -> None:
    assert cli("scan", flux_capture, "--fail-on-find").returncode == 3
    calm = cli("scan", flux_capture, "--fail-on-find", "--until", "1970-01-02")
    assert calm.returncode == 0


def test_standard_input_is_read(cli: Cli, flux_capture: Path) -> None:
    done = cli("scan", "-", "--json", stdin=flux_capture.read_bytes())
    assert json.loads(done.stdout)["findings"][0]["name"] == "flux.test"


def test_out_writes_findings_summary_and_a_dataset(
    cli: Cli, flux_capture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert cli("scan", flux_capture, "--out", out).returncode == 0
    assert json.loads((out / "findings.ndjson").read_text())["flux"]["name"] == "flux.test"
    assert json.loads((out / "summary.json").read_text())["names"]["judged"] == 2
    again = json.loads(cli("scan", out, "--json").stdout)
    first = json.loads(cli("scan", flux_capture, "--json").stdout)
    assert again["findings"] == first["findings"]
    twice = cli("scan", flux_capture, "--out", out)
    assert twice.returncode == 1
    assert "not empty" in twice.stderr


def test_explain_tells_everything(cli: Cli, flux_capture: Path) -> None:
    done = cli("explain", "FLUX.test", flux_capture)
    assert done.returncode == 0
    for word in ("Why", "Benign explanations tried", "Addresses", "Clients who asked", "retention"):
        assert word in done.stdout
    as_json = json.loads(cli("explain", "flux.test.", flux_capture, "--json").stdout)
    assert as_json["features"]["answers_max"] == 10
    absent = cli("explain", "nowhere.test", flux_capture)
    assert (absent.returncode, absent.stderr) == (1, "unflux: nowhere.test is not in the input\n")


def test_the_table_has_the_gravest_first_and_explain_the_clients_before_the_agents(
    cli: Cli, flux_capture: Path
) -> None:
    done = cli("explain", "flux.test", flux_capture)
    shown = done.stdout
    assert shown.index("Clients who asked") < shown.index("Addresses (")
    assert "not to be blocked" in shown
    assert "Z …" not in shown, "minutes are enough for people"
    why = shown[shown.index("Why (") : shown.index("Benign explanations")]
    weights = [int(one) for one in re.findall(r"^ +(\d+)%  ", why, re.M)]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] >= 1


def test_triage_takes_score_then_gravity_then_clients() -> None:
    rows = [
        SimpleNamespace(name=name, verdict=verdict, score=score, n_clients=n_clients)
        for name, verdict, score, n_clients in (
            ("e", "ambiguous", 0.3, 99),
            ("d", "single_flux", 0.7, 9),
            ("c", "ns_flux", 1.0, 54),
            ("b", "double_flux", 0.999, 1),
            ("a", "double_flux", 1.0, 4),
        )
    ]
    assert [one.name for one in table.in_triage_order(rows)] == ["a", "b", "c", "d", "e"]


def test_decode_writes_the_tables(cli: Cli, flux_capture: Path, tmp_path: Path) -> None:
    answers, sightings = tmp_path / "answers.parquet", tmp_path / "sightings.parquet"
    copy = tmp_path / "copy.pcap"
    copy.write_bytes(flux_capture.read_bytes())
    done = cli("decode", flux_capture, copy, "--to", answers, "--sensor", "s1")
    assert done.returncode == 0
    assert "14 items, 13 decoded" in done.stderr
    table = pq.read_table(answers)
    assert table.schema.equals(tables.ANSWERS)
    assert table.num_rows == 2 * (12 * 10 + 1)
    assert len(table.column("response").unique()) == 26
    assert table.column("sensor").unique().to_pylist() == ["s1"]
    assert cli("decode", flux_capture, "--to", sightings).returncode == 0
    assert pq.read_table(sightings).schema.equals(tables.SIGHTINGS)
    from_answers = json.loads(cli("scan", answers, "--json").stdout)
    assert from_answers["findings"][0]["name"] == "flux.test"
    assert cli("decode", flux_capture, "--to", tmp_path / "x.parquet").returncode == 2


def test_doctor_names_versions_formats_and_tables(cli: Cli) -> None:
    report = json.loads(cli("doctor", "--json").stdout)
    assert {"pcap", "pcapng", "dnstap", "zeek", "cof", "unflux"} <= set(report["formats"])
    assert report["tables"]["asn"]["kind"] == "lab"
    assert report["versions"]["unflux"]
    assert "duckdb" in cli("doctor").stdout


BAD_INPUTS = {
    "empty": (b"", "is empty"),
    "text": (b"just some text\n", "in no format that unflux knows"),
    "cut_header": (b"\xd4\xc3\xb2\xa1\x02\0", "ends inside its header"),
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_a_bad_file_gets_one_sentence(cli: Cli, tmp_path: Path, kind: str) -> None:
    content, sentence = BAD_INPUTS[kind]
    path = tmp_path / "x"
    path.write_bytes(content)
    done = cli("scan", path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_absent_and_directory_get_one_sentence(cli: Cli, tmp_path: Path) -> None:
    assert "cannot be read" in cli("scan", tmp_path / "absent").stderr
    assert "nothing in this directory" in cli("scan", tmp_path).stderr


def test_a_file_that_fails_on_reading_gets_one_sentence(cli: Cli) -> None:
    done = cli("scan", "/proc/self/mem")  # opens, and gives an error for the first byte
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot be read" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_gets_one_sentence(cli: Cli, flux_capture: Path) -> None:
    flux_capture.chmod(0)
    assert "cannot be read: Permission denied" in cli("scan", flux_capture).stderr


def test_one_bad_file_does_not_spoil_the_good_ones(
    cli: Cli, flux_capture: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"")
    done = cli("scan", bad, flux_capture, "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["findings"][0]["name"] == "flux.test"
    assert [entry["error"] for entry in result["summary"]["inputs"]] == ["is empty", None]
    strict = cli("scan", bad, flux_capture, "--strict")
    assert (strict.returncode, strict.stdout) == (1, "")
    assert strict.stderr == f"unflux: {bad}: is empty\n"
    malformed = cli("scan", flux_capture, "--strict")
    assert f"short_dns_header at {last_record_at(flux_capture)}" in malformed.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--vantage", "sideways"],
        ["--since", "yesterday"],
        ["--detector", "oracle"],
        ["--format", "punchcard"],
        ["--port", "70000"],
        ["--no-such-option"],
    ],
)
def test_wrong_usage_gives_2(cli: Cli, flux_capture: Path, arguments: list[str]) -> None:
    done = cli("scan", flux_capture, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_table_that_cannot_be_read_is_an_error(cli: Cli, flux_capture: Path) -> None:
    done = cli("scan", flux_capture, "--asn-db", flux_capture)
    assert done.returncode == 1
    assert "the asn table" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    pipe = tmp_path / "endless.log"
    os.mkfifo(pipe)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "unflux", "scan", "-", "--out", str(out)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(1.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in (130, -number)
    assert b"Traceback" not in errors
    assert not out.exists()


def test_a_closed_pipe_is_no_error(flux_capture: Path) -> None:
    command = f"{sys.executable} -m unflux scan {flux_capture} --ndjson --min-score 0 | true"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_version(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("unflux ")


def test_finding_does_not_depend_on_what_is_listed(cli: Cli, flux_capture: Path) -> None:
    done = cli("scan", flux_capture, "--fail-on-find", "--min-score", "1.5")
    assert done.returncode == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", "99999999999999999999"],
        ["--since", "-99999999999d"],
        ["--min-score", "nan"],
        ["--json", "--ndjson"],
    ],
)
def test_values_that_make_no_sense_give_2(
    cli: Cli, flux_capture: Path, arguments: list[str]
) -> None:
    done = cli("scan", flux_capture, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_pipe_is_read_like_a_file(flux_capture: Path) -> None:
    command = f"{sys.executable} -m unflux scan <(cat {flux_capture}) --json --min-score 0"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert json.loads(done.stdout)["summary"]["counts"]["decoded"] == 13


def test_a_name_that_is_no_utf8_is_no_problem(cli: Cli, flux_capture: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pcap"))
    odd.write_bytes(flux_capture.read_bytes())
    done = cli("scan", odd, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["summary"]["inputs"][0]["path"].endswith("caf\\xe9.pcap")


def test_explain_tells_of_files_it_could_not_read(cli: Cli, flux_capture: Path) -> None:
    done = cli("explain", "flux.test", flux_capture, "/absent")
    assert done.returncode == 1
    assert "single_flux" in done.stdout
    assert "/absent: cannot be read" in done.stderr


def test_huge_counts_of_strangers_do_no_harm(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "big.cof"
    lines = [
        {"rrname": "a.test", "rrtype": "A", "count": 2**64 - 1,
         "rdata": [f"198.18.{hour * 10 + host}.1" for host in range(10)],
         "time_first": 1_790_000_000 + 3600 * hour, "time_last": 1_790_000_000 + 3600 * hour}
        for hour in (0, 1, 0, 2)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = cli("scan", path, "--json")
    assert done.returncode == 0, done.stderr
    [finding] = json.loads(done.stdout)["findings"]
    assert finding["verdict"] == "single_flux"


def test_part_of_a_dataset_is_judged_by_whole_hours(cli: Cli, tmp_path: Path) -> None:
    # Four addresses a time out of many networks, like a volunteer pool, over two hours.
    start = START - START % 3600
    frames = []
    for number in range(24):
        hosts = [f"198.18.{(number * 4 + place) % 90}.7" for place in range(4)]
        wire = a_response("pool.test.", 130, hosts)
        frames.append((start + 300 * number, udp_frame(wire)))
    dataset = tmp_path / "dataset"
    assert cli("scan", write_pcap(tmp_path / "p.pcap", frames), "--save", dataset).returncode == 0
    since = str(start + 1800)
    [finding] = json.loads(cli("scan", dataset, "--json", "--since", since).stdout)["findings"]
    assert finding["verdict"] == "ambiguous"
    only = next(dataset.glob("sightings/*/*.parquet"))
    result = json.loads(cli("scan", only, "--json").stdout)
    assert [one["verdict"] for one in result["findings"]] == ["ambiguous"]
    assert any("no activity" in spot for spot in result["summary"]["blind_spots"])
