"""Brings a database to the shape that this program knows. Imports Alembic: loaded only when there is work."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from lamplighter.errors import StoreError


def config(connection: Connection | None = None) -> Config:
    """Alembic's settings, without a file: the scripts are found inside the installed package."""
    settings = Config(attributes={"connection": connection})
    settings.set_main_option("script_location", "lamplighter.store:migrations")
    settings.set_main_option("path_separator", "os")
    return settings


def upgrade(connection: Connection, name: str) -> None:
    """Run the missing migrations, all or none. Raises StoreError when a newer Lamplighter has been here."""
    settings = config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    found = set(MigrationContext.configure(connection).get_current_heads())
    if unknown := found - known:
        raise StoreError(
            f"The database {name} was written by a newer Lamplighter (schema {', '.join(sorted(unknown))}). "
            "Use that one, or choose another data folder."
        )
    command.upgrade(settings, "head")
