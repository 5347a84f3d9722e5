"""The store: one database with everything that is kept beside the sightings."""

from __future__ import annotations

from sqlalchemy import text

from unflux.web.store.access import Access
from unflux.web.store.cases import Cases
from unflux.web.store.database import open_engine
from unflux.web.store.findings import Findings


class Store:
    """Findings, cases and access by one database URL (`sqlite:///…`, `postgresql://…`)."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.findings = Findings(self.engine)
        self.cases = Cases(self.engine)
        self.access = Access(self.engine)

    def check(self) -> None:
        """Raise when the database does not answer."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()
