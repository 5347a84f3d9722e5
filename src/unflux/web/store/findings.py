"""Scans and their findings: written whole, read by the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from unflux.detect import VERDICTS, Finding
from unflux.share import table as share_table
from unflux.times import us_of_iso
from unflux.web.search import Term
from unflux.web.store.filters import NEW, condition
from unflux.web.store.schema import bodies, facets, findings, notes, scans, triage

SORTED_BY = {
    "name": findings.c.name,
    "verdict": findings.c.verdict,
    "score": findings.c.score,
    "confidence": findings.c.confidence,
    "addresses": findings.c.n_addresses,
    "asns": findings.c.n_asns,
    "countries": findings.c.n_countries,
    "ttl": findings.c.ttl_max_s,
    "clients": findings.c.n_clients,
    "first": findings.c.first_seen_us,
    "last": findings.c.last_seen_us,
    "triage": func.coalesce(triage.c.state, NEW),
}
"""What a page can be sorted by."""
ROWS_AT_ONCE = 2000
_LISTED = [column for column in findings.c if column.name not in ("scan_id", "number")]

_JOINED = findings.outerjoin(triage, triage.c.name == findings.c.name)
_SAME = and_(bodies.c.scan_id == findings.c.scan_id, bodies.c.number == findings.c.number)


Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


@dataclass(frozen=True, slots=True)
class Scan:
    """Something that was judged: the dataset that is served, or an upload."""

    id: str
    kind: str
    title: str
    dataset: str
    judged_from: str | None = None
    detector_id: str | None = None
    detector_version: int | None = None
    judged_at_us: int | None = None
    summary: str = "{}"


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of many."""

    total: int
    by_verdict: dict[str, int]
    """Of all that the search found, in the order of `VERDICTS`."""
    rows: Sequence[RowMapping]


class Findings:
    """Findings in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- scans ---------------------------------------------------------------------------------

    def add_scan(self, scan: Scan) -> None:
        """Remember a scan before it is judged; one that is known keeps what it has."""
        with self._engine.begin() as connection:
            known = connection.execute(select(scans.c.id).where(scans.c.id == scan.id)).first()
            if known is None:
                connection.execute(
                    insert(scans).values({key: getattr(scan, key) for key in Scan.__slots__})
                )
            else:
                changed = {"title": scan.title, "dataset": scan.dataset}
                connection.execute(update(scans).where(scans.c.id == scan.id).values(changed))

    def scans(self) -> list[Scan]:
        """Datasets first, then uploads, the newest first."""
        query = select(scans).order_by(scans.c.kind, scans.c.judged_at_us.desc(), scans.c.id)
        with self._engine.connect() as connection:
            return [Scan(**row) for row in connection.execute(query).mappings()]

    def scan(self, scan_id: str) -> Scan | None:
        """One scan."""
        with self._engine.connect() as connection:
            row = connection.execute(select(scans).where(scans.c.id == scan_id)).mappings().first()
        return None if row is None else Scan(**row)

    def remove_scan(self, scan_id: str) -> bool:
        """Forget a scan and its findings; triage and notes stay with the names."""
        with self._engine.begin() as connection:
            self._clear(connection, scan_id)
            return bool(connection.execute(delete(scans).where(scans.c.id == scan_id)).rowcount)

    # -- writing -------------------------------------------------------------------------------

    def replace(self, scan: Scan, found: Iterable[Finding]) -> dict[tuple[str, str], int]:
        """Put new findings in place of a scan's old ones, in one transaction.

        `found` has the highest score first. Returns how many names went from one verdict to
        another, by (old, new).
        """
        changes: dict[tuple[str, str], int] = {}
        with self._engine.begin() as connection:
            old = self._verdicts(connection, scan.id)
            self._clear(connection, scan.id)
            for start, batch in enumerate(batched(found, ROWS_AT_ONCE)):
                rows, of_rows, whole = [], [], []
                for number, one in enumerate(batch, start * ROWS_AT_ONCE):
                    rows.append(_row(scan.id, number, one))
                    of_rows += _facets(scan.id, number, one)
                    body = msgspec.json.encode(one).decode()
                    whole.append({"scan_id": scan.id, "number": number, "body": body})
                    before = old.get(one.name)
                    if before is not None and before != one.verdict:
                        change = (before, one.verdict)
                        changes[change] = changes.get(change, 0) + 1
                connection.execute(insert(findings), rows)
                connection.execute(insert(bodies), whole)
                for part in batched(of_rows, ROWS_AT_ONCE):
                    connection.execute(insert(facets), part)
            values = {key: getattr(scan, key) for key in Scan.__slots__ if key != "id"}
            connection.execute(update(scans).where(scans.c.id == scan.id).values(values))
        return changes

    @staticmethod
    def _verdicts(connection: Connection, scan_id: str) -> dict[str, str]:
        query = select(findings.c.name, findings.c.verdict).where(findings.c.scan_id == scan_id)
        return _pairs(connection.execute(query))

    @staticmethod
    def _clear(connection: Connection, scan_id: str) -> None:
        for one in (facets, bodies, findings):
            connection.execute(delete(one).where(one.c.scan_id == scan_id))

    # -- reading -------------------------------------------------------------------------------

    def page(
        self,
        scan_id: str,
        terms: Sequence[Term],
        *,
        sort: str,
        descending: bool,
        offset: int,
        limit: int,
    ) -> Page:
        """Rows of a search, sorted, ties by name; with the state of triage and number of notes."""
        where = condition(scan_id, terms)
        by_triage = sort == "triage" or any(term.field == "triage" for term in terms)
        source = _JOINED if by_triage else findings
        chosen = (  # narrow, so that sorting carries little; what is shown is looked up after it
            select(findings.c.number)
            .select_from(source)
            .where(where)
            .order_by(*_order(sort, descending))
            .offset(offset)
            .limit(limit)
        )
        counts = (
            select(findings.c.verdict, func.count())
            .select_from(source)
            .where(where)
            .group_by(findings.c.verdict)
        )
        with self._engine.connect() as connection:
            counted: dict[str, int] = _pairs(connection.execute(counts))
            by_verdict = {verdict: counted.get(verdict, 0) for verdict in VERDICTS}
            numbers = list(connection.execute(chosen).scalars())
            rows = _shown(connection, scan_id, numbers)
        return Page(sum(counted.values()), by_verdict, rows)

    def bodies(self, scan_id: str, terms: Sequence[Term], limit: int) -> Iterator[bytes]:
        """Whole findings of a search as JSON, highest score first."""
        query = (
            select(bodies.c.body)
            .select_from(_JOINED.join(bodies, _SAME))
            .where(condition(scan_id, terms))
            .order_by(findings.c.number)
            .limit(limit)
            .execution_options(yield_per=ROWS_AT_ONCE)
        )
        with self._engine.connect() as connection:
            for (body,) in connection.execute(query):
                yield body.encode()

    def matching(self, scan_id: str, terms: Sequence[Term]) -> int:
        """How many findings a search has."""
        query = select(func.count()).select_from(_JOINED).where(condition(scan_id, terms))
        with self._engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def body(self, scan_id: str, name: str) -> bytes | None:
        """The whole finding of a name as JSON."""
        query = (
            select(bodies.c.body)
            .select_from(findings.join(bodies, _SAME))
            .where(findings.c.scan_id == scan_id, findings.c.name == name)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else found.encode()

    def verdicts_of(self, scan_id: str, names: Sequence[str]) -> dict[str, str]:
        """Verdicts of some names."""
        query = select(findings.c.name, findings.c.verdict).where(
            findings.c.scan_id == scan_id, findings.c.name.in_(names)
        )
        with self._engine.connect() as connection:
            return _pairs(connection.execute(query))

    def count(self) -> int:
        """Findings in all scans."""
        with self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(findings)).scalar_one()


def _shown(connection: Connection, scan_id: str, numbers: list[int]) -> list[RowMapping]:
    """Rows by their numbers, in the order of these, with the state of triage and notes."""
    n_notes = select(func.count()).where(notes.c.name == findings.c.name).scalar_subquery()
    state = func.coalesce(triage.c.state, NEW).label("triage")
    query = (
        select(findings.c.number, *_LISTED, state, n_notes.label("n_notes"))
        .select_from(_JOINED)
        .where(findings.c.scan_id == scan_id, findings.c.number.in_(numbers))
    )
    found = {row["number"]: row for row in connection.execute(query).mappings()}
    return [found[number] for number in numbers]


def _pairs(rows: Iterable[Any]) -> dict[Any, Any]:
    return {row[0]: row[1] for row in rows}


def _order(sort: str, descending: bool) -> list[ColumnElement[Any]]:
    """Unknown values last, ties by name."""
    if sort == "score" and descending:
        return [findings.c.number.asc()]  # numbered in this order when they were written
    by = SORTED_BY[sort]
    ordered = by.desc() if descending else by.asc()
    if getattr(by, "nullable", False):
        ordered = ordered.nulls_last()
    return [ordered, findings.c.name.asc()]


def _row(scan_id: str, number: int, one: Finding) -> dict[str, Any]:
    return {
        "scan_id": scan_id,
        "number": number,
        "name": one.name,
        "registered_domain": one.registered_domain,
        "verdict": one.verdict,
        "score": one.score,
        "confidence": one.confidence,
        "n_addresses": one.n_addresses,
        "n_asns": one.n_asns,
        "n_countries": one.n_countries,
        "ttl_max_s": one.ttl_max_s,
        "n_clients": one.n_clients,
        "first_seen_us": us_of_iso(one.first_seen) if one.first_seen else None,
        "last_seen_us": us_of_iso(one.last_seen) if one.last_seen else None,
        "why": share_table.one_line(one),
    }


def _facets(scan_id: str, number: int, one: Finding) -> list[dict[str, Any]]:
    """What `asn:`, `country:` and `ip:` find a name by: its agents'."""
    values: set[tuple[str, str]] = set()
    for agent in one.agent_list:
        values.add(("ip", agent.address))
        if agent.origin_asn is not None:
            values.add(("asn", str(agent.origin_asn)))
        if agent.country is not None:
            values.add(("country", agent.country))
    return [
        {"scan_id": scan_id, "number": number, "kind": kind, "value": value}
        for kind, value in sorted(values)
    ]
