"""tshark as a second opinion on every real capture: the same records, the same counts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import SHARED_DATA, needs_shared_data
from unflux import _native
from unflux.sources.base import Books, ReadOptions
from unflux.sources.pcap import Pcap

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

FIELDS = (
    "dns.resp.name", "dns.resp.type", "dns.resp.class", "dns.resp.ttl", "dns.a", "dns.aaaa",
    "dns.ns", "dns.cname", "dns.ptr.domain_name", "dns.mx.mail_exchange", "dns.soa.mname",
)  # fmt: skip
"""Names, types, classes and TTLs of all records; rdata of the types that matter, in order."""

# What both must see: DNS over UDP port 53, standard queries answered, nothing malformed. TCP,
# fragments, other ports, mDNS, NOTIFY and UPDATE are left out here as unflux leaves them out.
SEEN_BY_BOTH = (
    "udp.port == 53 && dns.flags.response == 1 && dns.flags.opcode == 0 && !icmp && !icmpv6 "
    "&& !_ws.malformed && !_ws.short && !(ip.flags.mf == 1) && !(ip.frag_offset > 0) "
    "&& !ipv6.fraghdr"
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
}

RDATA_FIELD = {
    "A": "dns.a", "AAAA": "dns.aaaa", "NS": "dns.ns", "CNAME": "dns.cname",
    "PTR": "dns.ptr.domain_name", "MX": "dns.mx.mail_exchange", "SOA": "dns.soa.mname",
}  # fmt: skip


def captures(*folders: str) -> list[Path]:
    """Classic pcap files below folders of the shared data."""
    found = [path for folder in folders for path in (SHARED_DATA / folder).rglob("*.pcap")]
    return sorted(path for path in found if _native.sniff(path.read_bytes()[:64]) == "pcap")


@pytest.fixture(scope="session")
def household(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The many small captures of household devices as one: one run of tshark instead of 114."""
    merged = tmp_path_factory.mktemp("iot") / "iot.pcap"
    files = [str(path) for path in captures("benign/iot")]
    subprocess.run(["mergecap", "-a", "-F", "pcap", "-w", str(merged), *files], check=True)
    return merged


def ours(path: Path) -> tuple[list[dict], Books]:
    rows: list[dict] = []
    books, _ = Pcap().read_answers(
        path, lambda batch: rows.extend(batch.to_pylist()), 0, ReadOptions(), _native.Progress()
    )
    return rows, books


def theirs(path: Path, display_filter: str, fields: tuple[str, ...]) -> list[list[list[str]]]:
    """Per frame, per field, the occurrences."""
    wanted = [part for field in fields for part in ("-e", field)]
    command = ["tshark", "-n", "-r", str(path), "-Y", display_filter, "-T", "fields", *wanted]
    options = ["-E", "separator=/t", "-E", "aggregator=|", "-E", "occurrence=a"]
    # No reassembly, no guessing of protocols on other ports: each packet for itself.
    prefs = ["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]
    done = subprocess.run(
        [*command, *options, *prefs], capture_output=True, check=False, timeout=60
    )
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


def compare(path: Path) -> int:
    """Compare a capture record for record; returns the number of responses."""
    rows, books = ours(path)
    assert books.balanced
    if books.error:
        pytest.skip(books.error)
    frames = theirs(path, SEEN_BY_BOTH, FIELDS)
    by_response: dict[int, list[dict]] = {}
    for row in rows:
        by_response.setdefault(row["response"], []).append(row)
    assert len(by_response) == len(frames) == books.decoded
    for mine, frame in zip(by_response.values(), frames, strict=True):
        if any("\\" in (row["owner"] or "") + (row["rdata"] or "") for row in mine):
            continue  # tshark does not escape: bytes outside of letters cannot be compared
        records, rdata = found_of(mine)
        expected_records, expected_rdata = expected_of(frame)
        assert records == expected_records
        assert rdata == expected_rdata
    return len(frames)


SMALL = captures("flux", "formats") if SHARED_DATA.is_dir() else []


@needs_tshark
@needs_shared_data
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_every_record_is_the_one_that_tshark_sees(path: Path) -> None:
    if path.name in DISAGREE:
        pytest.skip(DISAGREE[path.name])
    compare(path)


@needs_tshark
@needs_shared_data
def test_household_captures_have_the_records_that_tshark_sees(household: Path) -> None:
    assert compare(household) > 1000


@needs_tshark
@needs_shared_data
def test_every_packet_is_in_the_books() -> None:
    files = captures("flux", "benign/iot", "formats")
    command = ["capinfos", "-c", "-M", "-T", "-r", "-B", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    counts = [int(line.rsplit(maxsplit=1)[-1]) for line in done.stdout.splitlines()]
    assert len(counts) == len(files)
    for path, count in zip(files, counts, strict=True):
        _, books = ours(path)
        if books.error is None:
            # A record that the end of the file cuts is an item too; capinfos leaves it out.
            cut = books.malformed.get("file_cut_in_record")
            assert books.items - (cut.count if cut else 0) == count, path
