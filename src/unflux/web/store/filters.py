"""Terms of a search as SQL conditions on findings."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, not_, select

from unflux.web.search import FACETS, NUMBERS, TIMES, Term
from unflux.web.store.schema import facets, findings, triage

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NEW = "new"
"""State of a name that nobody has triaged."""


def condition(scan_id: str, terms: Sequence[Term]) -> ColumnElement[bool]:
    """What rows of `findings` (joined with `triage`) must fulfil."""
    parts = [findings.c.scan_id == scan_id]
    for term in terms:
        # A value that is unknown fulfils neither a condition nor its opposite: it is not called so.
        part = func.coalesce(_one(scan_id, term), false())
        parts.append(not_(part) if term.negated else part)
    return and_(*parts)


def _one(scan_id: str, term: Term) -> ColumnElement[bool]:
    column = NUMBERS.get(term.field) or TIMES.get(term.field)
    if column is not None:
        compared: ColumnElement[bool] = COMPARE[term.operator](findings.c[column], term.value)
        return compared
    if term.field in FACETS:
        having = select(facets.c.number).where(
            facets.c.scan_id == scan_id, facets.c.kind == term.field, facets.c.value == term.value
        )
        return findings.c.number.in_(having)
    if term.field == "kind" and isinstance(term.value, tuple):
        return findings.c.verdict.in_(term.value)
    words: dict[str, ColumnElement[bool]] = {
        "confidence": findings.c.confidence == term.value,
        "triage": func.coalesce(triage.c.state, NEW) == term.value,
        "domain": findings.c.registered_domain == term.value,
    }
    return words[term.field] if term.field in words else _name(term)


def _name(term: Term) -> ColumnElement[bool]:
    """`name:` is the whole name, or a pattern with `*`; a bare word is a part of the name."""
    text = str(term.value)
    if term.field == "name" and "*" in text:
        pattern = "%".join(_escaped(part) for part in text.split("*"))
        return findings.c.name.like(pattern, escape="/")
    if term.field == "name":
        return findings.c.name == text
    return findings.c.name.like(f"%{_escaped(text)}%", escape="/")


def _escaped(text: str) -> str:
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")
