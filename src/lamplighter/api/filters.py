"""Refuses parts of a query that a route does not know: without them the answer would be another than was asked for."""

from __future__ import annotations

import difflib

from fastapi import Request

from lamplighter.errors import InvalidInput

_LONGEST_SHOWN = 80


async def only_known(request: Request) -> None:
    """For a route's `dependencies`. Raises InvalidInput for a filter that the route has none of."""
    known = [one.alias for one in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            shown = name[:_LONGEST_SHOWN]
            near = difflib.get_close_matches(shown, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
            raise InvalidInput(f"{shown}: no such filter; {hint}", field=shown)
