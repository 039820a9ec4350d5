"""The migrations and the tables in the code are the same database."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from lamplighter.store import migrate
from lamplighter.store.tables import HEAD, metadata


@pytest.fixture
def migrated():
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        migrate.upgrade(connection, "test")
        yield connection
    engine.dispose()


@pytest.fixture
def created():
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


def schema(connection) -> dict[str, str]:
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'"))
    return {name: " ".join((sql or "").split()) for name, sql in rows}


def test_migrations_and_create_all_give_the_same_database(migrated, created):
    assert schema(migrated) == schema(created)
    assert compare_metadata(MigrationContext.configure(migrated), metadata) == []


def test_the_code_knows_the_newest_migration():
    assert ScriptDirectory.from_config(migrate.config()).get_heads() == [HEAD]
