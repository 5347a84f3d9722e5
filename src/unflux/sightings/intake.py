"""What is new in files for a dataset: nothing is taken in twice, and nothing is left out unsaid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from unflux import sources
from unflux.sightings.dataset import Dataset
from unflux.sightings.history import History, Input
from unflux.sightings.selection import Selection
from unflux.sightings.taken import Chosen, Content, TakenIn, content_of, shown_time
from unflux.sources.base import ANY_TIME_US, Books, ReadOptions, Source

NOT_WRITTEN_DOWN = (
    "with which --since, --until, --port or --window it was taken in was not written down then: "
    "it counts as whole"
)
STAYS = "what is in stays as it is (another dataset takes it in otherwise)"
LIKENESS_FROM = 10
"""Answers; of fewer, some files have as many in the same time by chance."""
ITSELF = "the dataset itself is no input: what it holds is judged anyway"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that is to be read, or the part of it that is not in the dataset yet."""

    path: Path
    options: ReadOptions
    taken: TakenIn | None
    """How it will be remembered; None when it cannot be read, which reading it will say."""
    note: str | None = None
    """What the user is told of it."""

    def entered(self, done: Input) -> TakenIn | None:
        """How it is remembered once it was read; None when nothing of it came in."""
        books = done.books
        if self.taken is None or (books.error is not None and not books.decoded):
            return None
        return msgspec.structs.replace(
            self.taken,
            n_decoded=books.decoded,
            n_records=books.records,
            time_first_us=books.time_first_us,
            time_last_us=books.time_last_us,
            fault=books.error,
        )


class Intake:
    """Compares files with what a dataset holds."""

    def __init__(self, dataset: Dataset, options: ReadOptions, format_name: str | None) -> None:
        self.options, self.format_name = options, format_name
        self._held: dict[str, list[TakenIn]] = defaultdict(list)
        self._sizes: set[int] = set()
        self._by_answers: dict[tuple[object, ...], TakenIn] = {}
        for one in dataset.manifest.inputs:
            if one.blake2b:
                self._hold(one)
                self._like_another(one)

    def _hold(self, one: TakenIn) -> None:
        self._held[one.blake2b].append(one)
        if one.chosen is not None and one.n_decoded != 0:
            self._sizes.add(one.size_bytes)

    def look_at_all(self, files: Iterable[Path]) -> tuple[list[Wanted], list[Input]]:
        """What is to be read of files, and what there is to say of the others."""
        wanted: list[Wanted] = []
        said: list[Input] = []
        for path in files:
            one = self.look_at(path)
            if isinstance(one, Input):
                said.append(one)
            else:
                wanted += one
        return wanted, said

    def remembered(
        self, wanted: Sequence[Wanted], done: Sequence[Input]
    ) -> tuple[list[Input], list[TakenIn]]:
        """What is told of files that were read, in the same order, and how they are remembered."""
        said: list[Input] = []
        entries: list[TakenIn] = []
        for asked, one in zip(wanted, done, strict=True):
            entry = asked.entered(one)
            notes = [asked.note, None if entry is None else self._like_another(entry)]
            said.append(replace(one, note="; ".join(filter(None, notes)) or None))
            if entry is not None:
                entries.append(entry)
        return said, entries

    def _like_another(self, entry: TakenIn) -> str | None:
        """Says so when its answers are those of other bytes, by all that is known of them."""
        if not entry.n_decoded or entry.time_last_us is None:
            return None
        answers = (entry.format, entry.chosen, entry.n_decoded, entry.n_records)
        seen = (*answers, entry.time_first_us, entry.time_last_us)
        other = self._by_answers.setdefault(seen, entry)
        if other.blake2b == entry.blake2b or entry.n_decoded < LIKENESS_FROM:
            return None
        return (
            f"it has as many answers as {other.path}, from the same moment to the same moment: if "
            "it is the same log, packed otherwise, it counts twice from now on (take in one of "
            "them, into a new dataset)"
        )

    def look_at(self, path: Path) -> Input | list[Wanted]:
        """What is to be read of a file; otherwise what there is to say of it.

        Raises
        ------
        ValueError
            When there is no such format.
        """
        source = sources.choose(path, self.format_name)
        if isinstance(source, str):
            return [Wanted(path, self.options, None)]
        try:
            content = content_of(path, self._sizes)
        except OSError:
            return [Wanted(path, self.options, None)]
        one = _entry(path, source, content, self.options)
        said = self._compared(path, source, one, content)
        if isinstance(said, str):
            return Input(path, source.name, Books(error=said), content.size_bytes)
        if isinstance(said, list):
            for wanted in said:
                if wanted.taken is not None:
                    self._hold(wanted.taken)
        return said

    def _compared(
        self, path: Path, source: Source, one: TakenIn, content: Content
    ) -> Input | list[Wanted] | str:
        """What is left of a content, which may be held, or begin with one that is."""
        asked = one.chosen or Chosen()
        # What was read in a wrong format and gave nothing is as good as not read.
        held = [
            known
            for known in self._held.get(one.blake2b, ())
            if known.format == one.format or known.n_decoded != 0
        ]
        if any(known.chosen is None for known in held):
            return self._known(path, one, held)
        left = asked.without(known.chosen for known in held if known.chosen is not None)
        begun = self._begun(content)
        if left and all(not part.without([chosen for _, chosen in begun]) for part in left):
            left = []
        if not left:
            return self._known(path, one, held)
        for known, chosen in begun:
            if any(part.without([chosen]) != [part] for part in left):
                return (
                    f"has grown since it was taken in: its first {known.size_bytes} bytes are in "
                    "the dataset and would be counted twice. Take in files that grow no more, or "
                    f"what is new alone (--since {shown_time(chosen.until_us or 0)})"
                )
        if held and sources.reaches_over_time(source, path):
            return (
                "was taken in before for another time; its rows reach over more than a moment, so "
                "that some would be counted twice. Take all of it into a new dataset"
            )
        if left == [asked]:
            return [Wanted(path, self.options, one)]
        return [
            Wanted(
                path,
                part.applied(self.options),
                msgspec.structs.replace(one, chosen=part),
                f"only {part.narrower_than(asked)} was read: the rest was taken in before",
            )
            for part in left
        ]

    def _known(self, path: Path, one: TakenIn, held: list[TakenIn]) -> Input:
        """All that is asked for was taken in before."""
        faults = [known.fault for known in held if known.fault is not None]
        error = f"was taken in before as far as it can be read: {faults[0]}" if faults else None
        books, note = Books(error=error), _differs(one, held)
        return Input(path, one.format, books, one.size_bytes, known=True, note=note)

    def _begun(self, content: Content) -> list[tuple[TakenIn, Chosen]]:
        """What is held of the file as it was when it was shorter, and the times that this is."""
        begun = []
        for digest in content.beginnings.values():
            for known in self._held.get(digest, ()):
                if known.chosen is None or not known.n_decoded or known.time_last_us is None:
                    continue
                until_us = min(known.time_last_us + 1, known.chosen.until_us or ANY_TIME_US[1])
                begun.append((known, msgspec.structs.replace(known.chosen, until_us=until_us)))
        return begun


def _differs(asked: TakenIn, held: Iterable[TakenIn]) -> str | None:
    """What is asked for otherwise than it was taken in."""
    notes: dict[str, None] = {}
    for known in held:
        if known.chosen is None or asked.chosen is None:
            notes[NOT_WRITTEN_DOWN] = None
            continue
        words = [
            f"--{option} {was}"
            for option, was, now in (
                ("format", known.format, asked.format),
                ("vantage", known.chosen.vantage, asked.chosen.vantage),
                ("clients", known.chosen.clients, asked.chosen.clients),
            )
            if was != now
        ]
        if words:
            notes[f"taken in with {' '.join(words)}: {STAYS}"] = None
    return "; ".join(notes) or None


def by_options(wanted: Iterable[Wanted]) -> list[tuple[ReadOptions, list[Wanted]]]:
    """Those that are read in the same way together; no file is twice in one group."""
    groups: dict[ReadOptions, list[Wanted]] = defaultdict(list)
    for one in wanted:
        groups[one.options].append(one)
    return list(groups.items())


def told(inputs: Iterable[Input], selection: Selection) -> list[Input]:
    """What is told of files, in the order in which they were named, and of what is no input."""
    place = {path: number for number, path in enumerate(selection.files)}
    return [
        *sorted(inputs, key=lambda one: place[one.path]),
        *(Input(path, None, Books(), known=True, note=ITSELF) for path in selection.itself),
    ]


def _entry(path: Path, source: Source, content: Content, options: ReadOptions) -> TakenIn:
    asked = Chosen.of(options, on_ports=sources.is_on_ports(source))
    name, size_bytes = sources.name_of(path), content.size_bytes
    return TakenIn(name, content.blake2b, size_bytes, source.name, asked)


def entries_of(history: History, options: ReadOptions | None = None) -> list[TakenIn]:
    """How the inputs of a history are remembered where it is written as a dataset.

    Without the options that they were read with, it is not known which part of them this is.
    """
    entries = []
    for one in history.inputs:
        entry = _entry_of_read(one, options)
        if entry is not None:
            entries.append(entry)
    missing = history.formats - {entry.format for entry in entries}
    return entries + [TakenIn("", "", 0, name) for name in sorted(missing)]


def _entry_of_read(one: Input, options: ReadOptions | None) -> TakenIn | None:
    if one.source is None:
        return None
    try:
        source, content = sources.by_name(one.source), content_of(one.path)
    except (OSError, ValueError):  # gone meanwhile: it is not known again
        return TakenIn(sources.name_of(one.path), "", one.size_bytes, one.source)
    entry = _entry(one.path, source, content, options or ReadOptions())
    if options is None:
        entry = msgspec.structs.replace(entry, chosen=None)
    return Wanted(one.path, options or ReadOptions(), entry).entered(one)
