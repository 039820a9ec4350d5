"""The database connection: opened, locked, brought up to date. Foreign errors end here.

SQLite runs in WAL mode with `synchronous=FULL`: every commit is flushed to the disk before it counts, so what was
reported as done survives a killed process and a lost machine alike. The cost is one flush for each transition (a few
an hour) and one for each batch of usage (one a second), none of it on the way of a request.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, inspect, make_url, text
from sqlalchemy.pool import StaticPool

from lamplighter.errors import InvalidInput, StoreError
from lamplighter.store.lock import DatabaseLock
from lamplighter.store.tables import HEAD

_BUSY_TIMEOUT = 5000  # milliseconds to wait for somebody who looks into the file with another tool

_ADVICE = {
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_READONLY": "it is read-only; check its permissions and those of its folder",
    "SQLITE_CORRUPT": "it is damaged; move it away to start with an empty one, or restore a copy",
    "SQLITE_NOTADB": "it is not a SQLite database; move it away, or choose another data folder",
    "SQLITE_CANTOPEN": "it can't be opened; check the path and its permissions",
    "SQLITE_PERM": "access is denied; check its permissions",
    "SQLITE_BUSY": "another program keeps it locked",
    "SQLITE_IOERR": "reading or writing it failed; check the disk",
}

# These tell of a fault in this program, not of the database: they must not pass for an outage and be retried.
_OUR_FAULT = (exc.IntegrityError, exc.DataError, exc.ProgrammingError, exc.NotSupportedError)


class Database:
    """One open database. All methods block and belong to the store's thread."""

    def __init__(self, where: str | Path) -> None:
        """Open, lock and migrate. `where`: a file, `:memory:`, or a `sqlite:///` URL.

        Raises Conflict when another server holds the file, InvalidInput, StoreError.
        """
        url = _url(where)
        self.name = url.database or ":memory:"
        self._lock = _lock(self.name)
        self._engine = _engine(url)
        try:
            with self.transaction() as connection:
                _migrate(connection, self.name)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit at the end of the block, or roll back. Raises StoreError when the database can't."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except _OUR_FAULT:
            raise
        except exc.DBAPIError as error:
            raise StoreError(f"The database {self.name} failed: {_explain(error)}.") from error

    def close(self) -> None:
        """Close the file and let the next server in."""
        self._engine.dispose()
        if self._lock:
            self._lock.release()


def _url(where: str | Path) -> URL:
    if isinstance(where, str) and "://" in where:
        url = make_url(where)
        if url.get_backend_name() != "sqlite":
            raise InvalidInput(f"Databases of kind {url.get_backend_name()!r} are not supported; use a SQLite file.")
        where = url.database or ":memory:"
    if where != ":memory:":
        # Two spellings of one file must meet at one lock.
        where = str(Path(where).expanduser().resolve())
    return URL.create("sqlite", database=str(where))


def _lock(name: str) -> DatabaseLock | None:
    if name == ":memory:":
        return None
    try:
        Path(name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The folder of the database {name} can't be made: {error.strerror}.") from error
    return DatabaseLock(Path(name))


def _engine(url: URL) -> Engine:
    # One thread, one connection: nothing to pool, and `:memory:` stays the same database.
    engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    # Python's driver would begin late and leave schema changes outside, so that a migration could stop half-way.
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _migrate(connection: Connection, name: str) -> None:
    if _revision(connection) == HEAD:
        return
    # Alembic costs 0.2 s to import, and is needed only on the first start and after an upgrade.
    from lamplighter.store.migrate import upgrade  # noqa: PLC0415

    upgrade(connection, name)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _explain(error: exc.DBAPIError) -> str:
    """Say what to do where SQLite's code tells it, else what SQLite said."""
    code = getattr(error.orig, "sqlite_errorname", None) or ""
    return next((advice for prefix, advice in _ADVICE.items() if code.startswith(prefix)), str(error.orig))
