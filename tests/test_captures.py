"""pcapng, streams, fragments, tunnels and packed files: the same packets, the same answers."""

from __future__ import annotations

import gzip
import lzma
import os
import random
import struct
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures import (
    block,
    framed,
    interface,
    ipv4,
    ipv6_fragment,
    packet,
    section,
    tcp,
    udp,
    write_pcapng,
)
from conftest import a_response, flux_answers, udp_frame, write_pcap
from unflux import sightings
from unflux.sightings import History
from unflux.sources.base import Books, ReadOptions

START = 1_790_000_000.0


def frames() -> list[tuple[float, bytes]]:
    return [(START + 60 * n, udp_frame(wire)) for n, wire in enumerate(flux_answers(30))]


def rows(history: History) -> list[dict]:
    found = history.sightings_table().to_pylist() + history.activity_table().to_pylist()
    return sorted(found, key=repr)


def read(path: Path, **options: object) -> tuple[list[dict], Books]:
    history = sightings.reduce([path], ReadOptions(**options))  # type: ignore[arg-type]
    [one] = history.inputs
    assert one.books.balanced
    return rows(history), one.books


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pcap(tmp_path_factory.mktemp("plain") / "a.pcap", frames())


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_says_what_pcap_says(plain: Path, tmp_path: Path, order: str) -> None:
    ng = write_pcapng(tmp_path / "a.pcapng", frames(), order)
    assert read(ng)[0] == read(plain)[0]


def test_interfaces_have_their_own_time_and_link_layer(tmp_path: Path) -> None:
    frame = udp_frame(a_response("a.test.", 60, ["198.18.0.1"]))
    offset = struct.pack("<q", 1_000_000_000)
    content = section() + interface(options=[(9, b"\x09")])  # nanoseconds
    content += interface(link=101, options=[(9, b"\x8a"), (14, offset)])  # 1/1024 s, raw IP
    content += interface(link=127)  # radiotap: not understood
    content += packet(1_790_000_000_123_456_789, frame)
    content += packet((790_000_000 << 10) + 512, frame[14:], number=1)
    content += packet(0, frame, number=2) + packet(0, frame, number=3)
    content += block(4, b"name resolution") + block(3, struct.pack("<I", len(frame)) + frame)
    path = tmp_path / "a.pcapng"
    path.write_bytes(content)
    [row], books = read(path)[0][:1], read(path)[1]
    assert (books.decoded, books.skipped["link_layer"].count, books.skipped["no_time"].count) == (
        2, 1, 1,
    )  # fmt: skip
    assert books.malformed["interface_unknown"].count == 1
    assert (books.time_first_us, books.time_last_us) == (
        1_790_000_000_123_456,
        1_790_000_000_500_000,
    )
    assert row["owner"] == "a.test."


def test_sections_of_both_byte_orders_in_one_file(plain: Path, tmp_path: Path) -> None:
    one = write_pcapng(tmp_path / "1", frames()[:10], "<").read_bytes()
    other = write_pcapng(tmp_path / "2", frames()[10:], ">").read_bytes()
    both = tmp_path / "both.pcapng"
    both.write_bytes(one + other)
    assert read(both)[0] == read(plain)[0]


@pytest.mark.parametrize("length", [0, 8, 13, 0x7FFFFFFC, 0xFFFFFFFF])
def test_a_block_of_impossible_length_ends_the_reading(tmp_path: Path, length: int) -> None:
    path = write_pcapng(tmp_path / "a.pcapng", frames()[:3])
    with path.open("ab") as out:
        out.write(struct.pack("<II", 6, length) + b"\0" * 100)
    found, books = read(path)
    assert len(found) > 0
    assert (books.decoded, books.malformed["record_length"].count) == (3, 1)
    assert "cannot be true" in (books.error or "")


def pack(content: bytes, packing: str) -> bytes:
    if packing == "gzip":
        return gzip.compress(content[:999]) + gzip.compress(content[999:])
    if packing == "xz":
        return lzma.compress(content[:999]) + lzma.compress(content[999:])
    parts = []
    for part in (content[:999], content[999:]):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, packing) as out:
            out.write(part)
        parts.append(sink.getvalue().to_pybytes())
    return b"".join(parts)


@pytest.mark.parametrize("packing", ["gzip", "xz", "zstd", "lz4"])
def test_packed_files_of_several_parts_are_unpacked(
    plain: Path, tmp_path: Path, packing: str
) -> None:
    path = tmp_path / "a.pcap.packed"
    path.write_bytes(pack(plain.read_bytes(), packing))
    assert read(path)[0] == read(plain)[0]


@pytest.mark.parametrize("packing", ["gzip", "xz", "zstd", "lz4"])
def test_a_packed_file_that_is_cut_keeps_what_came_before(
    plain: Path, tmp_path: Path, packing: str
) -> None:
    content = plain.read_bytes()
    noise = os.urandom(3_000_000)  # does not pack: the cut is far behind the start
    packed = pack(content + struct.pack("<IIII", 1, 1, 200_000, 200_000) + noise, packing)
    path = tmp_path / "cut"
    path.write_bytes(packed[: len(packed) - 1_000])
    _, books = read(path)
    assert books.decoded == 30
    assert books.error


@pytest.mark.parametrize("packing", ["gzip", "xz", "zstd"])
def test_a_bomb_is_refused_and_memory_stays(tmp_path: Path, packing: str) -> None:
    """A gigabyte of zeros: gzip's own limit lets it pass as a capture with nonsense in it."""
    head = write_pcap(tmp_path / "head", frames()).read_bytes()
    path = tmp_path / "bomb"
    million = b"\0" * (1 << 20)
    if packing == "zstd":
        sink = pa.OSFile(str(path), "wb")
        with pa.CompressedOutputStream(sink, "zstd") as out:
            out.write(head)
            for _ in range(1024):
                out.write(million)
    else:
        with (gzip if packing == "gzip" else lzma).open(path, "wb") as out:
            out.write(head)
            for _ in range(1024 if packing == "gzip" else 256):
                out.write(million)
    _, books = read(path)
    assert books.decoded == 30
    assert books.error is None or "times its size" in books.error
    if packing == "zstd":
        assert "times its size" in (books.error or "")


def test_messages_in_streams_are_read(tmp_path: Path) -> None:
    wires = flux_answers(30)
    stream = framed(*wires)
    cuts = [stream[at : at + 700] for at in range(0, len(stream), 700)]
    segments = [(START, tcp(99, b"", flags=2))]
    segments += [(START + n, tcp(100 + 700 * n, cut)) for n, cut in enumerate(cuts)]
    shuffled = [segments[0], *reversed(segments[1:8]), *segments[8:], segments[5]]
    path = write_pcap(tmp_path / "tcp.pcap", shuffled)
    found, books = read(path)
    assert (books.decoded, books.assembled) == (30, 30)
    assert books.items - books.assembled == len(shuffled)
    assert {row["owner"] for row in found} == {"flux.test."}


def test_a_long_capture_of_streams_does_not_depend_on_threads(tmp_path: Path) -> None:
    """Streams cross the borders of what the threads get."""
    wires = flux_answers(64)
    stream = framed(*wires)
    frames = []
    for round_number in range(800):
        for at in range(0, len(stream), 1200):
            seq = 1 + round_number * len(stream) + at
            frames.append((START + round_number, tcp(seq, stream[at : at + 1200])))
    path = write_pcap(tmp_path / "tcp.pcap", [(START, tcp(0, b"", flags=2)), *frames])
    assert path.stat().st_size > 8 << 20
    one, two = read(path, threads=1), read(path, threads=3)
    assert one == two
    assert one[1].decoded == 800 * 64


@given(
    size=st.integers(1, 60).map(lambda units: units * 8),
    order=st.randoms(use_true_random=False),
    version=st.sampled_from([4, 6]),
)
@settings(max_examples=25, deadline=None)
def test_fragments_in_any_order_give_the_message(
    tmp_path_factory: pytest.TempPathFactory, size: int, order: random.Random, version: int
) -> None:
    [wire] = flux_answers(1, k=30)
    body = udp(wire)
    pieces = []
    for at in range(0, len(body), size):
        part, more = body[at : at + size], at + size < len(body)
        if version == 4:
            pieces.append(ipv4(17, part, number=7, at=at, more=more))
        else:
            pieces.append(ipv6_fragment(part, number=7, at=at, more=more))
    order.shuffle(pieces)
    path = write_pcap(tmp_path_factory.mktemp("f") / "f.pcap", [(START, piece) for piece in pieces])
    found, books = read(path)
    assert books.decoded == 1
    assert len([row for row in found if row.get("rdata")]) == 30
    assert books.items - books.assembled == len(pieces)


def test_a_fragment_that_never_came_is_counted_where_its_packet_began(tmp_path: Path) -> None:
    body = udp(flux_answers(1)[0])
    path = write_pcap(tmp_path / "f.pcap", [(START, ipv4(17, body[:64], number=1, more=True))])
    _, books = read(path)
    assert books.malformed["fragment_lost"].first == 24
    assert (books.items, books.assembled) == (2, 1)


def test_a_capture_in_a_tunnel(tmp_path: Path) -> None:
    inner = udp_frame(flux_answers(1)[0])
    vxlan = struct.pack(">HHHH", 50_000, 4789, 16 + len(inner), 0) + b"\x08" + b"\0" * 7 + inner
    erspan = b"\x10\x00\x88\xbe" + b"\0" * 12 + inner
    path = write_pcap(
        tmp_path / "t.pcap", [(START, ipv4(17, vxlan)), (START + 1, ipv4(47, erspan))]
    )
    _, books = read(path)
    assert books.decoded == 2
