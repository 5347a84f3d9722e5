"""Which files a command's paths stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from unflux import sources
from unflux.sightings.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Selection:
    """What paths stand for."""

    files: list[Path]
    formats: set[str]
    """Of what was taken into datasets among them."""
    passed_over: list[Path]
    """Files in directories that are in no known format: other logs, usually."""


def select(paths: Iterable[Path]) -> Selection:
    """Files to read: a dataset stands for its parts, a directory for what is below it.

    A file named twice is read once. A directory in which nothing can be read stays as it is: that
    is said when it is read.
    """
    selection = Selection([], set(), [])
    for path in paths:
        if not path.is_dir():
            selection.files.append(path)
        elif Dataset.is_at(path):
            dataset = Dataset.open(path)
            selection.files.extend(dataset.files)
            selection.formats.update(dataset.formats)
        else:
            _below(path, selection)
    return replace(selection, files=list(dict.fromkeys(selection.files)))


def _below(directory: Path, selection: Selection) -> None:
    before = len(selection.files)
    for path in sorted(directory.rglob("[!.]*")):
        if path.is_file():
            readable = not isinstance(sources.choose(path), str)
            (selection.files if readable else selection.passed_over).append(path)
    if len(selection.files) == before:
        selection.files.append(directory)
