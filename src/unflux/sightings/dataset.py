"""The dataset on disk: both tables by day, in parts, with a manifest of what was taken in.

A part counts once the manifest names it, and the manifest is replaced in one step: a run that is
interrupted leaves a dataset of what was whole before. What it wrote beside that is removed by the
next one that adds.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from unflux.errors import UnfluxError
from unflux.sightings.files import check_new_directory, whole_file, write_table
from unflux.sightings.history import History
from unflux.sightings.taken import TakenIn

MANIFEST = "manifest.json"
VERSION = 1
OWN_KEY, HEAD_BYTES = b'"unflux_dataset"', 256
"""What our manifests begin with, and within how many bytes."""
TABLES = ("sightings", "activity")
PART = re.compile(r"(sightings|activity)/day=\d{4}-\d\d-\d\d/part-(\d{5,9})\.parquet")
"""What a manifest may name: anything else was not written by unflux."""


class Manifest(msgspec.Struct):
    """What a dataset holds."""

    unflux_dataset: int = VERSION
    parts: list[str] = []
    """Parquet files, relative to the dataset."""
    inputs: list[TakenIn] = []


class Dataset:
    """A directory that grows by parts."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory, self.manifest = directory, manifest

    @staticmethod
    def is_at(directory: Path) -> bool:
        """Is there a dataset? Other programs write a ``manifest.json`` too."""
        path = directory / MANIFEST
        if not path.is_file():
            return False
        if any((directory / table).is_dir() for table in TABLES):
            return True  # even where the manifest is broken, which opening it says
        with path.open("rb") as file:
            return OWN_KEY in file.read(HEAD_BYTES)

    @classmethod
    def open(cls, directory: Path) -> Dataset:
        """The dataset of a directory, an empty one where there is nothing yet.

        Raises
        ------
        UnfluxError
            When the directory holds something else, or its manifest cannot be read.
        """
        if cls.is_at(directory):
            return cls(directory, _read_manifest(directory))
        # Asked twice: another run may have made it one since the first look.
        if not _is_empty(directory) and not cls.is_at(directory):
            raise UnfluxError(f"{directory} holds something else; name a new directory")
        return cls(directory, _read_manifest(directory) if cls.is_at(directory) else Manifest())

    @property
    def files(self) -> list[Path]:
        """Its Parquet files that count, in a fixed order; never one outside of it."""
        paths = [self.directory / part for part in sorted(self.manifest.parts)]
        root = self.directory.resolve()
        return [path for path in paths if path.resolve().is_relative_to(root)]

    @property
    def formats(self) -> set[str]:
        """Formats of all that was ever taken in: what they cannot show, the dataset cannot."""
        return {one.format for one in self.manifest.inputs if one.format is not None}

    def holds(self, digest: str) -> bool:
        """Was a file with this content taken in before?"""
        return any(one.blake2b == digest for one in self.manifest.inputs)

    def add(
        self,
        history: History,
        taken_in: Iterable[TakenIn] = (),
        *,
        replacing: Iterable[str] = (),
    ) -> list[Path]:
        """Write a part; it counts once everything is on disk. Returns the files written.

        Parts that it replaces stop counting in the same step, and are then deleted.
        """
        self.begin()
        written = self.write_part(history, self.next_number())
        self.take_in(written, taken_in, replacing=replacing)
        return written

    def begin(self) -> None:
        """Make the directory a dataset: killed before its first part is whole, it is one still."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.is_at(self.directory):
            self._name(self.manifest)

    def next_number(self) -> int:
        """The number of the next part."""
        return 1 + max(map(_number, self.manifest.parts), default=-1)

    def write_part(self, history: History, number: int) -> list[Path]:
        """Write the files of a part, which do not count yet. Returns their paths."""
        written = []
        both = (history.sightings_table(), history.activity_table())
        for name, table in zip(TABLES, both, strict=True):
            for day, rows in _by_day(table):
                path = self.directory / name / f"day={day}" / f"part-{number:05}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_table(rows, path)
                written.append(path)
        return written

    def take_in(
        self,
        written: Iterable[Path],
        taken_in: Iterable[TakenIn] = (),
        *,
        replacing: Iterable[str] = (),
    ) -> None:
        """Let written files count from now on, instead of those that they replace."""
        parts = [path.relative_to(self.directory).as_posix() for path in written]
        gone = set(replacing)
        manifest = Manifest(
            parts=[*(part for part in self.manifest.parts if part not in gone), *parts],
            inputs=[*self.manifest.inputs, *taken_in],
        )
        self._name(manifest)
        for part in gone:
            (self.directory / part).unlink(missing_ok=True)

    def _name(self, manifest: Manifest) -> None:
        """Put a manifest in place, whole."""
        encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        with whole_file(self.directory / MANIFEST) as temporary:
            temporary.write_bytes(encoded + b"\n")
        self.manifest = manifest

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process adds to a dataset at a time; the kernel frees the lock of a dead one.

        What others have added meanwhile is known from here on, and what a killed run left is gone.

        Raises
        ------
        UnfluxError
            When another one does.
        """
        with locked_directory(self.directory, "adding to"):
            if self.is_at(self.directory):
                self.manifest = _read_manifest(self.directory)
                self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove files that a killed run left: parts that do not count, and half-written ones."""
        counted = set(self.manifest.parts)
        left = [*self.directory.glob(f".{MANIFEST}.*")]
        for name in TABLES:
            left += self.directory.glob(f"{name}/day=*/.part-*.parquet.*")
            left += (
                path
                for path in self.directory.glob(f"{name}/day=*/part-*.parquet")
                if path.relative_to(self.directory).as_posix() not in counted
            )
        for path in left:
            path.unlink(missing_ok=True)


def _read_manifest(directory: Path) -> Manifest:
    """The manifest, checked.

    Raises
    ------
    UnfluxError
        When it cannot be read, is of another version, or names what is no part.
    """
    path = directory / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UnfluxError(f"{path} cannot be read: {error}") from None
    if manifest.unflux_dataset != VERSION:
        raise UnfluxError(
            f"{directory} is a dataset of version {manifest.unflux_dataset}; {VERSION} is read"
        )
    wrong = next((part for part in manifest.parts if PART.fullmatch(part) is None), None)
    if wrong is not None:
        raise UnfluxError(f"{path} cannot be read: {wrong[:100]!r} is no part of a dataset")
    return manifest


def _number(part: str) -> int:
    return int(part.rpartition("-")[2].removesuffix(".parquet"))


@contextmanager
def locked_directory(directory: Path, doing: str) -> Iterator[None]:
    """Only one process does something in a directory at a time; the lock ends with the process.

    Raises
    ------
    UnfluxError
        When another one does.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnfluxError(f"another unflux is {doing} {directory}") from None
        yield


def _is_empty(directory: Path) -> bool:
    """Nothing is there, or only what a run left that ended before its first part."""
    if not directory.exists():
        return True
    return directory.is_dir() and all(one.name.startswith(".") for one in directory.iterdir())


def write_dataset(
    history: History, directory: Path, taken_in: Iterable[TakenIn] | None = None
) -> list[Path]:
    """Write a new dataset: ``sightings/day=2026-01-31/part-00000.parquet`` and so on.

    Without `taken_in` its inputs are not known again; of which formats they were, is.

    Raises
    ------
    UnfluxError
        When the directory holds something already.
    """
    check_new_directory(directory)
    if taken_in is None:
        taken_in = [TakenIn("", "", 0, name) for name in sorted(history.formats)]
    dataset = Dataset(directory, Manifest())
    return [*dataset.add(history, taken_in), directory / MANIFEST]


def _by_day(table: pa.Table) -> Iterable[tuple[str, pa.Table]]:
    days = table.column("bucket").cast(pa.date32())
    for day in sorted(days.unique().to_pylist()):
        yield day.isoformat(), table.filter(pc.equal(days, pa.scalar(day)))
