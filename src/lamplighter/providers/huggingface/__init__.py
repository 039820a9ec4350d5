"""Endpoints at Hugging Face Inference Endpoints, or at any server that speaks its management API.

Pure parts: `options` (what the configuration says), `backstop` (the provider's own timer), `documents` (what is made),
`reading` (what a state means here). `places` finds endpoints, `vigil` waits for the end of a start, `provider` has the
verbs.
"""

from lamplighter.providers.huggingface.making import make_provider
from lamplighter.providers.huggingface.provider import HuggingFaceProvider

__all__ = ["HuggingFaceProvider", "make_provider"]
