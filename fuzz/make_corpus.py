"""Seeds for the fuzzer, made from the tests' own packets: python fuzz/make_corpus.py

Each seed is small and shows one thing; what fuzzing finds beyond is added by
`tools/fuzz.sh` to `work/`, and the best of it (`-merge=1`) is kept beside the seeds.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests")]

import captures  # noqa: E402
import conftest  # noqa: E402
import test_dnstap  # noqa: E402

FORMATS = {
    name: place
    for place, name in enumerate(
        ("pcap", "pcapng", "dnstap", "zeek", "eve", "dnscollector", "dnsmonster", "passivedns")
    )
}
"""Places in `Format::ALL`, which the first byte of a seed selects."""


def messages() -> dict[str, bytes]:
    chain = [("www.a.test.", 60, "CNAME", ["b.test."]), ("b.test.", 5, "A", ["198.18.0.1"])]
    extra = [("ns.a.test.", 60, "AAAA", ["2001:db8::1"])]
    found = {
        "chain": conftest.response(
            "www.a.test.", "A", chain, [("a.test.", 60, "NS", ["ns.a.test."])], extra
        ),
        "nothing": conftest.response("no.test.", "A", rcode="NXDOMAIN"),
    }
    for rdtype, text in {
        "SOA": "ns.test. mail.test. 1 2 3 4 5",
        "MX": "10 mx.test.",
        "TXT": '"a \\" b" "c"',
        "SRV": "1 2 3 srv.test.",
        "HTTPS": "1 . alpn=h2 ipv4hint=198.18.0.1",
        "CAA": '0 issue "test"',
        "TYPE65534": "\\# 3 010203",
        "NAPTR": '1 2 "u" "s" "!a!b!" .',
    }.items():
        found[rdtype.lower()] = conftest.response(
            "a.test.", rdtype, [("a.test.", 1, rdtype, [text])]
        )
    found["pointer_loop"] = b"\0\1\x84\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"
    return found


def files() -> dict[str, bytes]:
    wires = list(messages().values())
    frames = [(1_790_000_000.0 + n, conftest.udp_frame(wire)) for n, wire in enumerate(wires)]
    stream = captures.framed(*wires)
    frames += [(1_790_000_100.0, captures.tcp(0, b"", flags=2))]
    frames += [(1_790_000_101.0, captures.tcp(1, stream[:50]))]
    frames += [(1_790_000_102.0, captures.tcp(51, stream[50:]))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        made = {
            "pcap": conftest.write_pcap(path, frames).read_bytes(),
            "pcapng": captures.write_pcapng(path, frames).read_bytes(),
            "pcapng_big": captures.write_pcapng(path, frames[:3], ">").read_bytes(),
            "dnstap": captures.write_dnstap(path, map(test_dnstap.event, wires)).read_bytes(),
        }
    samples = HERE.parent / "tests" / "golden"
    for name in ("zeek", "eve", "dnscollector", "dnsmonster", "passivedns"):
        for number, sample in enumerate(sorted((samples / name).glob("[!g]*"))):
            made[f"{name}_{number}"] = sample.read_bytes()[:4000]
    return {name: bytes([FORMATS[name.split("_")[0]]]) + content for name, content in made.items()}


def pieces() -> dict[str, bytes]:
    wire = conftest.flux_answers(1)[0]
    body, stream = captures.udp(wire), captures.framed(wire, wire)
    sets = {
        "fragments": [
            captures.ipv4(17, body[at : at + 64], number=1, at=at, more=at + 64 < len(body))
            for at in range(0, len(body), 64)
        ],
        "fragments_v6": [
            captures.ipv6_fragment(body[at : at + 64], number=1, at=at, more=at + 64 < len(body))
            for at in range(0, len(body), 64)
        ],
        "segments": [
            captures.tcp(0, b"", flags=2),
            captures.tcp(101, stream[100:]),
            captures.tcp(1, stream[:100]),
            captures.tcp(1 + len(stream), b"", flags=1),
        ],
        "tunnel": [captures.ipv4(47, b"\x10\0\x88\xbe" + bytes(12) + conftest.udp_frame(wire))],
    }
    return {
        name: b"".join(b"\1" + struct.pack("<H", len(frame)) + frame for frame in frames)
        for name, frames in sets.items()
    }


def flows() -> dict[str, bytes]:
    return {name: content[1:] for name, content in files().items() if name.startswith("pcap")}


def frames() -> dict[str, bytes]:
    content = b"protobuf:dnstap.Dnstap"
    field = struct.pack(">II", 1, len(content)) + content

    def control(kind: int, body: bytes = b"") -> bytes:
        return struct.pack(">III", 0, 4 + len(body), kind) + body

    events = b"".join(
        struct.pack(">I", len(event)) + event
        for event in map(test_dnstap.event, messages().values())
    )
    start, stop = control(2, field), control(3)
    return {
        "one_way": b"\xff" + start + events + stop,
        "both_ways": b"\x07" + control(4, field) + start + events + stop,
        "other_content": b"\x03" + control(2, struct.pack(">II", 1, 3) + b"pcap"[:3]),
        "too_long": b"\x05" + start + struct.pack(">I", 1 << 30),
    }


def main() -> None:
    targets = {
        "message": messages(),
        "file": files(),
        "pieces": pieces(),
        "flows": flows(),
        "frames": frames(),
    }
    for target, seeds in targets.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
