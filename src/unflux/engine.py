"""The embedded engine: SQL over Arrow tables."""

from __future__ import annotations

import os
import threading

import duckdb
import pyarrow as pa

_kept = threading.local()
"""An engine per thread (and process): opening one costs more than a small query."""


def _engine() -> duckdb.DuckDBPyConnection:
    if getattr(_kept, "process", None) != os.getpid():
        _kept.engine, _kept.process = duckdb.connect(), os.getpid()
    engine: duckdb.DuckDBPyConnection = _kept.engine
    return engine


def query(sql: str, **tables: pa.Table) -> pa.Table:
    """Run a query that sees these tables, under the names they are given, and nothing else."""
    engine = _engine()
    for name, table in tables.items():
        engine.register(name, table)
    try:
        return engine.sql(sql).to_arrow_table()
    finally:
        for name in tables:
            engine.unregister(name)
