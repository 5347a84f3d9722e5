"""Scans, findings with their facets, triage, notes, tokens, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "scans",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("judged_from", sa.String(64)),
        sa.Column("detector_id", sa.String(64)),
        sa.Column("detector_version", sa.Integer),
        sa.Column("judged_at_us", sa.BigInteger),
        sa.Column("summary", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scans"),
    )
    op.create_table(
        "findings",
        sa.Column("scan_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("registered_domain", TEXT),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("confidence", sa.String(8), nullable=False),
        sa.Column("n_addresses", sa.Integer, nullable=False),
        sa.Column("n_asns", sa.Integer),
        sa.Column("n_countries", sa.Integer),
        sa.Column("ttl_max_s", sa.BigInteger),
        sa.Column("n_clients", sa.Integer, nullable=False),
        sa.Column("first_seen_us", sa.BigInteger),
        sa.Column("last_seen_us", sa.BigInteger),
        sa.Column("why", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("scan_id", "number", name="pk_findings"),
        sa.ForeignKeyConstraint(["scan_id"], ["scans.id"], name="fk_findings_scan_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bodies",
        sa.Column("scan_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("scan_id", "number", name="pk_bodies"),
        sa.ForeignKeyConstraint(
            ["scan_id", "number"], ["findings.scan_id", "findings.number"], name="fk_bodies_scan_id"
        ),
    )
    op.create_index("ix_findings_name", "findings", ["scan_id", "name"], unique=True)
    op.create_index("ix_findings_score", "findings", ["scan_id", "score"])
    op.create_index("ix_findings_verdict", "findings", ["scan_id", "verdict", "number"])
    op.create_index("ix_findings_domain", "findings", ["scan_id", "registered_domain"])
    op.create_table(
        "facets",
        sa.Column("scan_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("value", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("scan_id", "kind", "value", "number", name="pk_facets"),
        sa.ForeignKeyConstraint(
            ["scan_id", "number"], ["findings.scan_id", "findings.number"], name="fk_facets_scan_id"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "triage",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_triage"),
    )
    op.create_table(
        "notes",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notes"),
    )
    op.create_index("ix_notes_name", "notes", ["name"])
    op.create_table(
        "tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(8), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("made_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("name", name="uq_tokens_name"),
        sa.UniqueConstraint("sha256", name="uq_tokens_sha256"),
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )


def downgrade() -> None:
    """To nothing."""
    for table in ("audit", "tokens", "notes", "triage", "facets", "bodies", "findings", "scans"):
        op.drop_table(table)
