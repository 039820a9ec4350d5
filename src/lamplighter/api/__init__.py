"""The management REST."""
