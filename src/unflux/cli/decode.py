"""`unflux decode`: captures and logs to tables."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from unflux import enrich, sightings, sources, tables
from unflux._native import Progress
from unflux.cli import common, shared
from unflux.features import compute_windows
from unflux.sightings import Input, OnProgress
from unflux.sources.base import AnswerSource, Books, ReadOptions

KINDS = ("answers", "sightings", "features")


def register(app: typer.Typer) -> None:
    app.command()(shared.takes_groups(decode))


def decode(
    paths: common.Paths,
    reading: shared.Reading,
    tables: shared.Tables,
    who: shared.Clients,
    to: Annotated[
        Path,
        typer.Option(
            help="answers….parquet, sightings….parquet or features….parquet: the table to write."
        ),
    ],
    sensor: Annotated[
        str | None, typer.Option(help="Name of the sensor, for answers; dnstap brings its own.")
    ] = None,
    strict: common.Strict = False,
) -> None:
    """Decode captures and logs to a table (Parquet): answers, sightings, or features.

    Features are one row per name, and per registered domain, in the last 10 minutes, 3 hours, 24
    hours and 7 days, and in all that was read.
    """
    options, format_name = reading.options(who), reading.format_name
    kind = next((kind for kind in KINDS if to.stem.startswith(kind)), None)
    if kind is None or to.suffix != ".parquet":
        names = "answers….parquet, sightings….parquet or features….parquet"
        raise typer.BadParameter(f"--to is {names}", param_hint="to")
    with common.clean_end():
        with (
            sources.streams_as_files(paths) as files,
            common.progress_bar("decoding") as on_progress,
        ):
            if kind == "answers":
                inputs = decode_answers(
                    files, to, options, format_name, sensor, strict, on_progress
                )
            else:
                history = sightings.reduce(
                    files, options, format_name=format_name, strict=strict, on_progress=on_progress
                )
                if kind == "features":
                    enrichment = enrich.load(tables.asn_db, tables.country_db)
                    computed = compute_windows(history, enrichment, threads=options.threads)
                    sightings.write_table(computed, to)
                else:
                    sightings.write_table(history.sightings_table(), to)
                inputs = history.inputs
        for one in inputs:
            print_books(one)
    raise typer.Exit(common.exit_code(inputs))


class Writer(Protocol):
    """Takes batches of the answers table."""

    def __call__(self, batch: pa.RecordBatch) -> None: ...


def decode_answers(
    paths: list[Path],
    to: Path,
    options: ReadOptions,
    format_name: str | None,
    sensor: str | None,
    strict: bool,
    on_progress: OnProgress | None,
) -> list[Input]:
    """Write the answers of all files, batch by batch, whole or not at all."""
    files = sightings.select(paths).files
    total = sum(sources.size_of(path) for path in files)
    progress, inputs, following = Progress(), [], 0
    with _answers_file(to, sensor) as write:
        for path in files:
            job = _reading(path, format_name, write, following, options, progress)
            done, following = sightings.run_interruptibly(job, progress, on_progress, total)
            inputs.append(done)
            if strict:
                sightings.raise_first_fault(done)
    return inputs


def _reading(
    path: Path,
    format_name: str | None,
    write: Writer,
    following: int,
    options: ReadOptions,
    progress: Progress,
) -> Callable[[], tuple[Input, int]]:
    """The job of reading one file."""

    def job() -> tuple[Input, int]:
        source = sources.choose(path, format_name)
        if isinstance(source, str):
            return Input(path, None, Books(error=source)), following
        if not hasattr(source, "read_answers"):
            sentence = f"{source.title} holds no single answers; decode it to sightings"
            return Input(path, source.name, Books(error=sentence)), following
        books, after = cast(AnswerSource, source).read_answers(
            path, write, following, options, progress
        )
        return Input(path, source.name, books), after

    return job


@contextmanager
def _answers_file(to: Path, sensor: str | None) -> Any:
    """A writer of batches into a Parquet file that appears when all went well."""
    with (
        sightings.whole_file(to) as temporary,
        pq.ParquetWriter(temporary, tables.ANSWERS, compression="zstd") as out,
    ):

        def write(batch: pa.RecordBatch) -> None:
            table = sightings.plain(pa.Table.from_batches([batch]))
            if sensor is not None:
                named = pa.array([sensor] * table.num_rows, pa.string())
                place = table.schema.get_field_index("sensor")
                table = table.set_column(place, "sensor", named)
            out.write_table(table.select(tables.ANSWERS.names).cast(tables.ANSWERS))

        yield write


def print_books(one: Input) -> None:
    """What became of a file's items, on standard error."""
    books = one.books
    name = sources.name_of(one.path)
    common.say(f"{name}: {books.items} items, {books.decoded} decoded, {books.records} records")
    for title, tallies in (("left out", books.skipped), ("malformed", books.malformed)):
        for kind, tally in tallies.items():
            text = f"  {title}: {tally.count} {kind}, first at {tally.first}"
            common.say(text)
    common.print_errors([one])
