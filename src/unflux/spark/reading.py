"""Read files on a cluster into one history, as `sightings.reduce` and `sightings.add_to` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from unflux import sightings, sources
from unflux.sightings import Dataset, History, Input
from unflux.sightings.intake import Intake, Wanted, by_options, told
from unflux.sources.base import ReadOptions
from unflux.spark import kernel, splits
from unflux.spark.assemble import assemble
from unflux.spark.kernel import InputBooks, Work
from unflux.spark.options import SparkOptions
from unflux.spark.session import session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Task = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def reduce(
    paths: Sequence[Path],
    options: ReadOptions,
    spark_options: SparkOptions,
    *,
    format_name: str | None = None,
    strict: bool = False,
) -> History:
    """Read files, directories and datasets into one history; every worker must see the paths.

    The history is that of `sightings.reduce`, merged on the workers; the driver has to hold it.

    Raises
    ------
    UnfluxError
        When there is no Spark, or a job fails; with `strict`, for the first fault in the input.
    """
    if not paths:
        raise ValueError("name at least one file to read")
    selection = sightings.select(paths)
    with session(spark_options) as spark:
        collected = _run(
            spark,
            selection.files,
            options,
            format_name,
            lambda work: partial(kernel.merge_part, work=work),
        )
    inputs = inputs_of(selection.files, collected)
    if strict:
        for one in inputs:
            sightings.raise_first_fault(one)
    return History(
        *assemble(collected),
        inputs,
        selection.formats | {one.source for one in inputs if one.source is not None},
        selection.passed_over,
    )


def add_to(
    dataset: Dataset,
    paths: Sequence[Path],
    options: ReadOptions,
    spark_options: SparkOptions,
    *,
    format_name: str | None = None,
    strict: bool = False,
) -> History:
    """Take files into a dataset, each content once, and give the whole history of it.

    Workers write the parts, by day, into the dataset's directory; they count from the moment at
    which the driver names them in the manifest, so that what a killed worker left never does.

    Raises
    ------
    UnfluxError
        As `reduce` does, and when another process adds to the dataset.
    """
    with dataset.locked():
        selection = sightings.select(paths, taking_into=dataset.directory)
        intake = Intake(dataset, options, format_name)
        wanted, inputs = intake.look_at_all(selection.files)
        if wanted:
            dataset.begin()
            with session(spark_options) as spark:
                for how, some in by_options(wanted):
                    inputs += _take_in(dataset, intake, some, how, spark, strict=strict)
    history = sightings.reduce([dataset.directory], options)
    inputs = told(inputs, selection)
    return replace(history, inputs=inputs, passed_over=selection.passed_over)


def _take_in(
    dataset: Dataset,
    intake: Intake,
    wanted: list[Wanted],
    options: ReadOptions,
    spark: SparkSession,
    *,
    strict: bool,
) -> list[Input]:
    """Let files be read by workers into parts of a dataset; what became of each file."""
    save = partial(
        kernel.save_part,
        directory=dataset.directory.absolute(),
        first_number=dataset.next_number(),
    )
    files = [one.path for one in wanted]
    collected = _run(
        spark, files, options, intake.format_name, lambda work: partial(save, work=work)
    )
    read = inputs_of(files, collected)
    if strict:
        for one in read:
            sightings.raise_first_fault(one)
    done, entries = intake.remembered(wanted, read)
    written = sorted(payload.decode() for payload in _payloads(collected, "file"))
    dataset.take_in([dataset.directory / name for name in written], entries)
    return done


def _run(
    spark: SparkSession,
    files: list[Path],
    options: ReadOptions,
    format_name: str | None,
    finish: Callable[[Work], Task],
) -> pa.Table:
    """Reduce by task, shuffle by part, finish each part; what the parts give, collected."""
    cores = max(1, spark.sparkContext.defaultParallelism)
    plan = splits.plan(files, format_name, cores)
    work = Work(options, format_name, plan.n_parts)
    reduce_splits = partial(kernel.reduce_splits, work=work)
    frame = spark.createDataFrame(plan.splits).repartitionById(plan.n_tasks, "task")
    parcels = frame.mapInArrow(reduce_splits, kernel.PARCEL_DDL)
    parts = parcels.repartitionById(plan.n_parts, "part")
    return parts.mapInArrow(finish(work), kernel.PARCEL_DDL).toArrow()


def _payloads(collected: pa.Table, kind: str) -> list[bytes]:
    rows = zip(
        collected.column("kind").to_pylist(), collected.column("payload").to_pylist(), strict=True
    )
    return [payload for name, payload in rows if name == kind]


def inputs_of(files: Sequence[Path], collected: pa.Table) -> list[Input]:
    """What became of each file, from the books of its splits in their order."""
    books = [msgspec.json.decode(one, type=InputBooks) for one in _payloads(collected, "books")]
    books.sort(key=lambda one: (one.input, one.first_group))
    done: dict[int, Input] = {}
    for one in books:
        path = files[one.input]
        before = done.get(one.input)
        whole = before.books.plus(one.books) if before else one.books
        done[one.input] = Input(path, one.source, whole, sources.size_of(path))
    return [done[number] for number in range(len(files))]
