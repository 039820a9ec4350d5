"""A plug-in: endpoints that are small servers in this process, and a marketplace with one model."""

from .provider import Lantern

__all__ = ["Lantern"]
