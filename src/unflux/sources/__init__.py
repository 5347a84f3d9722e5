"""Input formats: one module each, found by content, listed in `SOURCES`.

To add one, see CONTRIBUTING.md, "Add an input format".
"""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from unflux import _native
from unflux.errors import UnfluxError, plain_error
from unflux.sources.base import AnswerSource, Books, ReadOptions, Source, Tally, is_packed
from unflux.sources.cof import PassiveDnsCof
from unflux.sources.dnscollector import DnsCollector
from unflux.sources.dnsmonster import DnsMonster
from unflux.sources.dnsmonster_parquet import DnsMonsterParquet, is_of_dnsmonster
from unflux.sources.dnstap import Dnstap
from unflux.sources.eve import SuricataEve
from unflux.sources.parquet import UnfluxParquet, holds_answers
from unflux.sources.passivedns import PassiveDnsLog
from unflux.sources.pcap import Pcap
from unflux.sources.pcapng import Pcapng
from unflux.sources.zeek import Zeek

__all__ = ["SOURCES", "AnswerSource", "Books", "ReadOptions", "Source", "Tally", "by_name"]

SOURCES: tuple[Source, ...] = (
    Pcap(),
    Pcapng(),
    Dnstap(),
    Zeek(),
    SuricataEve(),
    DnsCollector(),
    DnsMonster(),
    PassiveDnsLog(),
    PassiveDnsCof(),
    DnsMonsterParquet(),
    UnfluxParquet(),
)

HEAD_BYTES = 1 << 16
STREAM_LIMIT_BYTES = 64 << 30
"""Streams are kept in temporary files of at most this size."""

NOT_READ = {
    b"BZh": "this is bzip2-compressed, which is not read: unpack it first",
    b"PK\x03\x04": "this is a zip archive: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "this is a 7z archive: unpack it first",
    b"Rar!\x1a\x07": "this is a rar archive: unpack it first",
}
EMPTY_INSIDE = "has nothing in it that can be unpacked: it is empty inside, or cut off"
NAME_ONE = "; name one with --format if it is"
"""What a command's user may do about it; who has no `--format` leaves it out."""
TAR_MAGIC_AT, TAR_MAGIC = 257, b"ustar"
"""An archive would pass for its first member: what is behind that would be lost."""
PACKED_AS = "gzip, zstd, xz or lz4, of every format but Parquet, which is packed inside"


def by_name(name: str) -> Source:
    """The source that ``--format NAME`` asks for."""
    for source in SOURCES:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in SOURCES)
    raise ValueError(f"there is no format {name!r}; known ones: {known}")


def choose(path: Path, format_name: str | None = None) -> Source | str:
    """The source for a file, or the sentence that says why there is none."""
    if path.is_dir():
        return "nothing in this directory is in a format that unflux knows"
    if not path.exists() and glob.has_magic(str(path)):
        return "is a pattern that no file matches"
    try:
        head = _native.head(path, HEAD_BYTES)
    except OSError as error:
        return f"cannot be read: {plain_error(error.strerror or error)}"
    if not head:
        return EMPTY_INSIDE if size_of(path) else "is empty"
    source = by_name(format_name) if format_name is not None else _by_content(head)
    if isinstance(source, UnfluxParquet | DnsMonsterParquet):
        return _parquet(source, path, is_named=format_name is not None)
    return source


def is_on_ports(source: Source) -> bool:
    """Is a file of this format searched for DNS by port, so that `--port` chooses in it?"""
    return isinstance(source, Pcap | Pcapng)


def reaches_over_time(source: Source, path: Path) -> bool:
    """Are a file's rows about more than a moment each, so that two times may both take one in?"""
    if isinstance(source, UnfluxParquet):
        return not holds_answers(path)
    return isinstance(source, PassiveDnsCof)


def _parquet(source: Source, path: Path, *, is_named: bool) -> Source | str:
    """Whose Parquet it is, which stands at the end of a file."""
    if is_packed(path):
        return "this is a packed Parquet file, which is packed inside already: unpack it first"
    if is_named:
        return source
    return by_name("dnsmonster_parquet" if is_of_dnsmonster(path) else "unflux")


def _by_content(head: bytes) -> Source | str:
    for magic, sentence in NOT_READ.items():
        if head.startswith(magic):
            return sentence
    if head.startswith(TAR_MAGIC, TAR_MAGIC_AT):
        return "this is a tar archive: unpack it first"
    for source in SOURCES:
        if source.sniff(head):
            return source
    known = ", ".join(source.name for source in SOURCES)
    return f"is in no format that unflux knows ({known}){NAME_ONE}"


@contextmanager
def streams_as_files(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """`-` (standard input), pipes and devices among the paths, each as a temporary file.

    A format is told by content before it is read, and what a stream gave once is gone. Patterns
    that no shell expanded (quoted, or in a unit of systemd) become the files that they match.
    """
    with ExitStack() as stack:
        yield [_as_file(path, stack) for path in _matching(paths)]


def _matching(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.exists() or not glob.has_magic(str(path)):
            yield path
            continue
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  absolute ones too
        yield from map(Path, found) if found else [path]


def _as_file(path: Path, stack: ExitStack) -> Path:
    if path != Path("-") and not (path.is_fifo() or path.is_char_device()):
        return path
    stream = sys.stdin.buffer if path == Path("-") else stack.enter_context(path.open("rb"))
    spool = stack.enter_context(
        tempfile.NamedTemporaryFile(prefix="unflux-stream-")  # noqa: SIM115  the stack closes it
    )
    shutil.copyfileobj(_Bounded(stream, STREAM_LIMIT_BYTES), spool)
    spool.flush()
    _STREAMS[Path(spool.name)] = "standard input" if path == Path("-") else name_of(path)
    return Path(spool.name)


_STREAMS: dict[Path, str] = {}
"""What the temporary files of streams stand for; as many as a command has arguments."""


def name_of(path: Path) -> str:
    """What a file is called towards people: as UTF-8, whatever bytes its name has."""
    return _STREAMS.get(path) or os.fsencode(path).decode(errors="backslashreplace")


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
