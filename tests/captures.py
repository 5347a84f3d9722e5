"""Writers of capture files for tests: pcapng, dnstap, TCP, fragments, tunnels."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from conftest import CLIENT, RESOLVER


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += b"\0" * (-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    order: str = "<", link: int = 1, options: Sequence[tuple[int, bytes]] = (), snaplen: int = 0
) -> bytes:
    body = struct.pack(order + "HHI", link, 0, snaplen)
    for code, value in options:
        body += struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)
    return block(1, body + (struct.pack(order + "HH", 0, 0) if options else b""), order)


def packet(units: int, frame: bytes, order: str = "<", number: int = 0) -> bytes:
    head = struct.pack(
        order + "IIIII", number, units >> 32, units & 0xFFFFFFFF, len(frame), len(frame)
    )
    return block(6, head + frame, order)


def write_pcapng(path: Path, frames: Iterable[tuple[float, bytes]], order: str = "<") -> Path:
    """One section, one Ethernet interface, microseconds."""
    packets = (packet(round(time_s * 1e6), frame, order) for time_s, frame in frames)
    path.write_bytes(section(order) + interface(order) + b"".join(packets))
    return path


def ipv4(protocol: int, body: bytes, *, number: int = 0, at: int = 0, more: bool = False,
         source: str = RESOLVER, to: str = CLIENT) -> bytes:  # fmt: skip
    """Ethernet and IPv4, possibly a fragment from byte `at` on."""
    flags = (0x2000 if more else 0) | at // 8
    ends = ip_address(source).packed + ip_address(to).packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), number, flags, 64, protocol, 0)
    return b"\x02" * 12 + b"\x08\x00" + head + ends + body


def ipv6_fragment(body: bytes, *, number: int, at: int, more: bool) -> bytes:
    """Ethernet, IPv6 and a fragment header in front of a piece of UDP."""
    ends = ip_address("2001:db8::53").packed + ip_address("2001:db8::1").packed
    fragment = struct.pack(">BBHI", 17, 0, at | more, number)
    head = struct.pack(">IHBB", 0x60000000, 8 + len(body), 44, 64)
    return b"\x02" * 12 + b"\x86\xdd" + head + ends + fragment + body


def udp(payload: bytes) -> bytes:
    return struct.pack(">HHHH", 53, 4711, 8 + len(payload), 0) + payload


def tcp(seq: int, payload: bytes, flags: int = 0x10, port: int = 4711) -> bytes:
    """A whole frame with a segment from port 53."""
    head = struct.pack(">HHIIBBHHH", 53, port, seq & 0xFFFFFFFF, 0, 0x50, flags, 65535, 0, 0)
    return ipv4(6, head + payload)


def framed(*messages: bytes) -> bytes:
    """DNS messages as they stand in a stream."""
    return b"".join(struct.pack(">H", len(message)) + message for message in messages)


CONTENT = b"protobuf:dnstap.Dnstap"


def control(kind: int) -> bytes:
    body = struct.pack(">I", kind)
    if kind != 3:
        body += struct.pack(">II", 1, len(CONTENT)) + CONTENT
    return struct.pack(">II", 0, len(body)) + body


def write_dnstap(path: Path, frames: Iterable[bytes]) -> Path:
    """Frame Streams around serialised dnstap messages."""
    data = b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)
    path.write_bytes(control(2) + data + control(3))
    return path


def frames_of(path: Path) -> list[bytes]:
    """Data frames of a Frame Streams file, cut with nothing of unflux."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        [length] = struct.unpack_from(">I", data, at)
        if length == 0:
            at += 8 + struct.unpack_from(">I", data, at + 4)[0]
            continue
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found
