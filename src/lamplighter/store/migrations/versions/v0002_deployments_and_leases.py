"""Endpoints made over the management API, leases, pauses that last, and where an operation came from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add two tables and four columns."""
    op.add_column("endpoints", sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()))
    for name in ("change", "source", "request_id"):
        op.add_column("audit", sa.Column(name, sa.Text))
    _deployments()
    _leases()


def _deployments() -> None:
    op.create_table(
        "deployments",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("secrets", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("updated_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_deployments"),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("lease", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("ttl", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("pause_at_end", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("lease", name="pk_leases"),
    )
