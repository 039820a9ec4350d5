"""Keys, what answers used and who asked, and an audit log that nobody can rewrite."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_APPEND_ONLY = (
    "CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'what is on record in the audit log is never changed'); END"
)


def upgrade() -> None:
    """Add a table, six columns and a trigger."""
    for name, kind, default in (
        ("model", sa.Text, ""),
        ("key", sa.Text, ""),
        ("tokens_in", sa.BigInteger, "0"),
        ("tokens_out", sa.BigInteger, "0"),
        ("first_byte", sa.Double, "0"),
        ("attempts", sa.Integer, "1"),
    ):
        op.add_column("usage", sa.Column(name, kind, nullable=False, server_default=default))
    _keys()
    if op.get_context().dialect.name == "sqlite":
        op.execute(_APPEND_ONLY)


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("routes", sa.JSON, nullable=False),
        sa.Column("may_wake", sa.Boolean, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("limits", sa.JSON, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
    )
    op.create_index("ix_keys_digest", "keys", ["digest"], unique=True)
