"""Names to track out of what people have: lists, findings of a scan, MISP events, STIX bundles.

Only JSON and text are read here; what is no name is counted and located, never raised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import dns.exception
import dns.name
import msgspec

from unflux.errors import Oddity

MAX_LABELS = 16
MAX_NAMES = 1_000_000
FLUX = ("single_flux", "double_flux", "ns_flux", "ambiguous")
"""Verdicts of findings whose names are worth following."""
MISP_TYPES = frozenset({"domain", "hostname", "domain|ip", "hostname|port", "url", "link", "uri"})
STIX_PATTERN = re.compile(r"(?:domain-name|url):value\s*=\s*'([^']+)'")


@dataclass(slots=True)
class NameList:
    """Names (absolute, lower case) with the source of each, and what was no name."""

    names: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Oddity] = field(default_factory=dict)

    def add(self, text: str, source: str, position: int) -> None:
        """A name as somebody wrote it; a fault when it is none."""
        found = name_of(text)
        if found.endswith("."):
            if len(self.names) < MAX_NAMES:
                self.names.setdefault(found, source)
                return
            found = "too_many_names"
        before = self.faults.get(found)
        first = before.position if before else position
        count = before.count + 1 if before else 1
        self.faults[found] = Oddity(found, source, first, count)


def name_of(text: str) -> str:
    """A name that can be tracked, with its final dot; otherwise the kind of fault, without one.

    >>> name_of("hxxp://WWW[.]Example[.]Test/path"), name_of("198.18.0.1")
    ('www.example.test.', 'address_not_name')
    """
    bare = text.strip().replace("[.]", ".").replace("(.)", ".").replace("hxxp", "http")
    if "://" in bare:
        try:
            bare = urlsplit(bare).hostname or ""
        except ValueError:
            return "bad_url"
    try:
        ip_address(bare.strip("[]"))
        return "address_not_name"
    except ValueError:
        pass
    bare = bare.removeprefix("*.")
    try:
        name = dns.name.from_text(bare)
    except (dns.exception.DNSException, ValueError, UnicodeError):
        return "bad_name"
    plain = name.to_text().lower()
    if not 3 <= len(name.labels) <= MAX_LABELS or "\\" in plain or "@" in plain or " " in plain:
        return "bad_name"
    return plain


def read(content: bytes, source: str, into: NameList) -> None:
    """Read names from a file's content, whichever of the known forms it has."""
    head = content.lstrip()[:1]
    if head in (b"{", b"["):
        _read_json(content, source, into)
        return
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        word = line.partition("#")[0].split()
        if word:
            into.add(word[0], source, number)


def _read_json(content: bytes, source: str, into: NameList) -> None:
    try:
        documents = [(1, msgspec.json.decode(content))]
    except (msgspec.DecodeError, RecursionError):
        documents = list(_lines(content, source, into))
    for number, document in documents:
        for text in _names_in(document):
            into.add(text, source, number)


def _lines(content: bytes, source: str, into: NameList) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield number, msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            before = into.faults.get("bad_json")
            first = before.position if before else number
            count = before.count + 1 if before else 1
            into.faults["bad_json"] = Oddity("bad_json", source, first, count)


def _names_in(document: Any) -> Iterator[str]:  # noqa: PLR0912  one branch a form
    """Names in a JSON document, by what it is."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, list):
        for one in document:
            yield from _names_in(one)
    elif not isinstance(document, dict):
        return
    elif "unflux_track" in document:
        for one in document.get("names") or ():
            if isinstance(one, dict) and isinstance(one.get("name"), str):
                yield one["name"]
    elif isinstance(document.get("findings"), list):
        for one in document["findings"]:
            yield from _finding(one)
    elif "flux" in document or "verdict" in document:
        yield from _finding(document.get("flux", document))
    elif document.get("type") == "bundle":
        for one in document.get("objects") or ():
            yield from _stix(one)
    elif "Event" in document or "response" in document or "Attribute" in document:
        yield from _misp(document)


def _finding(one: Any) -> Iterator[str]:
    if isinstance(one, str):
        yield one
        return
    name = one.get("name") if isinstance(one, dict) else None
    if isinstance(name, str) and one.get("verdict", FLUX[0]) in FLUX:
        yield name


def _stix(one: Any) -> Iterator[str]:
    if not isinstance(one, dict):
        return
    if one.get("type") in ("domain-name", "url") and isinstance(one.get("value"), str):
        yield one["value"]
    elif isinstance(one.get("pattern"), str):
        yield from STIX_PATTERN.findall(one["pattern"])


def _misp(document: Any) -> Iterator[str]:
    """Attributes of events, and of the objects in them, however deep the export nests them."""
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            value = one.get("value")
            if one.get("type") in MISP_TYPES and isinstance(value, str):
                yield value.partition("|")[0]
            waiting += [
                one[key] for key in ("response", "Event", "Attribute", "Object") if key in one
            ]
