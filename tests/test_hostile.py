"""Messages made to cost time or memory, and a process that is killed: bounded, counted, never half."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captures import framed, tcp
from conftest import flux_answers, udp_frame, write_pcap
from unflux import sightings
from unflux.sightings import Dataset, History
from unflux.sources.base import Books, ReadOptions

START = 1_790_000_000.0
LARGEST = 65_535
HEADER = struct.Struct(">HHHHHH")
SEGMENT = 1400


def rows(history: History) -> list[str]:
    found = history.sightings_table().to_pylist() + history.activity_table().to_pylist()
    return sorted(map(repr, found))


def read_stream(path: Path, message: bytes) -> tuple[History, Books]:
    """A message as one TCP connection."""
    stream = framed(message)
    cuts = range(0, len(stream), SEGMENT)
    segments = [tcp(1000 + at, stream[at : at + SEGMENT]) for at in cuts]
    write_pcap(path, [(START + 0.001 * n, frame) for n, frame in enumerate(segments)])
    history = sightings.reduce([path], ReadOptions(threads=1))
    return history, history.inputs[0].books


def name_of(*labels: bytes) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def test_the_largest_message_is_read_whole(tmp_path: Path) -> None:
    question = name_of(b"large", b"test") + struct.pack(">HH", 1, 1)
    n = (LARGEST - 12 - len(question)) // 16
    records = [b"\xc0\x0c" + struct.pack(">HHIHI", 1, 1, 60, 4, 0xC6120000 + k) for k in range(n)]
    message = HEADER.pack(1, 0x8180, 1, n, 0, 0) + question + b"".join(records)
    message += b"\0" * (LARGEST - len(message))
    history, books = read_stream(tmp_path / "a.pcap", message)
    assert (books.decoded, books.records, books.malformed) == (1, n, {})
    assert history.sightings_table().num_rows == n == 4094  # (65535 - 12 - 16) // 16
    [row] = history.activity_table().to_pylist()
    assert (row["responses"], row["answers_max"]) == (1, n)


def test_a_compression_bomb_is_unpacked_within_bounds(tmp_path: Path) -> None:
    """4,600 records of 14 bytes, each of them naming two names of 255 bytes by pointers."""
    labels = [b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61]
    question = name_of(*labels) + struct.pack(">HH", 2, 1)
    n = (LARGEST - 12 - len(question)) // 14
    record = b"\xc0\x0c" + struct.pack(">HHIH", 2, 1, 60, 2) + b"\xc0\x0c"
    message = HEADER.pack(1, 0x8180, 1, n, 0, 0) + question + record * n
    started = time.process_time()
    history, books = read_stream(tmp_path / "a.pcap", message)
    assert time.process_time() - started < 5
    assert (books.decoded, books.records) == (1, n)
    [row] = history.sightings_table().to_pylist()
    assert (row["count_raw"], len(row["owner"])) == (1, 254)  # 4 labels and as many dots


def test_many_owners_in_one_message_cost_no_square_of_time(tmp_path: Path) -> None:
    parts, n = [], 2_000
    for k in range(n):
        owner = name_of(b"%d" % k, b"many", b"test")
        parts.append(owner + struct.pack(">HHIHI", 1, 1, 60, 4, 0xC6120000 + k))
    message = HEADER.pack(1, 0x8180, 0, n, 0, 0) + b"".join(parts)
    assert len(message) <= LARGEST
    started = time.process_time()
    history, books = read_stream(tmp_path / "a.pcap", message)
    assert time.process_time() - started < 5
    assert (books.records, history.activity_table().num_rows) == (n, n)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"\xc0\x0c", "label_forward_pointer"),  # at itself
        (b"\xc0\xff", "label_forward_pointer"),
        (b"\x40" + b"a" * 64 + b"\0", "label_type"),  # a label of 64 bytes cannot be said
        (b"\x3f" + b"a" * 63 + b"\x80", "label_type"),
        ((b"\x3f" + b"a" * 63) * 4 + b"\0", "name_length"),  # 257 bytes
        (b"\x3f" + b"a" * 20, "short_message"),
    ],
)
def test_a_name_that_cannot_be_is_one_counted_oddity(
    tmp_path: Path, name: bytes, kind: str
) -> None:
    wire = HEADER.pack(1, 0x8180, 1, 0, 0, 0) + name
    good = flux_answers(2)
    frames = [udp_frame(good[0]), udp_frame(wire), udp_frame(good[1])]
    path = write_pcap(tmp_path / "a.pcap", [(START + 60 * n, f) for n, f in enumerate(frames)])
    history = sightings.reduce([path])
    books = history.inputs[0].books
    assert (books.items, books.decoded) == (3, 2)
    assert {found: tally.count for found, tally in books.malformed.items()} == {kind: 1}
    assert books.error is None and books.balanced


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2])
def test_a_process_that_is_killed_leaves_a_dataset_that_can_go_on(
    tmp_path: Path, after_s: float
) -> None:
    captures = tmp_path / "captures"
    captures.mkdir()
    for number, wire in enumerate(flux_answers(40)):
        write_pcap(captures / f"dump-{number:02}.pcap", [(START + 300 * number, udp_frame(wire))])
    dataset = tmp_path / "dataset"
    code = (
        "from pathlib import Path; from unflux import sightings; "
        "from unflux.sightings import Dataset, reading; from unflux.sources.base import ReadOptions; "
        "reading.SAVE_EVERY_BYTES = 1; "
        f"sightings.add_to(Dataset.open(Path({str(dataset)!r})), "
        f"sorted(Path({str(captures)!r}).glob('dump-*.pcap')), ReadOptions(threads=1))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if any(dataset.rglob("*.parquet")):
                time.sleep(after_s)
                break
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = Dataset.open(dataset)
    n_kept = len(kept.manifest.inputs)
    if n_kept:
        known = [Path(one.path) for one in kept.manifest.inputs]
        assert rows(sightings.reduce([dataset])) == rows(sightings.reduce(known))
    whole = sightings.add_to(kept, sorted(captures.glob("dump-*.pcap")), ReadOptions())
    assert sum(one.known for one in whole.inputs) == n_kept
    assert rows(whole) == rows(sightings.reduce([captures]))
