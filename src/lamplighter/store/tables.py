"""The tables as they are now. `migrations` leads from any earlier shape to this one; a test holds both together.

Moments are Unix time and durations are seconds, both as double precision: a date type would lose what the domain
counts in, and SQLite has none.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    event,
    false,
)

HEAD = "0004"
"""The newest migration: what a database must carry for this program to use it."""

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"},
)

# SQLite numbers rows by itself only where the type is exactly INTEGER.
_RowId = BigInteger().with_variant(Integer, "sqlite")

endpoints = Table(
    "endpoints",
    metadata,
    Column("name", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("state", Text),
    Column("last_activity", Double),
    Column("wake_time", Double),
    Column("sleep_time", Double),
    Column("updated_at", Double, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=false()),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("message", Text),
    Column("duration", Double),
    Column("cause", Text, nullable=False, server_default=""),
    Column("route", Text, nullable=False, server_default=""),
    Column("provider", Text, nullable=False, server_default=""),
    Column("replicas", Integer, nullable=False, server_default="1"),
    Column("seen_until", Double),
    Index(None, "endpoint", "at"),
    Index(None, "at"),
)

starts = Table(
    "starts",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("duration", Double, nullable=False),
    Index(None, "endpoint", "at"),
    Index(None, "at"),
)

usage = Table(
    "usage",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("route", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("waited", Double, nullable=False),
    Column("duration", Double, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("model", Text, nullable=False, server_default=""),
    Column("key", Text, nullable=False, server_default=""),
    Column("tokens_in", BigInteger, nullable=False, server_default="0"),
    Column("tokens_out", BigInteger, nullable=False, server_default="0"),
    Column("first_byte", Double, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="1"),
    Column("nanodollars", BigInteger, nullable=False, server_default="0"),
    Index(None, "endpoint", "at"),
    Index(None, "at"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("endpoint", Text),
    Column("success", Boolean, nullable=False),
    Column("error", Text),
    Column("change", Text),
    Column("source", Text),
    Column("request_id", Text),
    Index(None, "endpoint", "at"),
    Index(None, "at"),
)

# Nothing changes what is on record; only pruning takes away what is older than the retention.
event.listen(
    audit,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]  # not typed in SQLAlchemy
        "CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit "
        "BEGIN SELECT RAISE(ABORT, 'what is on record in the audit log is never changed'); END"
    ).execute_if(dialect="sqlite"),
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("secrets", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("updated_by", Text, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("lease", Text, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("ttl", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("pause_at_end", Boolean, nullable=False),
    Column("actor", Text, nullable=False, server_default=""),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("routes", JSON, nullable=False),
    Column("may_wake", Boolean, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Index(None, "digest", unique=True),
)

# What was said of prices: only changes, each with its moment. `nanos` is null from when on it was said no more.
quotes = Table(
    "quotes",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("nanos", BigInteger),
    Column("estimate", Boolean, nullable=False),
    Column("free", Boolean, nullable=False),
    Index(None, "subject", "at"),
    Index(None, "at"),
)

price_feeds = Table(
    "price_feeds",
    metadata,
    Column("source", Text, primary_key=True),
    Column("checked_at", Double, nullable=False),
)

activity = Table(
    "activity",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("hour", BigInteger, primary_key=True),
    Column("busy", Double, nullable=False),
    Index(None, "hour"),
)
"""In each hour (Unix time of its beginning) the seconds in which an endpoint had a request in flight."""

charges = Table(
    "charges",
    metadata,
    *(
        Column(name, Text, primary_key=True)
        for name in ("grain", "period", "endpoint", "provider", "kind", "cause", "route")
    ),
    Column("estimated", Boolean, primary_key=True),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("nanodollars", "microseconds", "unpriced", "requests", "tokens_in", "tokens_out")
    ),
    sqlite_with_rowid=False,
)
"""What hours that are closed have cost, added up three times: by day, by month, and by day over all endpoints.

`grain` is `day`, `month` or `total`, `period` a date such as 2026-11-21 or a month such as 2026-11; a `total` leaves
endpoint and route empty. `microseconds` are those of billed replicas, `unpriced` those among them of which no
price was known.
"""

ledger_states = Table(
    "ledger_states",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("until", BigInteger, primary_key=True),
    Column("last_transition", BigInteger, nullable=False),
    Column("last_usage", BigInteger, nullable=False),
    Column("kept", Boolean, nullable=False),
    Column("carried", JSON, nullable=False),
)
"""Until when (Unix time) an endpoint's hours are closed, the last facts that were counted, and what is carried on.

Those that were `kept` are of the beginnings of months: what can be costed anew begins there.
"""

ledger_marks = Table(
    "ledger_marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Double, nullable=False),
)
"""`watched`: the Unix time until which this server was there to see. `transitions`, `usage`: every fact up to this row
has been counted. `pruned`: no fact from before this Unix time need be there any more."""
