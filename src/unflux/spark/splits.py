"""Which worker reads what: files, and ranges of row groups of large Parquet files, in tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unflux import sources
from unflux.sources.parquet import UnfluxParquet

MAX_TASK_BYTES = 32 << 20
"""Input of one task: what a retry repeats. Files of other formats cannot be read in part."""
MIN_TASK_BYTES = 1 << 20
TASKS_PER_CORE = 3
"""So that cores that are done early find more to do."""
PART_BYTES = 512 << 20
"""Input for each part that rows are merged in."""

SCHEMA = pa.schema(
    {
        "task": pa.int32(),
        "input": pa.int32(),  # number of the file
        "path": pa.string(),
        "first_group": pa.int32(),  # null: the whole file
        "stop_group": pa.int32(),
    }
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The tasks that read all files."""

    splits: pa.Table
    """Rows of `SCHEMA`, in the order of files and row groups."""
    n_tasks: int
    n_parts: int
    """Parts that the rows are merged in."""


def plan(files: Sequence[Path], format_name: str | None, n_cores: int) -> Plan:
    """Cut the input into tasks of similar size."""
    total = sum(sources.size_of(path) for path in files)
    target = min(max(total // (TASKS_PER_CORE * n_cores), MIN_TASK_BYTES), MAX_TASK_BYTES)
    rows: list[tuple[int, int, str, int | None, int | None]] = []
    task, filled = 0, 0
    for number, path in enumerate(files):
        for groups, size in _ranges(path, format_name, target):
            if filled and filled + size > target:
                task, filled = task + 1, 0
            filled += size
            first, stop = (groups.start, groups.stop) if groups else (None, None)
            rows.append((task, number, str(path.absolute()), first, stop))
    columns = [list(column) for column in zip(*rows, strict=True)]
    splits = pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA)
    return Plan(splits, task + 1, max(n_cores, total // PART_BYTES))


def _ranges(path: Path, format_name: str | None, target: int) -> list[tuple[range | None, int]]:
    """Row groups that are read together, with their bytes; None is the whole file."""
    size = sources.size_of(path)
    if size <= target or not isinstance(sources.choose(path, format_name), UnfluxParquet):
        return [(None, size)]
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return [(None, size)]  # reading it says what is wrong
    ranges: list[tuple[range | None, int]] = []
    start = 0
    share = size / max(1, metadata.num_row_groups)
    for group in range(metadata.num_row_groups):
        n_bytes = int((group + 1 - start) * share)
        if n_bytes >= target or group + 1 == metadata.num_row_groups:
            ranges.append((range(start, group + 1), n_bytes))
            start = group + 1
    return ranges or [(None, size)]
