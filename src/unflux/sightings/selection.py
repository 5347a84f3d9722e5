"""Which files a command's paths stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from unflux import sources
from unflux.sightings.dataset import Dataset
from unflux.sightings.files import is_half_written


@dataclass(frozen=True, slots=True)
class Selection:
    """What paths stand for."""

    files: list[Path]
    formats: set[str]
    """Of what was taken into datasets among them."""
    passed_over: list[Path]
    """Files in directories that are in no known format: other logs, usually."""
    itself: list[Path]
    """The dataset that the inputs are taken into, where it is among them: it is no input."""


def select(paths: Iterable[Path], taking_into: Path | None = None) -> Selection:
    """Files to read: a dataset stands for its parts, a directory for what is below it.

    A file named twice is read once. A directory in which nothing can be read stays as it is: that
    is said when it is read. Parts of the dataset that all is taken into are no input: they are
    judged anyway, and would count twice.
    """
    selection = Selection([], set(), [], [])
    own = None if taking_into is None else taking_into.resolve()
    for path in paths:
        if not path.is_dir():
            selection.files.append(path)
        elif Dataset.is_at(path):
            _dataset(path, selection, own)
        else:
            _below(path, selection, own)
    return replace(selection, files=list(dict.fromkeys(selection.files)))


def _dataset(directory: Path, selection: Selection, own: Path | None) -> None:
    if directory.resolve() == own:
        selection.itself.append(directory)
        return
    dataset = Dataset.open(directory)
    selection.files.extend(dataset.files)
    selection.formats.update(dataset.formats)


def _below(directory: Path, selection: Selection, own: Path | None) -> None:
    """Everything below; of datasets there what counts, which their manifests say."""
    before = len(selection.files)
    no_input = len(selection.itself)
    datasets: set[Path] = set()
    for path in sorted(directory.rglob("[!.]*")):
        if not datasets.isdisjoint(path.parents) or is_half_written(path):
            continue
        if path.is_dir():
            if Dataset.is_at(path):
                datasets.add(path)
                _dataset(path, selection, own)
        elif path.is_file():
            readable = not isinstance(sources.choose(path), str)
            (selection.files if readable else selection.passed_over).append(path)
    if len(selection.files) == before and len(selection.itself) == no_input:
        selection.files.append(directory)
