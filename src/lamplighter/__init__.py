"""Lamplighter: wakes a model endpoint when a request comes and puts it to sleep after the last one has left."""

__version__ = "0.1.0"
