"""The search line: `score:>=0.8 asn:64500 kind:double -triage:benign pills` to terms.

Pure: what the terms mean in SQL is `store.filters`' business.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from unflux.detect import FLUX_VERDICTS, VERDICTS
from unflux.errors import UnfluxError
from unflux.times import us_of_iso

MAX_LENGTH = 500
MAX_TERMS = 20

NUMBERS = {
    "score": "score",
    "addresses": "n_addresses",
    "asns": "n_asns",
    "countries": "n_countries",
    "ttl": "ttl_max_s",
    "clients": "n_clients",
}
TIMES = {"first": "first_seen_us", "last": "last_seen_us"}
FACETS = ("asn", "country", "ip")
WORDS = ("kind", "confidence", "triage", "name", "domain")
FIELDS = (*NUMBERS, *TIMES, *FACETS, *WORDS)
KINDS = {"single": "single_flux", "double": "double_flux", "ns": "ns_flux"}
CONFIDENCES = ("low", "medium", "high")
STATES = ("new", "watching", "confirmed", "benign")


class SearchError(UnfluxError):
    """The search line is wrong; `position` is the place of the term, from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Term:
    """One condition."""

    field: str
    """A name of `FIELDS`, or ``text`` for a part of the name."""
    operator: str
    """``=``, ``<``, ``<=``, ``>``, ``>=`` or ``in``."""
    value: float | str | tuple[str, ...]
    """A number (times: microseconds since the epoch), a text, or the verdicts meant by a kind."""
    negated: bool = False


Value = float | str | tuple[str, ...]
Maker = Callable[[str, str, str], tuple[str, Value]]

_TOKEN = re.compile(r'(-?)(?:([a-z]+):)?(>=|<=|>|<|=)?(?:"((?:[^"\\]|\\.)*)"|(\S+))')


def parse(line: str) -> list[Term]:
    """The terms of a search line; all of them must hold.

    Raises
    ------
    SearchError
        When a field is unknown or its value cannot be what it says.
    """
    if len(line) > MAX_LENGTH:
        raise SearchError(f"a search has at most {MAX_LENGTH} characters", MAX_LENGTH)
    if not line.isprintable():
        bad = next(at for at, letter in enumerate(line) if not letter.isprintable())
        raise SearchError("a search is printable text", bad)
    terms, position = [], 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        found = _TOKEN.match(line, position)
        if found is None:
            raise SearchError("a value is missing here", position)
        terms.append(_term(found))
        position = found.end()
        if len(terms) > MAX_TERMS:
            raise SearchError(f"a search has at most {MAX_TERMS} terms", found.start())
    return terms


def _term(found: re.Match[str]) -> Term:
    minus, field, operator, quoted, plain = found.groups()
    value = quoted if quoted is not None else plain
    if field is None:
        word = (operator or "") + value
        if quoted is None and word.removesuffix(":") in FIELDS and word.endswith(":"):
            raise SearchError(f"{word} needs a value", found.start())
        return Term("text", "=", _ascii(word.lower()), bool(minus))
    make = _maker(field)
    if make is None:
        known = ", ".join(FIELDS)
        raise SearchError(f"there is no field {field!r}; known ones: {known}", found.start())
    if operator is not None and field not in NUMBERS and field not in TIMES and operator != "=":
        raise SearchError(f"{field} cannot be compared with {operator}", found.start())
    try:
        operator, converted = make(field, operator or "=", value)
    except ValueError as error:
        raise SearchError(str(error), found.start()) from None
    return Term(field, operator, converted, bool(minus))


def _maker(field: str) -> Maker | None:
    if field in NUMBERS:
        return _number
    if field in TIMES:
        return _time
    special: dict[str, Maker] = {
        "kind": _kind,
        "confidence": _word,
        "triage": _word,
        "asn": _asn,
        "ip": _ip,
    }
    return special.get(field, _text if field in FIELDS else None)


def _number(field: str, operator: str, value: str) -> tuple[str, float]:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not abs(number) < 2**53:
        raise ValueError(f"{field} is compared with a number, such as {field}:>=2")
    return operator, number


def _time(field: str, operator: str, value: str) -> tuple[str, float]:
    try:
        at_us = us_of_iso(value)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{field} is compared with a time, such as {field}:>=2026-01-31T12:00"
        ) from None
    return operator, at_us


def _kind(_field: str, _operator: str, value: str) -> tuple[str, tuple[str, ...]]:
    value = KINDS.get(value.lower(), value.lower())
    if value == "flux":
        return "in", FLUX_VERDICTS
    if value not in VERDICTS:
        raise ValueError(f"kind is flux, single, double, ns or one of: {', '.join(VERDICTS)}")
    return "in", (value,)


def _word(field: str, operator: str, value: str) -> tuple[str, str]:
    known, value = (CONFIDENCES if field == "confidence" else STATES), value.lower()
    if value not in known:
        raise ValueError(f"{field} is one of: {', '.join(known)}")
    return operator, value


def _asn(_field: str, operator: str, value: str) -> tuple[str, str]:
    digits = value.upper().removeprefix("AS")
    if not (digits.isascii() and digits.isdigit() and int(digits) < 2**32):
        raise ValueError("asn is a number of an AS, such as asn:64500")
    return operator, str(int(digits))


def _ip(_field: str, operator: str, value: str) -> tuple[str, str]:
    try:
        return operator, str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("ip is one address, such as ip:198.18.0.1") from None


def _ascii(text: str) -> str:
    """A name as the DNS has it, where it is written in other letters: names are kept so.

    >>> _ascii("müller.test"), _ascii("suse")
    ('xn--mller-kva.test', 'suse')
    """
    if text.isascii():
        return text
    try:
        return text.encode("idna").decode()
    except UnicodeError:
        return text  # no name, so nothing is found


def _text(field: str, operator: str, value: str) -> tuple[str, str]:
    value = value.strip()
    if not value:
        raise ValueError(f"{field} needs a value")
    if field == "country":
        return operator, value.upper()
    lowered = _ascii(value.lower())
    return operator, lowered if lowered == "." else lowered.removesuffix(".")
