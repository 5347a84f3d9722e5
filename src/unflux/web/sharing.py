"""Which names have an address: an index beside a dataset, made once for each state of it.

Sightings lie by name, so all of them would have to be read to find who else has an address. The
index holds each pair of address and name once, by address.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from unflux.sightings import whole_file

MAX_SHARING = 200
"""Names that share addresses which are listed, those that share most first."""
INDEX_MEMORY = "1GB"
"""For sorting while the index is made; what needs more is sorted on disk."""
_PAIRS = """SELECT DISTINCT rdata, owner FROM read_parquet(?) WHERE rdtype IN ('A', 'AAAA')"""


class SharingIndex:
    """The index of one dataset; calls may come from many threads.

    Where its directory cannot be written, the sightings are read instead: slower, the same answer.
    """

    def __init__(self, folder: Path, scan_id: str, files: Sequence[str]) -> None:
        digest = hashlib.blake2b("\n".join(sorted(files)).encode(errors="surrogateescape"))
        self._folder, self._scan_id, self._files = folder, scan_id, list(files)
        self._path = folder / f"{scan_id}-{digest.hexdigest()[:16]}.parquet"
        self._lock = threading.Lock()
        self._writable = True

    def prepare(self) -> None:
        """Make the index unless it is there; what is left of earlier states goes."""
        with self._lock:
            if self._path.exists() or not self._files or not self._writable:
                return
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._make()
            except OSError:
                self._writable = False
                return
            for old in self._folder.glob(f"{self._scan_id}-*.parquet"):
                if old != self._path:
                    old.unlink(missing_ok=True)

    def _make(self) -> None:
        with whole_file(self._path) as temporary, duckdb.connect() as engine:
            engine.execute(f"SET memory_limit = '{INDEX_MEMORY}'")
            engine.execute("SET temp_directory = ?", [str(self._folder / ".spill")])
            engine.execute(
                f"COPY ({_PAIRS} ORDER BY rdata, owner) TO '{_quoted(temporary)}' "
                "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)",
                [self._files],
            )

    def names_with(
        self, engine: duckdb.DuckDBPyConnection, addresses: Sequence[str], name: str
    ) -> list[tuple[str, int]]:
        """Other names with these addresses, and how many of them, most first."""
        self.prepare()
        if not self._files or not addresses:
            return []
        indexed = self._path.exists()
        pairs = "SELECT rdata, owner FROM read_parquet(?)" if indexed else _PAIRS
        wanted = pa.table({"rdata": pa.array(addresses, pa.string())})
        engine.register("wanted", wanted)
        parameters: list[Any] = [[str(self._path)] if indexed else self._files, name, MAX_SHARING]
        found: list[tuple[str, int]] = engine.execute(
            f"SELECT owner, count(*) AS n FROM ({pairs}) SEMI JOIN wanted USING (rdata) "
            "WHERE owner <> ? GROUP BY owner ORDER BY n DESC, owner LIMIT ?",
            parameters,
        ).fetchall()
        return found


def forget(folder: Path, scan_id: str) -> None:
    """Remove what is kept of a scan that is gone."""
    for path in folder.glob(f"{scan_id}-*.parquet"):
        path.unlink(missing_ok=True)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
