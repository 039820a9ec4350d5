"""Requests in Hugging Face task form at an endpoint's root URL, for engines that speak OpenAI's API alone.

`choose` reads a request and picks a translation, `generation` and `embedding` are the translations (pure), `answering`
passes their answers on.
"""
