"""The management API of Hugging Face Inference Endpoints, served for every endpoint that this server runs.

`rendering`, `translate`, `graphs` and `exposition` are pure; `app` puts the routes together. See docs/wire.md.
"""

from lamplighter.api.hf.app import Switch, wire
from lamplighter.api.hf.context import Records, ServedWire

__all__ = ["Records", "ServedWire", "Switch", "wire"]
