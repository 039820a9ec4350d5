"""Prices, and what endpoints have cost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables, and what of a transition tells who caused it and what it bills."""
    _quotes()
    _causes()
    _ledger()


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


def _causes() -> None:
    for name in ("cause", "route", "provider"):
        op.add_column("transitions", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("transitions", sa.Column("replicas", sa.Integer, nullable=False, server_default="1"))
    op.add_column("transitions", sa.Column("seen_until", sa.Double))
    op.add_column("leases", sa.Column("actor", sa.Text, nullable=False, server_default=""))
    op.add_column("usage", sa.Column("nanodollars", sa.BigInteger, nullable=False, server_default="0"))


def _ledger() -> None:
    op.create_table(
        "activity",
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("busy", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "hour", name="pk_activity"),
    )
    op.create_index("ix_activity_hour", "activity", ["hour"])
    op.create_table(
        "charges",
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("grain", "period", "endpoint", "provider", "kind", "cause", "route")
        ),
        sa.Column("estimated", sa.Boolean, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("nanodollars", "microseconds", "unpriced", "requests", "tokens_in", "tokens_out")
        ),
        sa.PrimaryKeyConstraint(
            *("grain", "period", "endpoint", "provider", "kind", "cause", "route", "estimated"), name="pk_charges"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_states",
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("last_transition", sa.BigInteger, nullable=False),
        sa.Column("last_usage", sa.BigInteger, nullable=False),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("carried", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "until", name="pk_ledger_states"),
    )
    op.create_table(
        "ledger_marks",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_ledger_marks"),
    )
