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
    """All blocks in force, replaced as a whole in one transaction."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE

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
        rows = [
            (block.kind, block.trigger, block.until_us, msgspec.json.encode(block))
            for block in blocks
        ]
        with self._open("rwc") as database:
            database.execute(SCHEMA)
            database.execute("DELETE FROM blocks")
            database.executemany("INSERT INTO blocks VALUES (?, ?, ?, ?)", rows)

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
