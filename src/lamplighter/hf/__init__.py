"""The management API of Hugging Face Inference Endpoints, from a client's side: for the cloud and for every Lamplighter.

Pure parts: `records` (what is answered), `forms` (what is asked for), `rules` (what is allowed), `answers` (errors),
`pace` (retries). `api` talks. Importing this package costs nothing but dataclasses.
"""
