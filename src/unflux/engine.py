"""The embedded engine: SQL over Arrow tables."""

from __future__ import annotations

import duckdb
import pyarrow as pa


def query(sql: str, **tables: pa.Table) -> pa.Table:
    """Run a query in an engine of its own, with the tables under the names they are given."""
    with duckdb.connect() as engine:
        for name, table in tables.items():
            engine.register(name, table)
        return engine.sql(sql).to_arrow_table()
