"""Tables of the store. A change here comes with a migration in `migrations/versions`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def _text() -> Text:
    """Text that sorts by code point on both databases."""
    return Text().with_variant(Text(collation="C"), "postgresql")


# BigInteger keys count up by themselves on SQLite only under this spelling.
_ID = BigInteger().with_variant(Integer(), "sqlite")

scans = Table(
    "scans",
    metadata,
    Column("id", String(32), primary_key=True),  # of a dataset: hash of its path
    Column("kind", String(16), nullable=False),  # dataset or upload
    Column("title", Text, nullable=False),
    Column("dataset", Text, nullable=False),  # directory with the sightings
    Column("judged_from", String(64)),  # hash of the facts and tables it was judged from
    Column("detector_id", String(64)),
    Column("detector_version", Integer),
    Column("judged_at_us", BigInteger),  # null until judged
    Column("summary", Text, nullable=False),  # JSON, as of `unflux scan --json`
)

findings = Table(
    "findings",
    metadata,
    Column("scan_id", String(32), ForeignKey("scans.id"), primary_key=True),
    Column(
        "number", Integer, primary_key=True
    ),  # from 0, in order of score (highest first) and name
    Column("name", _text(), nullable=False),  # without the final dot
    Column("registered_domain", _text()),
    Column("verdict", String(16), nullable=False),
    Column("score", Float, nullable=False),
    Column("confidence", String(8), nullable=False),
    Column("n_addresses", Integer, nullable=False),
    Column("n_asns", Integer),
    Column("n_countries", Integer),
    Column("ttl_max_s", BigInteger),
    Column("n_clients", Integer, nullable=False),
    Column("first_seen_us", BigInteger),
    Column("last_seen_us", BigInteger),
    Column("why", Text, nullable=False),  # one line
    Index("ix_findings_name", "scan_id", "name", unique=True),
    Index("ix_findings_score", "scan_id", "score"),
    Index("ix_findings_verdict", "scan_id", "verdict", "number"),
    Index("ix_findings_domain", "scan_id", "registered_domain"),
    sqlite_with_rowid=False,  # rows lie in the order of their key: a page is read in one go
)

bodies = Table(  # apart, so that a search reads narrow rows only
    "bodies",
    metadata,
    Column("scan_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("body", Text, nullable=False),  # the whole finding as JSON
    ForeignKeyConstraint(["scan_id", "number"], ["findings.scan_id", "findings.number"]),
)

facets = Table(
    "facets",
    metadata,
    Column("scan_id", String(32), primary_key=True),
    Column("kind", String(8), primary_key=True),  # asn, country or ip
    Column("value", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    ForeignKeyConstraint(["scan_id", "number"], ["findings.scan_id", "findings.number"]),
    sqlite_with_rowid=False,
)

triage = Table(
    "triage",
    metadata,
    Column("name", _text(), primary_key=True),  # of any scan: outlives re-judging
    Column("state", String(16), nullable=False),
    Column("by", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

notes = Table(
    "notes",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _text(), nullable=False, index=True),
    Column("text", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(8), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),  # of the token
    Column("made_at_us", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
)
