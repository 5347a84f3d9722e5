"""Open the database by URL and bring its tables up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from unflux.errors import UnfluxError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 30
"""How long a writer of SQLite waits for another one."""


def open_engine(url: str) -> Engine:
    """A database whose tables are those of `schema`, made or migrated where needed.

    Raises
    ------
    UnfluxError
        When the URL is of no database that is supported, or it cannot be reached.
    """
    parsed = _parse(url)
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    if parsed.get_backend_name() == "postgresql":
        options = {"pool_pre_ping": True, "pool_size": 20, "max_overflow": 30}
    try:
        engine = create_engine(parsed, **options)
        if parsed.get_backend_name() == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        migrate(engine)
    except ModuleNotFoundError:
        raise UnfluxError(
            "PostgreSQL needs a driver: pip install 'unflux[serve,postgres]'"
        ) from None
    except SQLAlchemyError as error:
        where = parsed.render_as_string(hide_password=True)
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise UnfluxError(f"the database {where} cannot be used: {reason}") from None
    return engine


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UnfluxError(
            "this is no database URL; sqlite:///FILE and postgresql://USER@HOST/NAME are"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    raise UnfluxError(f"findings are kept in SQLite or PostgreSQL, not in {backend}")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Readers go on while somebody writes; foreign keys hold."""
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "cache_size=-32768",
        "mmap_size=268435456",
    ):
        connection.execute(f"PRAGMA {pragma}")


def migrate(engine: Engine) -> None:
    """Run the migrations that the database has not seen, in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
