"""A provider without I/O, for tests and for trying Lamplighter out; it can play what a cloud does, faults included."""

from lamplighter.providers.memory.faults import Fault
from lamplighter.providers.memory.provider import MemoryProvider

__all__ = ["Fault", "MemoryProvider"]
