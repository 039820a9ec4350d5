"""What outlives the process: endpoints, transitions, usage, audit.

`Store` is the door. SQLite by default; the tables and queries keep to what PostgreSQL understands as well.
"""

from lamplighter.store.records import AuditRecord, SavedEndpoint
from lamplighter.store.store import Store
from lamplighter.store.writer import UsageWriter

__all__ = ["AuditRecord", "SavedEndpoint", "Store", "UsageWriter"]
