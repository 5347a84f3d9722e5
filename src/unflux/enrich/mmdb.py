"""Write an MMDB file from sorted, disjoint address ranges, in seconds rather than minutes.

The format: https://maxmind.github.io/MaxMind-DB/ (version 2.0). Ranges arrive in order, so each
new prefix shares most of its path through the binary tree with the one before it. Only the
standard library is needed: the build uses it too, before the package is there.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

Range = tuple[int, int, dict[str, int | str]]
"""First and last address as numbers (IPv4 below 2^32: they stand in ::/96), and the record."""

METADATA_START = b"\xab\xcd\xefMaxMind.com"
DATA_SEPARATOR = bytes(16)
BITS = 128


class RangeError(ValueError):
    """Ranges overlap, are out of order, or are empty."""


def prefixes(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The fewest (address, prefix length) that cover a range."""
    while first <= last:
        size = min((first & -first).bit_length() - 1 if first else BITS, BITS)
        while (1 << size) - 1 > last - first:
            size -= 1
        yield first, BITS - size
        first += 1 << size


class _Tree:
    """Binary tree of nodes; a child is 0 (nothing), a node's number, or -1 - data offset."""

    def __init__(self) -> None:
        self.children = array("q", [0, 0])
        self.path = [0]
        self.before = 0

    def insert(self, address: int, length: int, value: int) -> None:
        """Put a value at a prefix that comes after all earlier ones."""
        shared = BITS - (address ^ self.before).bit_length()
        del self.path[min(shared, length - 1, len(self.path) - 1) + 1 :]
        node = self.path[-1]
        for depth in range(len(self.path) - 1, length - 1):
            slot = 2 * node + (address >> (BITS - 1 - depth) & 1)
            if not self.children[slot]:
                self.children[slot] = len(self.children) // 2
                self.children.extend((0, 0))
            node = self.children[slot]
            self.path.append(node)
        self.children[2 * node + (address >> (BITS - length) & 1)] = value
        self.before = address

    def encode(self) -> bytes:
        """24-bit records: node number, or node count + 16 + offset; node count: nothing."""
        count = len(self.children) // 2
        out = bytearray()
        for child in self.children:
            number = child if child > 0 else count + (15 - child if child < 0 else 0)
            out += number.to_bytes(3, "big")
        return bytes(out)


class _Data:
    """The data section; equal records are stored once."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.known: dict[tuple[tuple[str, int | str], ...], int] = {}

    def offset(self, record: dict[str, int | str]) -> int:
        """Where a record is, stored now if it is new."""
        key = tuple(record.items())
        if key not in self.known:
            self.known[key] = len(self.bytes)
            self.bytes += encode_map(record)
        return self.known[key]


def _control(kind: int, size: int) -> bytes:
    """Control byte(s) of a value: extended types and sizes over 28 take more than one."""
    extra = b""
    if size >= 285:
        extra, size = struct.pack(">H", size - 285), 30
    elif size >= 29:
        extra, size = bytes([size - 29]), 29
    first = bytes([kind << 5 | size]) if kind <= 7 else bytes([size, kind - 7])
    return first + extra


def _number(kind: int, value: int) -> bytes:
    payload = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return _control(kind, len(payload)) + payload


def _text(value: str) -> bytes:
    payload = value.encode()
    return _control(2, len(payload)) + payload


def encode_map(record: dict[str, int | str]) -> bytes:
    """A flat map of texts and unsigned 32-bit numbers."""
    values = (
        _text(value) if isinstance(value, str) else _number(6, value) for value in record.values()
    )
    pairs = (_text(key) + value for key, value in zip(record, values, strict=True))
    return _control(7, len(record)) + b"".join(pairs)


def _metadata(kind: str, built_at_s: int, n_nodes: int) -> bytes:
    entries = (
        ("binary_format_major_version", _number(5, 2)),
        ("binary_format_minor_version", _number(5, 0)),
        ("build_epoch", _number(9, built_at_s)),
        ("database_type", _text(kind)),
        ("description", _control(7, 1) + _text("en") + _text("made by unflux, see NOTICE")),
        ("ip_version", _number(5, 6)),
        ("languages", _control(11, 0)),
        ("node_count", _number(6, n_nodes)),
        ("record_size", _number(5, 24)),
    )
    body = b"".join(_text(key) + value for key, value in entries)
    return METADATA_START + _control(7, len(entries)) + body


def write(ranges: Iterable[Range], path: Path, *, kind: str, built_at_s: int) -> None:
    """Write an MMDB file.

    Raises
    ------
    RangeError
        When ranges are not sorted and disjoint.
    """
    tree, data, end = _Tree(), _Data(), -1
    for first, last, record in ranges:
        if first <= end or last < first or last >> BITS:
            raise RangeError(f"range {first}-{last} overlaps, is out of order or empty")
        end = last
        value = -1 - data.offset(record)
        for address, length in prefixes(first, last):
            tree.insert(address, length, value)
    n_nodes = len(tree.children) // 2
    if n_nodes + len(DATA_SEPARATOR) + len(data.bytes) >= 1 << 24:
        raise RangeError("too many ranges for 24-bit records")
    metadata = _metadata(kind, built_at_s, n_nodes)
    path.write_bytes(tree.encode() + DATA_SEPARATOR + data.bytes + metadata)
