"""tshark as a second opinion on every real capture: the same records, the same counts.

Streams and fragments included, pcapng included, packed files included: tshark unpacks gzip, zstd
and lz4 itself, and gets xz unpacked.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import SHARED_DATA, needs_shared_data
from unflux import _native, sources
from unflux.sources.base import Books, ReadOptions
from unflux.sources.pcap import Pcap
from unflux.sources.pcapng import Pcapng

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

FIELDS = (
    "dns.resp.name", "dns.resp.type", "dns.resp.class", "dns.resp.ttl", "dns.a", "dns.aaaa",
    "dns.ns", "dns.cname", "dns.ptr.domain_name", "dns.mx.mail_exchange", "dns.soa.mname",
)  # fmt: skip
"""Names, types, classes and TTLs of all records; rdata of the types that matter, in order."""

# What both must see: standard queries answered on port 53, nothing malformed. Other ports, mDNS,
# NOTIFY and UPDATE are left out here as unflux leaves them out.
SEEN_BY_BOTH = (
    "(udp.port == 53 || tcp.port == 53) && dns.flags.response == 1 && dns.flags.opcode == 0 "
    "&& !icmp && !icmpv6 && !_ws.malformed && !_ws.short"
)

BEHIND_A_HOLE = (
    "unflux goes on with the next message behind lost bytes of a stream, tshark does not"
)

# Captures in which the two disagree for a reason, each looked at by hand.
DISAGREE = {
    "dns__dns-corrupt-additionals__input.pcap": "unflux refuses the message, tshark shows its head",
    "dns-svcb-rdlength-mismatch.pcap": "the target is longer than its rdata",
    "dns-edns-ecs-bad.pcap": "EDNS options that lie about their length: unflux reads none",
    "dns-edns-bad-length.pcap": "EDNS options that lie about their length: unflux reads none",
    "loc-invalid-length.pcap": "LOC rdata of a wrong length: unflux keeps LOC as it is (RFC 3597)",
    "dns__dns-udp-eve-log-srv__input.pcap": "tshark has no dns.resp.name for SRV",
    "dns__v2__dns-udp-eve-log-srv__input.pcap": "tshark has no dns.resp.name for SRV",
    "src__test__resources__pcap__sidnlabs-test-tcp-stream-continued.pcap.gz": BEHIND_A_HOLE,
    "src__test__dnso1tcp-bighole.pcap": BEHIND_A_HOLE,
    "src__test__dnso1tcp-midmiss.pcap": BEHIND_A_HOLE,
}

RDATA_FIELD = {
    "A": "dns.a", "AAAA": "dns.aaaa", "NS": "dns.ns", "CNAME": "dns.cname",
    "PTR": "dns.ptr.domain_name", "MX": "dns.mx.mail_exchange", "SOA": "dns.soa.mname",
}  # fmt: skip


def captures(*folders: str) -> list[Path]:
    """Captures below folders of the shared data, packed ones included."""
    found = [path for folder in folders for path in (SHARED_DATA / folder).rglob("*")]
    return sorted(path for path in found if path.is_file() and source_of(path) is not None)


def source_of(path: Path) -> Pcap | Pcapng | None:
    source = sources.choose(path)
    return source if isinstance(source, Pcap | Pcapng) else None


@pytest.fixture(scope="session")
def household(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The many small captures of household devices as one: one run of tshark instead of 114."""
    merged = tmp_path_factory.mktemp("iot") / "iot.pcap"
    files = [str(path) for path in captures("benign/iot")]
    subprocess.run(["mergecap", "-a", "-F", "pcap", "-w", str(merged), *files], check=True)
    return merged


def ours(path: Path) -> tuple[list[dict], Books]:
    rows: list[dict] = []
    source = source_of(path)
    assert source is not None
    books, _ = source.read_answers(
        path, lambda batch: rows.extend(batch.to_pylist()), 0, ReadOptions(), _native.Progress()
    )
    return rows, books


def readable_for_tshark(path: Path, folder: Path) -> Path:
    """The same, unpacked if it is packed in a way that tshark does not know."""
    if not path.name.endswith(".xz"):
        return path
    unpacked = folder / path.name.removesuffix(".xz")
    unpacked.write_bytes(lzma.decompress(path.read_bytes()))
    return unpacked


def theirs(path: Path, display_filter: str, fields: tuple[str, ...]) -> list[list[list[str]]]:
    """Per frame, per field, the occurrences."""
    wanted = [part for field in fields for part in ("-e", field)]
    command = ["tshark", "-n", "-r", str(path), "-Y", display_filter, "-T", "fields", *wanted]
    options = ["-E", "separator=/t", "-E", "aggregator=|", "-E", "occurrence=a"]
    options += ["-o", "tcp.reassemble_out_of_order:TRUE"]
    done = subprocess.run([*command, *options], capture_output=True, check=False, timeout=60)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [[part.split("|") if part else [] for part in line.split("\t")] for line in lines]


def expected_of(frame: list[list[str]]) -> tuple[list[tuple[str, str, str]], dict[str, list[str]]]:
    """(owner, type, ttl) of IN records, and rdata by field, as tshark has them."""
    names, types, classes, ttls = frame[:4]
    real = [place for place, kind in enumerate(types) if kind != "41"]
    records = [
        (names[place].lower().replace("<root>", ""), types[place], ttls[number])
        for number, place in enumerate(real)
        if int(classes[number], 16) & 0x7FFF == 1
    ]
    rdata = {field: [one.lower().replace("<root>", "") for one in part]
             for field, part in zip(FIELDS[4:], frame[4:], strict=True)}  # fmt: skip
    return records, rdata


def found_of(rows: list[dict]) -> tuple[list[tuple[str, str, str]], dict[str, list[str]]]:
    numbers = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
    records, rdata = [], {field: [] for field in FIELDS[4:]}
    for row in rows:
        if row["owner"] is None:
            continue
        kind = row["rdtype"]
        number = numbers.get(kind) or _native_code(kind)
        records.append((row["owner"].removesuffix("."), str(number), str(row["ttl"])))
        if kind in RDATA_FIELD:
            words = row["rdata"].split(" ")
            value = words[1] if kind == "MX" else words[0]
            rdata[RDATA_FIELD[kind]].append(value.removesuffix("."))
    return records, rdata


def _native_code(kind: str) -> int:
    import dns.rdatatype

    return int(dns.rdatatype.from_text(kind))


def compare(path: Path, folder: Path) -> int:
    """Compare a capture record for record; returns the number of responses.

    A frame may complete several messages of a stream, so what is compared is the sequence of all
    records of the capture, not frame by frame.
    """
    rows, books = ours(path)
    assert books.balanced
    if books.error:
        pytest.skip(books.error)
    frames = theirs(
        readable_for_tshark(path, folder), SEEN_BY_BOTH, (*FIELDS, "dns.flags.response")
    )
    n_theirs = sum(flag in ("1", "True") for frame in frames for flag in frame[-1])
    assert n_theirs == books.decoded
    if any("\\" in (row["owner"] or "") + (row["rdata"] or "") for row in rows):
        return n_theirs  # tshark does not escape: bytes outside of letters cannot be compared
    records, rdata = found_of(rows)
    expected_records: list[tuple[str, str, str]] = []
    expected_rdata: dict[str, list[str]] = {field: [] for field in FIELDS[4:]}
    for frame in frames:
        some, some_rdata = expected_of(frame[:-1])
        expected_records += some
        for field, values in some_rdata.items():
            expected_rdata[field] += values
    assert records == expected_records
    assert rdata == expected_rdata
    return n_theirs


SMALL = captures("flux", "formats") if SHARED_DATA.is_dir() else []


@needs_tshark
@needs_shared_data
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_every_record_is_the_one_that_tshark_sees(path: Path, tmp_path: Path) -> None:
    if path.name in DISAGREE:
        pytest.skip(DISAGREE[path.name])
    compare(path, tmp_path)


@needs_tshark
@needs_shared_data
def test_household_captures_have_the_records_that_tshark_sees(
    household: Path, tmp_path: Path
) -> None:
    assert compare(household, tmp_path) > 1000


@needs_tshark
@needs_shared_data
def test_every_packet_is_in_the_books(tmp_path: Path) -> None:
    files = captures("flux", "benign/iot", "formats")
    readable = [readable_for_tshark(path, tmp_path) for path in files]
    command = ["capinfos", "-c", "-M", "-T", "-r", "-B", *map(str, readable)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    counts = {line.rsplit("\t", 1)[0]: int(line.split()[-1]) for line in done.stdout.splitlines()}
    assert len(counts) > 300
    for path, name in zip(files, readable, strict=True):
        _, books = ours(path)
        if books.error is None and str(name) in counts:
            # A record that the end of the file cuts is an item too; capinfos leaves it out.
            cut = books.malformed.get("file_cut_in_record")
            n_packets = books.items - books.assembled - (cut.count if cut else 0)
            assert n_packets == counts[str(name)], path
