"""Files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unflux.errors import UnfluxError

ROWS_PER_GROUP = 1 << 16
"""Of a Parquet file. Rows lie by name and a group says from which name to which: who looks for one
name reads so many rows of a file, not the million that is Arrow's default."""

MARK = "unflux-"
LEFT = re.compile(r"\..+\.unflux-[a-z0-9_]{8}")
"""Names of temporary files, and of nothing else."""


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            row_group_size=ROWS_PER_GROUP,
            write_page_checksum=True,
        )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place once everything went well.

    It is locked for as long as its writer lives: one that a killed process left behind is known
    by that, and removed by the next who writes into the directory.
    """
    _remove_what_dead_writers_left(path.parent)
    handle, temporary = _locked_temporary(path)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _to_disk(temporary)
        temporary.replace(path)
        _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that becomes `path`, which is new or empty, once everything went well.

    It lies beside it; or in it where there is one already, which may be a volume that cannot be
    replaced: then its content moves up in the end.

    Raises
    ------
    UnfluxError
        When there is something in `path` already.
    """
    path = path.absolute()
    check_new_directory(path)
    where = path if path.is_dir() else path.parent
    where.mkdir(parents=True, exist_ok=True)
    _remove_what_dead_writers_left(where)
    handle, temporary = _locked_temporary(where / path.name, is_directory=True)
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if where == path:
            for made in sorted(temporary.iterdir()):
                made.replace(path / made.name)
        else:
            temporary.replace(path)
        _to_disk(where)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def _locked_temporary(path: Path, *, is_directory: bool = False) -> tuple[int, Path]:
    """A new file (or directory) beside `path` that is locked; its handle holds the lock."""
    prefix, parent = f".{path.name}.{MARK}", path.parent
    while True:
        if is_directory:
            name = tempfile.mkdtemp(prefix=prefix, dir=parent)
            try:
                handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:  # taken for one that was left, as below
                continue
        else:
            handle, name = tempfile.mkstemp(prefix=prefix, dir=parent)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: nobody removes it there either
            return handle, Path(name)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # taken for one that was left, in the moment before it was locked


def is_half_written(path: Path) -> bool:
    """Is it a temporary file of unflux, or in a temporary directory?"""
    return MARK in str(path) and any(LEFT.fullmatch(part) for part in path.parts)


def _remove_what_dead_writers_left(directory: Path) -> None:
    """Temporary files and directories that nobody holds a lock on, whatever they were to become."""
    try:
        left = [one for one in directory.iterdir() if LEFT.fullmatch(one.name)]
    except PermissionError:  # one may write into it, and not look
        return
    for one in left:
        _remove_unless_locked(one)


def _remove_unless_locked(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone meanwhile, or not ours
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:  # somebody is writing it
        pass
    finally:
        os.close(handle)


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a directory's names, would outlive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_new_directory(directory: Path) -> None:
    """Raise `UnfluxError` when a directory to be written holds something already."""
    if directory.is_dir():
        _remove_what_dead_writers_left(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UnfluxError(f"{directory} is not empty; name a new directory")
