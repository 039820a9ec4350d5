"""Prices, and what endpoints have cost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables."""
    _quotes()


def _quotes() -> None:
    op.create_table(
        "quotes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("nanos", sa.BigInteger),
        sa.Column("estimate", sa.Boolean, nullable=False),
        sa.Column("free", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quotes"),
    )
    op.create_index("ix_quotes_subject_at", "quotes", ["subject", "at"])
    op.create_index("ix_quotes_at", "quotes", ["at"])
    op.create_table(
        "price_feeds",
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("checked_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("source", name="pk_price_feeds"),
    )
