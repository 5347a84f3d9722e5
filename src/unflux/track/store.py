"""What is on disk beside the dataset: names, targets, events, samples, and answers not yet reduced.

One SQLite file (WAL). A query is marked as asked before it is sent, and every response is stored
with the state that follows from it, in one transaction: after kill -9 nothing is asked again before
its time, and no answer is lost or counted twice. `unflux track add` writes while `run` reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from unflux.errors import UnfluxError
from unflux.track.facts import Event, Sample
from unflux.track.life import Listed
from unflux.track.record import Heard
from unflux.track.targets import Key, Target

FILE = "track.sqlite"
VERSION = 1
MAX_EVENTS = 5_000
"""Kept per name; the oldest go. Sightings in the dataset stay."""
MAX_SAMPLES = 5_000
"""Kept per zone."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS name (
    name TEXT PRIMARY KEY, added_s REAL NOT NULL, source TEXT NOT NULL, state BLOB NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS target (
    kind TEXT NOT NULL, qname TEXT NOT NULL, qtype TEXT NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (kind, qname, qtype)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY, at_s REAL NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    owner TEXT, detail TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_name ON event (name, id);
CREATE INDEX IF NOT EXISTS event_owner ON event (owner, id);
CREATE TABLE IF NOT EXISTS sample (
    id INTEGER PRIMARY KEY, at_s REAL NOT NULL, zone TEXT NOT NULL, way TEXT NOT NULL,
    members TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS sample_zone ON sample (zone, id);
CREATE TABLE IF NOT EXISTS response (id INTEGER PRIMARY KEY, heard BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sealed (file TEXT PRIMARY KEY, last_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS verdict (
    name TEXT PRIMARY KEY, verdict TEXT NOT NULL, score REAL NOT NULL, at_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS total (what TEXT PRIMARY KEY, n INTEGER NOT NULL);
"""


class Store:
    """The tracker's own file in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / FILE
        try:
            self.database = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            self.database.execute("PRAGMA journal_mode = WAL")
            self.database.execute("PRAGMA synchronous = NORMAL")
            found = self.database.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise UnfluxError(f"{self.path} has version {found}; {VERSION} is read")
            self.database.executescript(SCHEMA)
            self.database.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            raise UnfluxError(f"{self.path} cannot be used: {error}") from None

    @classmethod
    def existing(cls, directory: Path) -> Store:
        """The store of a directory in which something is tracked.

        Raises
        ------
        UnfluxError
            When there is none.
        """
        if not (directory / FILE).is_file():
            raise UnfluxError(f"nothing is tracked in {directory}; begin with unflux track add")
        return cls(directory)

    def close(self) -> None:
        """Close the file; whatever was committed is in it."""
        self.database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    # Names

    def add_names(self, names: Iterable[tuple[str, str]], now: float) -> int:
        """List names with their sources; those listed already stay. Returns how many are new."""
        before = self.n_names()
        with self.transaction():
            for name, source in names:
                blank = msgspec.json.encode(Listed(name, now, source))
                self.database.execute(
                    "INSERT INTO name VALUES (?, ?, ?, ?, 0) ON CONFLICT (name) DO UPDATE "
                    "SET removed = 0, source = excluded.source WHERE removed = 1",
                    (name, now, source, blank),
                )
        return self.n_names() - before

    def remove_names(self, names: Iterable[str]) -> int:
        """Take names off the list; a running tracker notices. Returns how many were on it."""
        before = self.n_names()
        with self.transaction():
            self.database.executemany(
                "UPDATE name SET removed = 1 WHERE name = ?", [(name,) for name in names]
            )
        return before - self.n_names()

    def n_names(self) -> int:
        """How many names are listed."""
        query = "SELECT count(*) FROM name WHERE NOT removed"
        return int(self.database.execute(query).fetchone()[0])

    def names(self) -> list[Listed]:
        """Listed names with their states, by name."""
        rows = self.database.execute("SELECT state FROM name WHERE NOT removed ORDER BY name")
        return [msgspec.json.decode(state, type=Listed) for (state,) in rows]

    def revision(self) -> int:
        """Changes when another process wrote to the file."""
        return int(self.database.execute("PRAGMA data_version").fetchone()[0])

    # State

    def targets(self) -> list[Target]:
        """All targets as they were stored last."""
        rows = self.database.execute("SELECT state FROM target")
        return [msgspec.msgpack.decode(state, type=Target) for (state,) in rows]

    def put(
        self, listed: Iterable[Listed], targets: Iterable[Target], dropped: Iterable[Key]
    ) -> None:
        """Store what changed; within a transaction."""
        self.database.executemany(
            "UPDATE name SET state = ? WHERE name = ?",
            [(msgspec.json.encode(one), one.name) for one in listed],
        )
        self.database.executemany(
            "INSERT OR REPLACE INTO target VALUES (?, ?, ?, ?)",
            [(*one.key, msgspec.msgpack.encode(one)) for one in targets],
        )
        self.database.executemany(
            "DELETE FROM target WHERE kind = ? AND qname = ? AND qtype = ?", list(dropped)
        )

    # What was heard

    def put_heard(
        self, heard: Sequence[Heard], events: Sequence[Event], samples: Sequence[Sample]
    ) -> None:
        """Store responses, events and samples; within a transaction."""
        self.database.executemany(
            "INSERT INTO response (heard) VALUES (?)",
            [(msgspec.msgpack.encode(one),) for one in heard],
        )
        self.database.executemany(
            "INSERT INTO event (at_s, name, kind, owner, detail) VALUES (?, ?, ?, ?, ?)",
            [
                (one.at_s, one.name, one.kind, one.detail.get("owner"),
                 msgspec.json.encode(one.detail).decode())
                for one in events
            ],
        )  # fmt: skip
        self.database.executemany(
            "INSERT INTO sample (at_s, zone, way, members) VALUES (?, ?, ?, ?)",
            [(one.at_s, one.zone, one.way, "\n".join(one.members)) for one in samples],
        )

    def count(self, totals: dict[str, int]) -> None:
        """Add to what `unflux track list` prints; within a transaction."""
        self.database.executemany(
            "INSERT INTO total VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET n = n + excluded.n",
            [(what, n) for what, n in totals.items() if n],
        )

    def totals(self) -> dict[str, int]:
        """Queries, responses and failures since the beginning, by kind."""
        return dict(self.database.execute("SELECT what, n FROM total ORDER BY what"))

    def pending(self, limit: int) -> tuple[int, list[Heard]]:
        """(last id, responses) not yet in the dataset, oldest first."""
        rows = self.database.execute(
            "SELECT id, heard FROM response ORDER BY id LIMIT ?", (limit,)
        ).fetchall()
        heard = [msgspec.msgpack.decode(one, type=Heard) for _, one in rows]
        return (rows[-1][0] if rows else 0), heard

    def seal(self, file: str, last_id: int) -> None:
        """The responses up to an id are in a file now, which is about to go into the dataset."""
        with self.transaction():
            self.database.execute("INSERT INTO sealed VALUES (?, ?)", (file, last_id))
            self.database.execute("DELETE FROM response WHERE id <= ?", (last_id,))

    def sealed(self) -> list[str]:
        """Files that are to go into the dataset."""
        return [file for (file,) in self.database.execute("SELECT file FROM sealed ORDER BY file")]

    def unseal(self, file: str) -> None:
        """A file is in the dataset."""
        with self.transaction():
            self.database.execute("DELETE FROM sealed WHERE file = ?", (file,))

    def verdicts(self) -> dict[str, tuple[str, float]]:
        """(verdict, score) by name, as judged last."""
        rows = self.database.execute("SELECT name, verdict, score FROM verdict")
        return {name: (verdict, score) for name, verdict, score in rows}

    def put_verdicts(self, verdicts: dict[str, tuple[str, float]], at_s: float) -> None:
        """Store what was judged."""
        with self.transaction():
            self.database.executemany(
                "INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?)",
                [(name, *verdict, at_s) for name, verdict in verdicts.items()],
            )

    def events(self, name: str, zones: Sequence[str] = ()) -> list[Event]:
        """Events of a name and of the zones it lies in, oldest first."""
        marks = ", ".join("?" * len(zones)) or "NULL"
        rows: Iterable[tuple[Any, ...]] = self.database.execute(
            f"SELECT at_s, name, kind, detail FROM event WHERE name = ? OR owner IN ({marks}) "
            "ORDER BY at_s, id",
            (name, *zones),
        )
        return [Event(at, of, kind, msgspec.json.decode(detail)) for at, of, kind, detail in rows]

    def samples(self, zone: str) -> list[Sample]:
        """Samples of a zone's name servers, oldest first."""
        rows = self.database.execute(
            "SELECT at_s, zone, way, members FROM sample WHERE zone = ? ORDER BY id", (zone,)
        )
        return [Sample(at, of, way, tuple(members.split("\n"))) for at, of, way, members in rows]

    def trim(self) -> None:
        """Keep the bounds: the oldest events of a name and samples of a zone go."""
        with self.transaction():
            for table, column, limit in (
                ("event", "name", MAX_EVENTS),
                ("sample", "zone", MAX_SAMPLES),
            ):
                self.database.execute(
                    f"DELETE FROM {table} WHERE id IN (SELECT id FROM (SELECT id, row_number() "
                    f"OVER (PARTITION BY {column} ORDER BY id DESC) AS place FROM {table}) "
                    "WHERE place > ?)",
                    (limit,),
                )
