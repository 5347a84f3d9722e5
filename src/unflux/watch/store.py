"""Blocks on disk (SQLite), so that they outlive the process and `unflux blocked` can ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from unflux.errors import Unavailable
from unflux.watch.blocks import Block

FILE = "blocks.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS blocks (
    kind TEXT NOT NULL, trigger TEXT NOT NULL, until_us INTEGER NOT NULL, block BLOB NOT NULL,
    PRIMARY KEY (kind, trigger)
) WITHOUT ROWID
"""


def _has_blocks(database: sqlite3.Connection) -> bool:
    """Not so where the disk was full before anything was saved."""
    asked = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'blocks'")
    return asked.fetchone() is not None


class BlockStore:
    """All blocks in force; what changed since the last time is written, in one transaction."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._saved: dict[tuple[str, str], Block] | None = None
        """What this object wrote last; None: whatever is there is replaced."""

    @contextmanager
    def _open(self, uri_mode: str) -> Iterator[sqlite3.Connection]:
        uri = f"{self.path.resolve().as_uri()}?mode={uri_mode}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=5)) as database, database:
                yield database
        except sqlite3.Error as error:
            raise Unavailable(f"{self.path}: {error}") from None

    def save(self, blocks: Iterable[Block]) -> None:
        """Make these the blocks in force.

        Raises
        ------
        Unavailable
            When the disk is full or the file cannot be written; what was there before stays.
        """
        wanted = {(block.kind, block.trigger): block for block in blocks}
        if not self.path.is_file():
            self._saved = None
        saved = self._saved or {}
        rows = [
            (block.kind, block.trigger, block.until_us, msgspec.json.encode(block))
            for key, block in wanted.items()
            if saved.get(key) is not block
        ]
        with self._open("rwc") as database:
            database.execute(SCHEMA)
            if self._saved is None:
                database.execute("DELETE FROM blocks")
            gone = saved.keys() - wanted.keys()
            database.executemany("DELETE FROM blocks WHERE kind = ? AND trigger = ?", gone)
            database.executemany("REPLACE INTO blocks VALUES (?, ?, ?, ?)", rows)
        self._saved = wanted

    def load(self) -> list[Block]:
        """The blocks of an earlier run; none where there was none.

        Raises
        ------
        Unavailable
            When the file cannot be read.
        """
        if not self.path.is_file():
            return []
        with self._open("ro") as database:
            if not _has_blocks(database):
                return []
            rows = database.execute("SELECT block FROM blocks").fetchall()
        try:
            return [msgspec.json.decode(row[0], type=Block) for row in rows]
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{self.path} holds what is no block: {error}") from None

    def find(self, triggers: Iterable[str], now_us: int) -> Block | None:
        """The first of these triggers that is blocked now, of any kind."""
        if not self.path.is_file():
            return None
        with self._open("ro") as database:
            for trigger in triggers if _has_blocks(database) else ():
                row = database.execute(
                    "SELECT block FROM blocks WHERE trigger = ? AND until_us > ? "
                    "ORDER BY kind DESC",
                    (trigger, now_us),
                ).fetchone()
                if row:
                    return msgspec.json.decode(row[0], type=Block)
        return None
