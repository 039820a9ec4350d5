"""The management API of Hugging Face Inference Endpoints from a client's side: for the cloud and every Lamplighter.

Pure parts: `records` (what is answered), `forms` (what is asked for), `rules` (what is allowed), `answers` (errors),
`pace` (retries), `hosts` (who may see the token). `api` talks. Importing `records`, `forms`, `rules` or `api` costs
little more than dataclasses: what speaks HTTP is imported at the first call.
"""
