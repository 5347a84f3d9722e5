"""Input formats: one module each, found by content, listed in `SOURCES`.

To add one, see CONTRIBUTING.md, "Add an input format".
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from unflux.errors import UnfluxError
from unflux.sources.base import AnswerSource, Books, ReadOptions, Source, Tally
from unflux.sources.cof import PassiveDnsCof
from unflux.sources.parquet import UnfluxParquet
from unflux.sources.pcap import Pcap
from unflux.sources.zeek import Zeek

__all__ = ["SOURCES", "AnswerSource", "Books", "ReadOptions", "Source", "Tally", "by_name"]

SOURCES: tuple[Source, ...] = (Pcap(), Zeek(), PassiveDnsCof(), UnfluxParquet())

HEAD_BYTES = 1 << 16
STREAM_LIMIT_BYTES = 64 << 30
"""Streams are kept in temporary files of at most this size."""

READ_UNPACKED = ("pcap", "unflux")
"""Formats that are not read through gzip yet."""

NOT_READ_YET = {
    b"\x0a\x0d\x0d\x0a": "this is pcapng, which is not read yet: convert it with "
    "`editcap -F pcap IN OUT`",
    b"\x28\xb5\x2f\xfd": "this is zstd-compressed, which is not read yet: unpack it first",
    b"\xfd7zXZ\x00": "this is xz-compressed, which is not read yet: unpack it first",
    b"BZh": "this is bzip2-compressed, which is not read: unpack it first",
}


def by_name(name: str) -> Source:
    """The source that ``--format NAME`` asks for."""
    for source in SOURCES:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in SOURCES)
    raise ValueError(f"there is no format {name!r}; known ones: {known}")


def read_head(path: Path) -> tuple[bytes, bool]:
    """The first bytes of a file, unpacked if it is gzip, and whether it is."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    packed = head.startswith(b"\x1f\x8b")
    return (_unpack(head) if packed else head), packed


def _unpack(head: bytes) -> bytes:
    """What the first bytes of a gzip file hold, bounded."""
    unpacked = b""
    try:
        while head and len(unpacked) < HEAD_BYTES:  # gzip members may be short, or empty
            member = zlib.decompressobj(wbits=31)
            unpacked += member.decompress(head, HEAD_BYTES - len(unpacked))  # bounded both ways
            head = member.unused_data
    except zlib.error:
        return unpacked or head
    return unpacked


def choose(path: Path, format_name: str | None = None) -> Source | str:
    """The source for a file, or the sentence that says why there is none."""
    if path.is_dir():
        return "this is a directory, not a file (nor a dataset that unflux wrote)"
    try:
        head, packed = read_head(path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not head:
        return "is empty"
    if format_name is not None:
        return by_name(format_name)
    return _by_content(head, packed)


def _by_content(head: bytes, packed: bool) -> Source | str:
    for source in SOURCES:
        if source.sniff(head):
            if packed and source.name in READ_UNPACKED:
                return f"this is a gzip-compressed {source.name} file: unpack it first (gunzip)"
            return source
    for magic, sentence in NOT_READ_YET.items():
        if head.startswith(magic):
            return sentence
    known = ", ".join(source.name for source in SOURCES)
    return f"is in no format that unflux knows ({known}); name one with --format if it is"


def expand(paths: Iterable[Path]) -> Iterator[Path]:
    """Files to read: a dataset directory stands for its Parquet files, in a fixed order."""
    for path in paths:
        inside = sorted(path.rglob("*.parquet")) if path.is_dir() else []
        yield from inside or [path]


@contextmanager
def streams_as_files(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """`-` (standard input), pipes and devices among the paths, each as a temporary file.

    A format is told by content before it is read, and what a stream gave once is gone.
    """
    with ExitStack() as stack:
        yield [_as_file(path, stack) for path in paths]


def _as_file(path: Path, stack: ExitStack) -> Path:
    if path != Path("-") and not (path.is_fifo() or path.is_char_device()):
        return path
    stream = sys.stdin.buffer if path == Path("-") else stack.enter_context(path.open("rb"))
    spool = stack.enter_context(
        tempfile.NamedTemporaryFile(prefix="unflux-stream-")  # noqa: SIM115  the stack closes it
    )
    shutil.copyfileobj(_Bounded(stream, STREAM_LIMIT_BYTES), spool)
    spool.flush()
    return Path(spool.name)


class _Bounded:
    """A stream, up to a limit."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.stream, self.left = stream, limit

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise UnfluxError(f"a stream is over {STREAM_LIMIT_BYTES >> 30} GiB; use a file")
        return data


def size_of(path: Path) -> int:
    """Bytes of a file, 0 if it cannot be told."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
