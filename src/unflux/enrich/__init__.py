"""Where addresses and names belong: origin AS, organisation, country; registered domain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import publicsuffixlist
import pyarrow as pa

from unflux import _native
from unflux.enrich.tables import IpTable, find

__all__ = ["Enrichment", "IpTable", "load", "registered_domain"]


@dataclass(frozen=True, slots=True)
class Enrichment:
    """The tables in use; either may be missing, and then says so in `blind_spots`."""

    asn: IpTable | None
    country: IpTable | None

    @property
    def blind_spots(self) -> tuple[str, ...]:
        """What cannot be seen for want of a table, as sentences."""
        missing = []
        if self.asn is None:
            missing.append(
                "No origin AS table: networks are told apart by /16 (/48) prefixes only, so "
                "no name is called flux without one (--asn-db)."
            )
        if self.country is None:
            missing.append("No country table: the spread over countries is unknown (--country-db).")
        return tuple(missing)

    def locate(self, addresses: pa.Array[Any]) -> pa.RecordBatch:
        """Columns prefix, origin_asn, organisation, country, special; null for no address."""
        asn = self.asn.table if self.asn else None
        return _native.locate(addresses, asn, self.country.table if self.country else None)


def load(asn_db: Path | None = None, country_db: Path | None = None) -> Enrichment:
    """The tables named, or those found in the usual places.

    Raises
    ------
    Unavailable
        When a table that was named cannot be read.
    """
    return Enrichment(find("asn", asn_db), find("country", country_db))


@cache
def suffixes() -> _native.Suffixes:
    """The Public Suffix List that the package `publicsuffixlist` brings."""
    return _native.Suffixes(Path(publicsuffixlist.PSLFILE).read_bytes())


def registered_domains(names: pa.Array[Any]) -> pa.RecordBatch:
    """Columns registered_domain and suffix_section (``icann``, ``private``, null: unlisted)."""
    return suffixes().registered_domains(names)


def registered_domain(name: str) -> str | None:
    """The registered domain of one name, None for a public suffix itself."""
    column = registered_domains(pa.array([name])).column("registered_domain")
    found: str | None = column[0].as_py()
    return found
