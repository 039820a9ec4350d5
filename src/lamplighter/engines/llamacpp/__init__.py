"""The embedded engine: llama.cpp through xllamacpp, one process per replica (`python -m lamplighter.engines.llamacpp`).

Nothing is imported here, because the process pays for it at every wake.
"""
