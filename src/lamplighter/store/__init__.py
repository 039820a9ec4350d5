"""What outlives the process: endpoints, transitions, usage, audit, keys.

`Store` is the door. SQLite by default; the tables and queries keep to what PostgreSQL understands as well.
"""

from lamplighter.store.records import AuditRecord, SavedDeployment, SavedEndpoint, SavedLease
from lamplighter.store.store import Store
from lamplighter.store.writer import UsageWriter

__all__ = ["AuditRecord", "SavedDeployment", "SavedEndpoint", "SavedLease", "Store", "UsageWriter"]
