"""The main street: files → sightings → features → findings."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from unflux import __version__, detect, enrich, features, people, sightings, sources
from unflux.detect import Detector, Finding
from unflux.detect.base import DetectorId, Row
from unflux.enrich import Enrichment
from unflux.features import windows
from unflux.sightings import Dataset, History, OnProgress
from unflux.sources.base import ReadOptions
from unflux.spark import SparkOptions
from unflux.times import iso

NO_ACTIVITY = (
    "The input has no activity: answers per response, failures and clients are unknown, so no "
    "name's own addresses are called flux."
)
LISTED_SCORE = 0.2
"""Names below show no sign of flux; they are counted in the summary and listed on demand."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How a scan is done."""

    read: ReadOptions = field(default_factory=lambda: ReadOptions(threads=os.cpu_count() or 1))
    format_name: str | None = None
    strict: bool = False
    asn_db: Path | None = None
    country_db: Path | None = None
    min_score: float = LISTED_SCORE
    detector_id: str = "unflux"
    save: Path | None = None
    """A dataset that takes the inputs in; findings are then about all that it holds."""
    window_s: int | None = None
    """Judge only what was seen in so many seconds before the latest sighting; None: all of it."""
    spark: SparkOptions | None = None
    """Read and reduce on a cluster; None is this machine alone."""
    every_feature: bool = False
    """Also those that the detector does not look at."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A finished scan."""

    summary: dict[str, Any]
    findings: list[Finding]
    """Highest score first; those with a score of at least `min_score`."""
    history: History
    judged: Judged

    @property
    def n_flux(self) -> int:
        """Names called flux, listed or not."""
        by_verdict: dict[str, int] = self.summary["names"]["by_verdict"]
        return sum(by_verdict[verdict] for verdict in detect.FLUX_VERDICTS)


@dataclass(frozen=True, slots=True)
class Judged:
    """Features and verdicts of every name, before any of them is written out."""

    table: pa.Table
    places: pa.RecordBatch
    """Where each rdata of the history belongs, by its number."""
    history: History
    detector: Detector
    threads: int = 1

    def findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Findings with reasons, agents and clients, in the order of `rows`."""
        agents = people.agents(self.history, self.places, rows, self.threads)
        clients = people.clients(self.history, rows)
        return [
            self._finding(row, agents.get(row["name_id"]), *clients[row["name_id"]]) for row in rows
        ]

    def _finding(self, row: Row, agents: bytes | None, clients: bytes, n_clients: int) -> Finding:
        return Finding(
            name=bare(row["name"]) or "",
            verdict=row["verdict"],
            score=row["score"],
            confidence=row["confidence"],
            reasons=self.detector.reasons(row),
            benign_explanations=self.detector.explanations(row),
            blind_spots=_blind_spots_of(row),
            agents=msgspec.Raw(agents or b"[]"),
            clients=msgspec.Raw(clients),
            n_clients=n_clients,
            first_seen=iso(row["first_us"]),
            last_seen=iso(row["last_us"]),
            registered_domain=bare(row["registered_domain"]),
            zone=bare(row["zone"]),
            n_addresses=row["n_addresses"],
            n_asns=row["n_asns"],
            n_countries=row["n_countries"],
            ttl_max_s=row["ttl_max_s"],
            detector=DetectorId(self.detector.id, self.detector.version),
            rotation_period_s=row["rotation_period_s"],
            ns_period_s=_faster(row["ns_address_period_s"], row["ns_rrset_period_s"]),
            pool_domains=row["pool_domains"],
            pool_addresses=row["pool_addresses"],
        )


def scan(
    paths: Sequence[Path], options: ScanOptions, on_progress: OnProgress | None = None
) -> Scan:
    """Read files and judge every name in them.

    Raises
    ------
    ValueError
        When an option is wrong; `UnfluxError` as `sightings.reduce` and `enrich.load` say.
    """
    started = time.monotonic()
    detector = detect.by_id(options.detector_id)
    enrichment = enrich.load(options.asn_db, options.country_db)
    history = _history(paths, options, on_progress)
    if options.window_s is not None:
        history = windows.last(history, options.window_s)
    history = history.canonical(options.read.threads, moving=True)
    judged = judge(
        history,
        enrichment,
        detector,
        options.read.threads,
        every_feature=options.every_feature,
    )
    history = judged.history
    listed = judged.table.filter(pc.greater_equal(judged.table.column("score"), options.min_score))
    listed = listed.sort_by([("score", "descending"), ("name", "ascending")])
    findings = judged.findings(rows_of(listed))
    summary = _summary(history, judged, enrichment, options)
    summary["names"]["listed"] = len(findings)
    summary["seconds"] = round(time.monotonic() - started, 3)
    return Scan(summary, findings, history, judged)


def _history(
    paths: Sequence[Path], options: ScanOptions, on_progress: OnProgress | None
) -> History:
    if options.spark is not None:
        return _history_by_spark(paths, options, options.spark)
    if options.save is None:
        return sightings.reduce(
            paths,
            options.read,
            format_name=options.format_name,
            strict=options.strict,
            on_progress=on_progress,
        )
    return sightings.add_to(
        sightings.Dataset.open(options.save),
        paths,
        options.read,
        format_name=options.format_name,
        strict=options.strict,
        on_progress=on_progress,
    )


def _history_by_spark(paths: Sequence[Path], options: ScanOptions, spark: SparkOptions) -> History:
    from unflux.spark import reading

    how: dict[str, Any] = {"format_name": options.format_name, "strict": options.strict}
    if options.save is None:
        return reading.reduce(paths, options.read, spark, **how)
    return reading.add_to(Dataset.open(options.save), paths, options.read, spark, **how)


def judge(
    history: History,
    enrichment: Enrichment,
    detector: Detector,
    threads: int = 1,
    *,
    every_feature: bool = True,
) -> Judged:
    """Features and verdicts of all names in a history.

    Without `every_feature`, those that only published detectors read are null for one that does
    not: they cost as much as all others together.
    """
    published = every_feature or getattr(detector, "reads_published", True)
    table = features.compute(history, enrichment, threads=threads, published_too=published)
    return Judged(detector.judge(table.table), table.places, table.history, detector, threads)


class _Columns(dict[str, list[Any]]):
    """Columns of a table as lists, made when they are asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __missing__(self, name: str) -> list[Any]:
        found: list[Any] = self.table.column(name).to_pylist()
        self[name] = found
        return found


class _LazyRow(Mapping[str, Any]):
    """A row of a table, of which few columns are looked at."""

    __slots__ = ("_columns", "_place")

    def __init__(self, columns: _Columns, place: int) -> None:
        self._columns, self._place = columns, place

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.table.column_names)

    def __len__(self) -> int:
        return int(self._columns.table.num_columns)


def rows_of(table: pa.Table) -> list[Row]:
    """The rows of a table; only columns that are asked for become Python values."""
    columns = _Columns(table)
    return [_LazyRow(columns, place) for place in range(table.num_rows)]


@dataclass(frozen=True, slots=True)
class Explained:
    """What is said of one name; nothing when the name is not in the input."""

    finding: Finding | None
    row: Row
    """All its features."""
    inputs: list[sightings.Input]
    history: History


def explain(paths: Sequence[Path], name: str, options: ScanOptions) -> Explained:
    """One name's finding with all its features."""
    result = scan(paths, replace(options, min_score=2.0, every_feature=True))
    wanted = name.rstrip(".").lower() + "."
    rows = result.judged.table.filter(pc.equal(result.judged.table.column("name"), wanted))
    found = rows.to_pylist()[:1]
    findings = result.judged.findings(found)
    if not findings:
        return Explained(None, {}, result.history.inputs, result.history)
    return Explained(findings[0], found[0], result.history.inputs, result.history)


def bare(name: str | None) -> str | None:
    """A name without its final dot, for people and JSON; the root stays a dot."""
    return None if name is None else name.removesuffix(".") or "."


def absolute(name: str) -> str:
    """The inverse of `bare`."""
    return name if name == "." else name + "."


def _faster(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return min(known) if known else None


def _blind_spots_of(row: Row) -> list[str]:
    """What was not seen of this very name."""
    spots = []
    if row["n_fresh"] and row["n_pairs"] == 0:
        spots.append("Only one fresh answer was seen: whether it rotates is not known.")
    if row["n_ns"] is None:
        spots.append("Its name servers were not seen: double flux cannot be told.")
    elif row["ns_addresses"] is None:
        spots.append("Addresses of its name servers were not seen: double flux cannot be told.")
    if row["n_addresses"] and row["n_asns"] is None:
        spots.append("The origin ASes of its addresses are not known.")
    return spots


def _summary(
    history: History, judged: Judged, enrichment: Enrichment, options: ScanOptions
) -> dict[str, Any]:
    """Counts in and out, oddities, blind spots: what a reader must know to trust the findings."""
    verdicts = Counter(judged.table.column("verdict").to_pylist())
    counts = _total_counts(history)
    times = [
        (one.books.time_first_us, one.books.time_last_us)
        for one in history.inputs
        if one.books.time_first_us is not None
    ]
    return {
        "unflux": __version__,
        "detector": {"id": judged.detector.id, "version": judged.detector.version},
        "inputs": [_input_entry(one) for one in history.inputs],
        "passed_over": [sources.name_of(path) for path in history.passed_over],
        "counts": counts,
        "time_first": iso(min((first for first, _ in times if first is not None), default=None)),
        "time_last": iso(max((last for _, last in times if last is not None), default=None)),
        "names": {
            "judged": judged.table.num_rows,
            "by_verdict": {verdict: verdicts.get(verdict, 0) for verdict in detect.VERDICTS},
            "min_score": options.min_score,
        },
        "sightings": sum(batch.num_rows for batch in history.sightings),
        "tables": {
            kind: {"path": str(table.path), "date": f"{table.made_at:%Y-%m-%d}"}
            for kind, table in (("asn", enrichment.asn), ("country", enrichment.country))
            if table is not None
        },
        "warnings": [
            warning
            for table in (enrichment.asn, enrichment.country)
            if table is not None and (warning := table.warning(datetime.now(UTC))) is not None
        ],
        "blind_spots": _blind_spots(history, enrichment, counts["malformed"]),
    }


def _input_entry(one: sightings.Input) -> dict[str, Any]:
    books = msgspec.to_builtins(one.books)
    if not isinstance(books, dict):
        raise TypeError("books are a mapping")
    books.pop("time_first_us"), books.pop("time_last_us")
    entry = {"path": sources.name_of(one.path), "format": one.source, "known": one.known}
    entry["note"] = one.note
    return entry | {"size_bytes": one.size_bytes, **books}


def _total_counts(history: History) -> dict[str, Any]:
    books = [one.books for one in history.inputs]
    kinds = ("skipped", "malformed", "oddities", "records_left_out")
    totals: dict[str, Any] = {
        key: sum(getattr(one, key) for one in books)
        for key in ("items", "assembled", "decoded", "records")
    }
    for kind in kinds:
        sums: Counter[str] = Counter()
        for one in books:
            sums.update({name: tally.count for name, tally in getattr(one, kind).items()})
        totals[kind] = dict(sorted(sums.items()))
    totals["balanced"] = all(one.balanced for one in books)
    return totals


def _blind_spots(history: History, enrichment: Enrichment, malformed: dict[str, int]) -> list[str]:
    spots: dict[str, None] = {}
    known = {source.name: source for source in sources.SOURCES}
    for name in sorted(history.formats & known.keys()):
        spots.update(dict.fromkeys(known[name].blind_spots))
    for kind, what in (
        ("stream_gap", "times bytes of a TCP stream were missing: the answers in them are lost"),
        ("fragment_lost", "IP packets lacked a fragment: the answers in them are lost"),
        ("cut_by_snaplen", "packets were cut by the capture's snaplen: raise it (tcpdump -s 0)"),
    ):
        if kind in malformed:
            spots[f"{malformed[kind]} {what}."] = None
    if not any(batch.num_rows for batch in history.activity) and any(
        batch.num_rows for batch in history.sightings
    ):
        spots[NO_ACTIVITY] = None
    spots.update(dict.fromkeys(enrichment.blind_spots))
    return list(spots)
