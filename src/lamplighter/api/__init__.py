"""The management REST: look, wake, sleep, logs, health. Nothing here decides; it asks `Operations`.

Importing it costs FastAPI (a quarter of a second): only the server does.
"""

from lamplighter.api.app import management
from lamplighter.api.health import HealthSource

__all__ = ["HealthSource", "management"]
