"""What a dataset says of one name over time: the facts under a finding, for pictures and downloads.

Reads the Parquet files with the embedded engine, only the rows of the names in question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from unflux import sightings, tables
from unflux.sightings import Dataset
from unflux.web.sharing import SharingIndex

MAX_HOPS = 8
"""CNAMEs that are followed from a name."""
MAX_ROWS = 200_000
"""Sightings of a name and its name servers that are looked at; the latest are left out beyond."""
MAX_LISTED = 64
"""Names that are looked for one by one, so that row groups without them are passed over."""
MEMORY = "2GB"
"""Of the engine of one dataset."""
ADDRESS_TYPES = ("A", "AAAA")


@dataclass(frozen=True, slots=True)
class Facts:
    """Sightings of a name, of the aliases it leads to, and of its name servers."""

    name: str
    """Absolute."""
    aliases: list[str]
    """Names that its CNAMEs lead to, in order of discovery."""
    name_servers: list[str]
    own: pa.Table
    """Address records of the name and its aliases."""
    ns: pa.Table
    """NS records of its zone."""
    ns_addresses: pa.Table
    """Address records of its name servers."""
    cut: bool
    """More than `MAX_ROWS` rows, not all of which are here."""


class HistoryReader:
    """One dataset. Each call has a cursor of its own: calls may come from many threads.

    Parts are sorted by owner, so the row groups' statistics tell which ones hold a name: a look-up
    reads those, not the dataset.
    """

    def __init__(self, directory: Path, scan_id: str, indexes: Path) -> None:
        self._files: dict[str, list[str]] = {"sightings": [], "activity": []}
        dataset = Dataset.open(directory)
        for path in dataset.files:
            table = path.relative_to(directory).parts[0]
            self._files.setdefault(table, []).append(str(path))
        self._engine = duckdb.connect()
        self._engine.execute("SET TimeZone = 'UTC'")
        self._engine.execute("SET parquet_metadata_cache = true")
        self._engine.execute(f"SET memory_limit = '{MEMORY}'")
        self._sharing = SharingIndex(indexes, scan_id, self._files["sightings"])

    def prepare(self) -> None:
        """Make now what the first question would wait for."""
        self._sharing.prepare()

    def _query(self, sql: str, table: str, parameters: list[Any]) -> pa.Table:
        files = self._files[table]
        if not files:
            return pa.table({})
        with self._engine.cursor() as engine:
            return engine.sql(sql, params=[files, *parameters]).to_arrow_table()

    def rows_of(self, owners: Sequence[str], rdtypes: Sequence[str], limit: int) -> pa.Table:
        """Sightings of names, in order of time."""
        where, parameters = _owned_by(owners)
        return self._query(
            f"SELECT * FROM read_parquet(?) WHERE {where} AND list_contains(?, rdtype) "
            "ORDER BY time_first, owner, rdtype, rdata LIMIT ?",
            "sightings",
            [*parameters, list(rdtypes), limit],
        )

    def facts(self, name: str, zone: str | None) -> Facts:
        """Everything about a name: its addresses, what it leads to, its name servers."""
        seen, frontier, aliases = {name}, [name], []
        parts: list[pa.Table] = []
        ns = pa.table({})
        for hop in range(MAX_HOPS + 1):
            wanted = [*frontier, zone] if hop == 0 and zone and zone != name else frontier
            rows = self.rows_of(wanted, (*ADDRESS_TYPES, "CNAME", "NS"), MAX_ROWS + 1)
            if not rows.num_columns:
                break
            by_type = _split(rows, frontier, zone if hop == 0 else None)
            parts.append(by_type["addresses"])
            if hop == 0:
                ns = by_type["ns"]
            frontier = [
                target
                for target in _distinct(by_type["cname"], "rdata")
                if target not in seen and not seen.add(target)  # type: ignore[func-returns-value]
            ]
            aliases += frontier
            if not frontier:
                break
        hosts = _distinct(ns, "rdata")
        ns_addresses = self.rows_of(hosts, ADDRESS_TYPES, MAX_ROWS + 1) if hosts else pa.table({})
        own = pa.concat_tables([part for part in parts if part.num_columns] or [pa.table({})])
        cut = max(own.num_rows, ns_addresses.num_rows) > MAX_ROWS
        own, ns_addresses = own.slice(0, MAX_ROWS), ns_addresses.slice(0, MAX_ROWS)
        return Facts(name, aliases, hosts, own, ns, ns_addresses, cut)

    def about(self, name: str, zone: str | None) -> pa.Table:
        """All sightings of a name, of its aliases, zone and name servers, of any type."""
        facts = self.facts(name, zone)
        owners = {name, *facts.aliases, *facts.name_servers, *([zone] if zone else [])}
        _, rows = self.page(sorted(owners), 0, MAX_ROWS)
        return rows

    def copy_about(self, owners: Iterable[str], to: Path) -> None:
        """Write the sightings of names, and of what their CNAME and NS records lead to.

        `to` becomes a Parquet file that unflux reads as any other input.
        """
        with duckdb.connect() as engine:
            files = self._files["sightings"]
            wanted = pa.table({"owner": pa.array(sorted(set(owners)), pa.string())})
            engine.register("wanted", wanted)
            engine.sql("CREATE TEMP TABLE known AS SELECT owner, 0 AS hop FROM wanted")
            for hop in range(MAX_HOPS):
                engine.sql(
                    "INSERT INTO known SELECT DISTINCT rdata, ? + 1 FROM read_parquet(?) "
                    "WHERE rdtype IN ('CNAME', 'NS') "
                    "AND owner IN (SELECT owner FROM known WHERE hop = ?) "
                    "AND rdata NOT IN (SELECT owner FROM known)",
                    params=[hop, files, hop],
                )
                found = engine.sql("SELECT 1 FROM known WHERE hop = ? LIMIT 1", params=[hop + 1])
                if not found.fetchall():
                    break
            rows = engine.sql(
                "SELECT * FROM read_parquet(?) WHERE owner IN (SELECT owner FROM known)",
                params=[files],
            ).to_arrow_table()
        sightings.write_table(rows.select(tables.SIGHTINGS.names).cast(tables.SIGHTINGS), to)

    def sharing(self, addresses: Iterable[str], name: str) -> list[tuple[str, int]]:
        """Other names with these addresses, and how many of them, most first."""
        with self._engine.cursor() as engine:
            return self._sharing.names_with(engine, list(addresses), name)

    def activity(self, name: str) -> list[dict[str, Any]]:
        """Responses, failures and clients of a name by hour, on the busiest side of a cache."""
        found = self._query(
            "SELECT bucket, max(responses) AS responses, max(failures) AS failures, "
            "max(n_clients) AS n_clients FROM (SELECT bucket, vantage, "
            "sum(responses)::BIGINT AS responses, max(n_clients) AS n_clients, "
            "sum(nxdomain + servfail + refused + nodata + other_failures)::BIGINT AS failures "
            "FROM read_parquet(?) WHERE owner = ? GROUP BY bucket, vantage) "
            "GROUP BY bucket ORDER BY bucket LIMIT 5000",
            "activity",
            [name],
        )
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def page(self, owners: Sequence[str], offset: int, limit: int) -> tuple[int, pa.Table]:
        """How many sightings names have, and some of them in order of time."""
        where, parameters = _owned_by(owners)
        rows = self._query(
            f"SELECT *, count(*) OVER () AS n FROM read_parquet(?) WHERE {where} "
            "ORDER BY time_first, owner, rdtype, rdata, vantage LIMIT ? OFFSET ?",
            "sightings",
            [*parameters, limit, offset],
        )
        if not rows.num_columns:
            return 0, rows
        if rows.num_rows or not offset:
            return (rows["n"][0].as_py() if rows.num_rows else 0), rows.drop_columns("n")
        return self.page(owners, 0, 1)[0], rows.drop_columns("n")  # a page after the last one


def _owned_by(owners: Sequence[str]) -> tuple[str, list[Any]]:
    """A condition on `owner` that row groups' statistics can answer, and its parameters."""
    if not owners:
        return "false", []
    if len(owners) <= MAX_LISTED:
        return f"owner IN ({', '.join('?' * len(owners))})", list(owners)
    return (
        "owner BETWEEN ? AND ? AND owner IN (SELECT unnest(?::VARCHAR[]))",
        [min(owners), max(owners), list(owners)],
    )


def _split(rows: pa.Table, owners: Sequence[str], zone: str | None) -> dict[str, pa.Table]:
    with duckdb.connect() as engine:
        engine.register("rows", rows)
        chosen = {
            "addresses": "rdtype IN ('A', 'AAAA') AND list_contains($owners, owner)",
            "cname": "rdtype = 'CNAME' AND list_contains($owners, owner)",
            "ns": "rdtype = 'NS' AND owner = $zone",
        }
        out = {}
        for kind, where in chosen.items():
            named = {"zone": zone} if kind == "ns" else {"owners": list(owners)}
            found = engine.sql(f"SELECT * FROM rows WHERE {where}", params=named)
            out[kind] = found.to_arrow_table()
        return out


def _distinct(table: pa.Table, column: str) -> list[str]:
    if not table.num_columns:
        return []
    return sorted(set(table[column].to_pylist()))
