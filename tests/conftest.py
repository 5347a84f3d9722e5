"""Building blocks of the tests: packets, captures, tables, and the command line."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT / "build_backend"))

needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the real captures of ../shared/data are not here"
)

RESOLVER, CLIENT = "198.19.255.53", "198.19.254.1"


def response(
    qname: str,
    qtype: str = "A",
    answer: Iterable[tuple[str, int, str, list[str]]] = (),
    authority: Iterable[tuple[str, int, str, list[str]]] = (),
    additional: Iterable[tuple[str, int, str, list[str]]] = (),
    rcode: str = "NOERROR",
) -> bytes:
    """A response on the wire; rrsets are (owner, ttl, rdtype, [rdata…])."""
    message = dns.message.make_response(dns.message.make_query(qname, qtype, id=7))
    message.set_rcode(dns.rcode.from_text(rcode))
    for section, rrsets in (
        (message.answer, answer),
        (message.authority, authority),
        (message.additional, additional),
    ):
        for owner, ttl, rdtype, rdata in rrsets:
            section.append(dns.rrset.from_text(owner, ttl, "IN", rdtype, *rdata))
    return message.to_wire(max_size=65_535)


def a_response(qname: str, ttl: int, addresses: list[str]) -> bytes:
    """A response with one A rrset."""
    return response(qname, "A", [(qname, ttl, "A", addresses)])


def udp_frame(
    payload: bytes, *, source: str = RESOLVER, to: str = CLIENT, ports: tuple[int, int] = (53, 4711)
) -> bytes:
    """Ethernet, IPv4 and UDP around a payload."""
    udp = struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
    addresses = ip_address(source).packed + ip_address(to).packed
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0) + addresses
    return b"\x02" * 12 + b"\x08\x00" + ip + udp


def write_pcap(path: Path, frames: Iterable[tuple[float, bytes]], *, snaplen: int = 65_535) -> Path:
    """A little-endian µs pcap; frames longer than `snaplen` are cut as a capture would."""
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, 1))
        for time_s, frame in frames:
            seconds, micros = divmod(round(time_s * 1_000_000), 1_000_000)
            kept = frame[:snaplen]
            out.write(struct.pack("<IIII", seconds, micros, len(kept), len(frame)) + kept)
    return path


@pytest.fixture(scope="session")
def lab_tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """AS and country tables that map every /24 of 198.18.0.0/15 to an AS of its own."""
    from unflux.enrich import mmdb

    folder = tmp_path_factory.mktemp("tables")
    start = int(ip_address("198.18.0.0"))
    countries = ["UA", "RO", "BR", "KR", "DE"]
    asn_rows, country_rows = [], []
    for number in range(512):
        first = start + 256 * number
        record = {
            "autonomous_system_number": 64_512 + number,
            "autonomous_system_organization": f"Lab {number}",
        }
        asn_rows.append((first, first + 255, record))
        country_rows.append((first, first + 255, {"country_code": countries[number % 5]}))
    for name, rows in (("asn.mmdb", asn_rows), ("country.mmdb", country_rows)):
        mmdb.write(rows, folder / name, kind="lab", built_at_s=1_790_000_000)
    return folder / "asn.mmdb", folder / "country.mmdb"


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cli(lab_tables: tuple[Path, Path]) -> Cli:
    """Run `unflux …` as a user would, with the lab's tables."""
    environment = os.environ | {
        "UNFLUX_ASN_DB": str(lab_tables[0]),
        "UNFLUX_COUNTRY_DB": str(lab_tables[1]),
        "COLUMNS": "200",
        "PYTHONUTF8": "1",
    }

    def run(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "unflux", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            env=environment,
            cwd=ROOT,
            timeout=120,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


def flux_answers(n_answers: int, *, k: int = 10, step: int = 7, ttl: int = 300) -> list[bytes]:
    """Answers of k addresses in k networks each; `step` of them are new and never come back."""
    answers = []
    for number in range(n_answers):
        hosts = [(number * step + place) % 500 for place in range(k)]
        addresses = [f"198.{18 + host // 256}.{host % 256}.1" for host in hosts]
        answers.append(a_response("flux.test.", ttl, addresses))
    return answers


@contextmanager
def interrupted_after(n_parts: int) -> Iterator[None]:
    """Taking files into a dataset, a part for each, is interrupted once it has so many parts."""
    from unflux.sightings import reading

    real, done = reading.reduce, []

    def reduce(paths: list[Path], *arguments: Any, **options: Any) -> Any:
        if len(done) == n_parts:
            raise KeyboardInterrupt
        done.append(paths)
        return real(paths, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "SAVE_EVERY_BYTES", 1)
        patched.setattr(reading, "reduce", reduce)
        yield
