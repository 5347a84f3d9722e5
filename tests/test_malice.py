"""Malice: hostile names at the terminal, hostile tables, scenarios and paths do no harm."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from pathlib import Path

import dns.message
import dns.name
import dns.rrset
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ROOT, Cli, flux_answers, udp_frame, write_pcap
from unflux import _native, enrich, sightings, tables
from unflux.enrich import mmdb
from unflux.errors import Unavailable, UnfluxError
from unflux.lab import scenarios

sys.path.insert(0, str(ROOT / "bench"))
import mimicry

START = 1_790_000_000.0
EVIL = b"\x1b]0;owned\x07\x1b[2Jx\x9b31m\r\x08\x00\xe2\x80\xae"
"""Sets the title, clears the screen, colours (C1, too), goes back, ends a string, turns text round."""


def hostile_capture(path: Path) -> Path:
    """Fast flux under a name of escape sequences."""
    name = dns.name.Name([EVIL, b"flux", b"test", b""])
    packets = []
    for number, wire in enumerate(flux_answers(12)):
        message = dns.message.from_wire(wire)
        message.question[0].name = name
        for rrset in message.answer:
            rrset.name = name
        packets.append((START + 600 * number, udp_frame(message.to_wire())))
    return write_pcap(path, packets)


def harmless(text: str) -> bool:
    """Nothing in it moves a cursor, sets a title, or turns text round."""
    bad = {"Cc", "Cf", "Zl", "Zp"}
    return all(one == "\n" or unicodedata.category(one) not in bad for one in text)


@pytest.fixture(scope="module")
def evil_tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An AS table and a country table full of escape sequences; ESC c alone resets a terminal."""
    folder = tmp_path_factory.mktemp("evil")
    text = EVIL.decode("latin-1")
    first, last = 0xC6120000, 0xC613FFFF
    record = {"autonomous_system_number": 64_512, "autonomous_system_organization": text}
    mmdb.write([(first, last, record)], folder / "asn.mmdb", kind=text, built_at_s=1_790_000_000)
    rows = [(first, last, {"country_code": "\x1bc"})]
    mmdb.write(rows, folder / "country.mmdb", kind="lab", built_at_s=1_790_000_000)
    return folder / "asn.mmdb", folder / "country.mmdb"


def test_names_and_tables_cannot_command_a_terminal(
    cli: Cli, evil_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dir"
    folder.mkdir()
    capture = hostile_capture(folder / "a\x1b[31m\x07.pcap")
    (folder / "\x1b]0;x\x07.txt").write_text("no log")
    write_pcap(folder / "\x1bcut.pcap", [(START, b"x" * 60)]).write_bytes(b"\xd4\xc3\xb2\xa1")
    options = ["--asn-db", evil_tables[0], "--country-db", evil_tables[1]]
    scan = cli("scan", folder, "--min-score", "0", *options)
    assert r"\x1b" in scan.stdout or r"\027" in scan.stdout
    name = json.loads(cli("scan", capture, "--min-score", "0", "--json").stdout)["findings"][0][
        "name"
    ]
    explain = cli("explain", name, capture, *options)
    assert explain.returncode == 0
    outputs = [scan, explain, cli("doctor", *options), cli("explain", EVIL[1:6].decode(), capture)]
    outputs.append(cli("scan", tmp_path / "\x1b[31mabsent"))
    outputs.append(cli("scan", capture, "--detector", "\x1b[31m"))
    outputs.append(cli("lab", "synth", "\x1b[31m", "--out", tmp_path / "out"))
    for done in outputs:
        assert harmless(done.stdout), done.args
        assert harmless(done.stderr), done.args
        assert "Traceback" not in done.stderr


def test_text_logs_cannot_command_a_terminal(cli: Cli, tmp_path: Path) -> None:
    line = {
        "ts": START, "id.orig_h": "198.19.254.1", "id.resp_h": "198.19.255.53", "proto": "udp",
        "query": EVIL.decode("latin-1") + ".test", "qtype_name": "A", "rcode_name": "NOERROR",
        "answers": ["198.18.0.1", EVIL.decode("latin-1")], "TTLs": [60.0, 60.0], "uid": "C1",
        "id.orig_p": 4711, "id.resp_p": 53, "trans_id": 7, "qtype": 1, "rcode": 0,
    }  # fmt: skip
    log = tmp_path / "dns.log"
    log.write_text("".join(json.dumps(line | {"ts": START + n}) + "\n" for n in range(3)))
    done = cli("scan", log, "--min-score", "0")
    assert harmless(done.stdout)
    assert harmless(done.stderr)


def an_mmdb(path: Path) -> bytes:
    record = {"autonomous_system_number": 64_512, "autonomous_system_organization": "Lab"}
    rows = [(0xC6120000 + 256 * n, 0xC61200FF + 256 * n, record) for n in range(0, 64, 2)]
    mmdb.write(rows, path, kind="lab", built_at_s=1_790_000_000)
    return path.read_bytes()


def look_up(path: Path) -> None:
    """Read every address of a table, or raise what the command turns into a sentence."""
    table = enrich.load(path, None)
    addresses = pa.array(
        [f"198.18.{n}.1" for n in range(64)] + ["::1", "2001:db8::1", "255.255.255.255"]
    )
    assert _native.locate(addresses, table.asn.table if table.asn else None, None).num_rows == 67


def test_a_table_cut_anywhere_or_with_any_byte_wrong_does_no_harm(tmp_path: Path) -> None:
    content = an_mmdb(tmp_path / "good.mmdb")
    look_up(tmp_path / "good.mmdb")
    path, read, refused = tmp_path / "bad.mmdb", 0, 0
    variants = [content[:length] for length in range(0, len(content), 7)]
    for place in range(0, len(content), 3):
        for value in (0x00, 0xFF, content[place] ^ 0x20):
            variants.append(content[:place] + bytes([value]) + content[place + 1 :])
    for one in variants:
        path.write_bytes(one)
        try:
            look_up(path)
            read += 1
        except Unavailable as error:
            assert "bad.mmdb cannot be read" in str(error)
            refused += 1
    assert read > 100
    assert refused > 100


def test_loops_in_a_table_end(tmp_path: Path) -> None:
    content = an_mmdb(tmp_path / "good.mmdb")
    start = content.index(mmdb.DATA_SEPARATOR)
    tree_loop = b"\x00\x00\x00" * (start // 3) + content[start:]  # every node leads to the first
    (tmp_path / "tree.mmdb").write_bytes(tree_loop)
    look_up(tmp_path / "tree.mmdb")
    data = start + len(mmdb.DATA_SEPARATOR)
    for pointer in (b"\x20\x00", b"\xe1\x20\x00", b"\x01\x04\x20\x00" * 4):
        # a pointer to itself; a map of itself; arrays of arrays of themselves
        path = tmp_path / "data.mmdb"
        path.write_bytes(content[:data] + pointer + content[data + len(pointer) :])
        look_up(path)


def test_a_table_from_beyond_the_calendar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "late.mmdb"
    mmdb.write([(1, 2, {"asn": 1})], path, kind="lab", built_at_s=2**40)
    with pytest.raises(Unavailable, match="after year 9999"):
        enrich.load(path, None)


HOSTILE_SCENARIOS = {
    "deep": "a = " + "[" * 100_000 + "]" * 100_000,
    "digits": "hours = 1" + "0" * 5_000,
    "bytes": "\x00\x01",
    "infinite": 'hours = inf\n[[service]]\npreset = "static"',
    "nan": 'hours = 1\n[[service]]\npreset = "static"\nttl_s = [1, nan]',
    "huge": 'hours = 1\n[[service]]\npreset = "static"\ndomains = 500000\ncount = 1000',
    "many": "hours = 1\n" + "[[service]]\n" * 5_000,
    "count": 'hours = 1\n[[service]]\npreset = "static"\ncount = 1.5',
    "preset": 'hours = 1\n[[service]]\npreset = ["static"]',
    "name": 'hours = 1\n[[service]]\npreset = "static"\nname = "../../x\\u001b[31m"',
    "kinds": 'hours = 1\n[[service]]\npreset = "static"\nnetworks = [["access"]]',
    "service": "hours = 1\nservice = [1, 2]",
    "labels": 'hours = 1\n[[service]]\npreset = "static"\nlabels = ["a b", "\\n"]',
}


@pytest.mark.parametrize("kind", HOSTILE_SCENARIOS)
def test_a_hostile_scenario_is_refused_with_sentences(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.toml"
    path.write_text(HOSTILE_SCENARIOS[kind])
    with pytest.raises(UnfluxError, match=r"hostile\.toml"):
        scenarios.load(str(path))


def test_a_parquet_file_of_somebody_else_or_with_lies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for metadata in ({b"unflux.table": b"\xff"}, {b"unflux.table": b"sightings"}, {}):
        schema = pa.schema([("a", pa.int64())], metadata=metadata)
        pq.write_table(pa.table({"a": [1]}, schema=schema), path)
        [one] = sightings.reduce([path]).inputs
        assert one.books.error
    wrong = tables.SIGHTINGS.with_metadata(tables.SIGHTINGS.metadata)
    columns = {field.name: pa.nulls(2, field.type) for field in wrong}
    pq.write_table(
        pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in wrong], wrong.metadata)),
        path,
    )
    [one] = sightings.reduce([path]).inputs
    assert one.books.error or sum(tally.count for tally in one.books.malformed.values())


def test_out_never_writes_over_or_through_what_is_there(cli: Cli, tmp_path: Path) -> None:
    capture = hostile_capture(tmp_path / "a.pcap")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(kept)
    for out in (kept, link, kept / "mine", tmp_path / "kept" / ".." / "kept"):
        done = cli("scan", capture, "--out", out)
        assert done.returncode == 1
        assert "is not empty" in done.stderr
    assert [path.name for path in kept.iterdir()] == ["mine"]
    done = cli("scan", capture, "--out", tmp_path / "new" / "below")
    assert done.returncode == 0
    below = {path.relative_to(tmp_path / "new").parts[0] for path in (tmp_path / "new").rglob("*")}
    assert below == {"below"}  # no name of the capture became a path
    page = (tmp_path / "new" / "below" / "report.html").read_text()
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x80-\x9f\u202e]", page)


def test_an_innocent_name_with_a_few_forged_answers_is_not_called_flux(tmp_path: Path) -> None:
    """Poisoning, a quarter of a day of it; `bench/mimicry.py` tells what more forged answers do."""
    for n_forged in (1, 3, 10):
        finding = mimicry.poison(tmp_path, n_forged=n_forged, n_genuine=200)
        assert not finding.is_flux
        assert "mixed_answers" in [one.name for one in finding.benign_explanations if one.match]
    # Nothing but forged answers cannot be told from flux.
    assert mimicry.poison(tmp_path, n_forged=12, n_genuine=0).is_flux


def test_mimicry_is_measured(tmp_path: Path) -> None:
    """A network as it is is found; one with a delivery network's TTL at least not called clean."""
    plain = mimicry.measure("plain", tmp_path / "plain", hours=3)
    assert plain.n_flux == plain.n_caught == 8
    tuned = mimicry.measure("cdn_ttl", tmp_path / "tuned", hours=3)
    assert tuned.n_caught + tuned.n_ambiguous == tuned.n_flux == 8
    assert plain.n_false == tuned.n_false == 0
