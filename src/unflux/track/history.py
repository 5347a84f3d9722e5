"""From stored responses into the dataset, by the reducer that all other inputs go through."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unflux import sightings
from unflux.sightings import Dataset
from unflux.sightings.taken import TakenIn, digest_of
from unflux.sources.base import ReadOptions
from unflux.track.record import answers
from unflux.track.store import Store

DATASET = "dataset"
SPOOL = "spool"
BATCH = 100_000
"""Responses of one part at most."""


def dataset_of(directory: Path) -> Path:
    """The dataset of a tracker's directory; `unflux scan`, `networks` and others read it."""
    return directory / DATASET


def flush(directory: Path) -> int:
    """Bring all stored responses into the dataset; returns how many there were.

    A batch becomes a file of the answers table, is sealed in the store, and then taken in like any
    other file, known by the hash of its content. Whatever the moment of a crash, the next flush
    goes on from there, and nothing is counted twice.
    """
    store = Store(directory)
    try:
        spool = directory / SPOOL
        spool.mkdir(exist_ok=True)
        sealed = store.sealed()
        for file in sealed:
            _take_in(directory, file)
            store.unseal(file)
            (spool / file).unlink(missing_ok=True)
        # Written but never sealed: written anew; and what a killed run had not even written whole.
        for path in (*spool.glob("answers-*.parquet"), *spool.glob(".answers-*")):
            path.unlink()
        n_flushed = 0
        while True:
            last_id, heard = store.pending(BATCH)
            if not heard:
                return n_flushed
            file = f"answers-{last_id:012}.parquet"
            with sightings.whole_file(spool / file) as temporary:
                table = pa.Table.from_batches([answers(heard)])
                pq.write_table(table, temporary, compression="zstd")
            store.seal(file, last_id)
            _take_in(directory, file)
            store.unseal(file)
            (spool / file).unlink()
            n_flushed += len(heard)
    finally:
        store.close()


def _take_in(directory: Path, file: str) -> None:
    path = directory / SPOOL / file
    if not path.is_file():
        return
    where = dataset_of(directory)
    with Dataset.open(where).locked():
        dataset = Dataset.open(where)
        digest = digest_of(path)
        if dataset.holds(digest):
            return
        part = sightings.reduce([path], ReadOptions(threads=1), strict=True)
        taken = TakenIn(file, digest, path.stat().st_size, "unflux")
        dataset.add(part, [taken])
