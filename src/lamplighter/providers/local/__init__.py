"""Endpoints that are processes on this machine.

A wake travels provider → supervisor (one endpoint) → replica (one copy) → process and group (the operating system).
"""

from lamplighter.providers.local.provider import LocalProvider

__all__ = ["LocalProvider"]
