"""Endpoints, transitions, starts, usage, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables and what finds rows by endpoint and by time."""
    _endpoints()
    _transitions()
    _starts()
    _usage()
    _audit()
    for table in ("transitions", "starts", "usage", "audit"):
        op.create_index(f"ix_{table}_endpoint_at", table, ["endpoint", "at"])
        op.create_index(f"ix_{table}_at", table, ["at"])


def _endpoints() -> None:
    op.create_table(
        "endpoints",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("state", sa.Text),
        sa.Column("last_activity", sa.Double),
        sa.Column("wake_time", sa.Double),
        sa.Column("sleep_time", sa.Double),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_endpoints"),
    )


def _transitions() -> None:
    op.create_table(
        "transitions",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("duration", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_transitions"),
    )


def _starts() -> None:
    op.create_table(
        "starts",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("duration", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_starts"),
    )


def _usage() -> None:
    op.create_table(
        "usage",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("waited", sa.Double, nullable=False),
        sa.Column("duration", sa.Double, nullable=False),
        sa.Column("bytes_in", sa.BigInteger, nullable=False),
        sa.Column("bytes_out", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_usage"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
