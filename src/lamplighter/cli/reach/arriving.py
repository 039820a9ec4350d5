"""Waiting for endpoints that were made or changed."""

from __future__ import annotations

from collections.abc import Sequence

from lamplighter.cli.reach.place import Place
from lamplighter.cli.reach.together import Outcome, side_by_side
from lamplighter.cli.show.board import Board
from lamplighter.cli.show.output import err
from lamplighter.domain.endpoint import Phase
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.client import AsyncClient


def wait_for(endpoints: Sequence[Endpoint], place: Place, timeout: float) -> list[Endpoint]:
    """Wait until those that are on their way answer; what sleeps is left asleep. Raises what the first one fails with.

    Returns all of them, as they are then.
    """
    waited = {endpoint.name: endpoint for endpoint in endpoints if endpoint.phase is not Phase.SLEEPING}
    with Board(err(), "running", list(waited)) as board:

        async def one(client: AsyncClient, name: str) -> Endpoint:
            watcher = board.watcher(name)
            return await client.wait(
                name, timeout=timeout, namespace=waited[name].namespace or None, on_progress=watcher
            )

        async def every(client: AsyncClient) -> list[Outcome[Endpoint]]:
            return await side_by_side(list(waited), lambda name: one(client, name))

        outcomes = place.run(every)
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
    arrived = {outcome.name: outcome.result for outcome in outcomes if outcome.result}
    return [arrived.get(endpoint.name, endpoint) for endpoint in endpoints]
