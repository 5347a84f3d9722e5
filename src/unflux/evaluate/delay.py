"""How long until a verdict: the same detectors on growing prefixes of the data.

A prefix holds what was seen until a moment and nothing later, so a delay is one that an operator
would have had. The grid is geometric (each step a quarter longer): delays are rounded up to it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unflux import detect, sightings
from unflux.evaluate import metrics
from unflux.sightings import History
from unflux.sources.base import ReadOptions

FIRST_US = 600_000_000
N_STEPS = 24
GROUPS = {"k = 1": (1, 1), "k = 2 to 4": (2, 4), "k ≥ 5": (5, 1 << 30)}
"""Names by the records of their longest answer."""


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """Until the first verdict of flux, over flux names; null where more than half never got one."""

    names: int
    called: float
    """Share that got one at all."""
    fresh_answers: float | None
    fresh_answers_interval: tuple[float, float] | None
    """95 % interval of that median, by drawing networks; null where an end is never."""
    ttls: float | None
    seconds: float | None
    fresh_answers_p95: float | None


def times(first_us: int, last_us: int) -> list[int]:
    """Moments at which prefixes end: ten minutes, then each a quarter longer, then the end."""
    whole = max(last_us - first_us, FIRST_US) + 1
    steps = FIRST_US * (whole / FIRST_US) ** (np.arange(N_STEPS) / (N_STEPS - 1))
    return sorted({first_us + int(np.ceil(step)) for step in steps})


def prefixes(
    paths: Sequence[Path], read: ReadOptions, format_name: str | None, until: Sequence[int]
) -> Iterator[History]:
    """The history until each moment. Tables of answers are cut up once, others are read again."""
    if not all(_is_answers(path) for path in paths):
        for moment in until:
            yield sightings.reduce(paths, replace(read, until_us=moment), format_name=format_name)
        return
    with tempfile.TemporaryDirectory(prefix="unflux-eval-") as folder:
        slices = _cut(paths, until, Path(folder))
        for place, moment in enumerate(until):
            yield sightings.reduce(slices[: place + 1], replace(read, until_us=moment))


def _is_answers(path: Path) -> bool:
    if path.suffix != ".parquet" or not path.is_file():
        return False
    return "ts" in pq.read_schema(path).names


def _cut(paths: Sequence[Path], until: Sequence[int], folder: Path) -> list[Path]:
    """One file per interval, in the order of the intervals."""
    files = [folder / f"{place:04}.parquet" for place in range(len(until))]
    schema = pq.read_schema(paths[0])
    writers = [pq.ParquetWriter(file, schema) for file in files]
    ends = np.array(until, np.int64)
    try:
        for path in paths:
            for batch in pq.ParquetFile(path).iter_batches():
                _deal(batch.cast(schema), ends, writers)
    finally:
        for writer in writers:
            writer.close()
    return files


def _deal(batch: pa.RecordBatch, ends: npt.NDArray[np.int64], writers: list[Any]) -> None:
    place = np.searchsorted(ends, batch.column("ts").cast(pa.int64()).to_numpy(), side="right")
    for number in np.unique(place):
        if number < len(writers):
            writers[number].write_batch(batch.filter(pa.array(place == number)))


class Watch:
    """Remembers when each name was first called flux by one detector."""

    def __init__(self, names: Sequence[str]) -> None:
        self.at = {name: number for number, name in enumerate(names)}
        shape = len(names)
        self.fresh = np.full(shape, np.inf)
        self.seconds = np.full(shape, np.inf)
        self.ttls = np.full(shape, np.inf)

    def see(self, judged: pa.Table) -> None:
        """Take the verdicts of a prefix, the next longer one."""
        flux = judged.filter(pc.is_in(judged.column("verdict"), pa.array(detect.FLUX_VERDICTS)))
        columns = ("name", "n_fresh", "first_us", "last_us", "ttl_max_s")
        for row in flux.select(columns).to_pylist():
            number = self.at.get(row["name"])
            if number is None or self.fresh[number] < np.inf:
                continue
            self.fresh[number] = row["n_fresh"] or 0
            seconds = ((row["last_us"] or 0) - (row["first_us"] or 0)) / 1e6
            self.seconds[number] = seconds
            self.ttls[number] = seconds / max(row["ttl_max_s"] or 0, 1)

    def is_done(self, flux: npt.NDArray[np.bool_]) -> bool:
        """Whether longer prefixes can tell nothing more."""
        return bool(np.isfinite(self.fresh[flux]).all())

    def delay(self, chosen: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> Delay:
        """Over some of the names; names of one group stand or fall together."""

        def quantile(values: npt.NDArray[np.float64], share: float) -> float | None:
            if not chosen.any():
                return None
            found = float(np.quantile(values[chosen], share, method="higher"))
            return found if np.isfinite(found) else None

        n = int(chosen.sum())
        return Delay(
            names=n,
            called=float(np.isfinite(self.fresh[chosen]).mean()) if n else 0.0,
            fresh_answers=quantile(self.fresh, 0.5),
            fresh_answers_interval=_median_interval(self.fresh[chosen], groups[chosen]),
            ttls=quantile(self.ttls, 0.5),
            seconds=quantile(self.seconds, 0.5),
            fresh_answers_p95=quantile(self.fresh, 0.95),
        )


def _median_interval(
    values: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]
) -> tuple[float, float] | None:
    if not len(values):
        return None
    never = 1e18  # quantiles of infinities are no numbers

    def median(drawn: npt.NDArray[np.int64]) -> float:
        some = np.minimum(values[drawn], never)
        return float(np.quantile(some, 0.5, method="higher"))

    low, high = metrics.interval(groups, median)
    return (low, high) if high < never else None
