"""`lamplighter prices`: what things cost, who said so, and how old that is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, json_option
from lamplighter.cli.reach.connection import Connection
from lamplighter.cli.reach.place import Asked, Place, find_place
from lamplighter.errors import InvalidInput, LamplighterError, NotAllowed, TokenMissing

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lamplighter.domain.prices import Listing

_PAGE = 1000
_REFRESH_PATIENCE = 90.0

Price = Mapping[str, Any]

_ASK_NOBODY = frozenset({"configuration", "genai-prices"})
"""Sources that are read here: when that was says nothing of whether it is still so."""

_UNITS = {
    "replica_hour": "a replica's hour",
    "million_tokens_in": "a million tokens in",
    "million_tokens_out": "a million tokens out",
    "image": "an image",
    "request": "a request",
    "audio_minute": "a minute of audio",
}


@click.command(
    epilog=examples(
        "lamplighter prices",
        "lamplighter prices nvidia-l4 --region us-east-1",
        "lamplighter prices --source router --all",
        "lamplighter prices --refresh --json | jq '.prices[] | select(.disagrees)'",
    )
)
@click.argument("subject", required=False, metavar="[WORDS]")
@click.option("--provider", metavar="NAME", help="Only of who charges: aws, novita, or an endpoint's provider.")
@click.option("--region", metavar="NAME", help="Only in this region.")
@click.option("--unit", type=click.Choice(list(_UNITS)), help="Only for this.")
@click.option("--source", metavar="NAME", help="Only what this source says: configuration, router, snapshot, …")
@click.option("--all", "everything", is_flag=True, help="Also prices that do not count, because another source's does.")
@click.option(
    "--refresh", is_flag=True, help="Have the server ask every source anew first; without one that is always so."
)
@json_option
@asks_where
def prices(
    asked: Asked,
    *,
    subject: str | None,
    provider: str | None,
    region: str | None,
    unit: str | None,
    source: str | None,
    everything: bool,
    refresh: bool,
    as_json: bool,
) -> int:
    """Show what hardware, models and endpoints cost, who said so, and how long ago that was found to hold.

    WORDS are looked for in the names. Without a server, of hardware alone: what Hugging Face tells with your token,
    else the published prices that come with Lamplighter, with their date. The exit code is 1 where a source that is
    asked tells none.
    """
    given = {"subject": subject, "provider": provider, "region": region, "unit": unit, "source": source}
    if not everything and source is None:
        given["counts"] = "true"
    wanted = {key: value for key, value in given.items() if value is not None}
    body = _ask(asked, wanted, refresh=refresh)
    if as_json:
        from lamplighter.cli.show.printing import print_json  # noqa: PLC0415 - help should not pay for it

        print_json(body)
    else:
        _show(body)
    return 1 if any(feed.get("error") for feed in body["feeds"]) else 0


def _ask(asked: Asked, wanted: Mapping[str, str], *, refresh: bool) -> dict[str, Any]:
    try:
        place = find_place(asked)
        return _from_cloud(place, wanted) if place.url is None else _from_server(place, wanted, refresh=refresh)
    except TokenMissing:
        if refresh:  # there is nobody to ask
            raise
        return _published(wanted)


def _from_cloud(place: Place, wanted: Mapping[str, str]) -> dict[str, Any]:
    """What Hugging Face tells, else what it has published."""
    try:
        return _told_by_cloud(place, wanted)
    except (NotAllowed, InvalidInput):
        raise
    except LamplighterError as error:
        return _published(wanted, failed=error)


def _from_server(place: Place, wanted: Mapping[str, str], *, refresh: bool) -> dict[str, Any]:
    assert place.url is not None
    with Connection(place.url, place.key, timeout=_REFRESH_PATIENCE) as connection:
        if refresh:
            connection.refresh_prices()
        body = connection.prices({**wanted, "limit": str(_PAGE)}).body
        found = list(body.get("prices") or [])
        while cursor := body.get("next_cursor"):
            body = connection.prices({**wanted, "limit": str(_PAGE), "cursor": str(cursor)}).body
            found += body.get("prices") or []
    return {"rule": body.get("rule"), "prices": found, "feeds": body.get("feeds") or []}


def _told_by_cloud(place: Place, wanted: Mapping[str, str]) -> dict[str, Any]:
    """What Hugging Face itself tells now, where nothing is kept."""
    from lamplighter.cli.reach.cloud_prices import SOURCE, judged_prices  # noqa: PLC0415 - help should not pay for it

    now = time.time()
    good, refused = judged_prices(place.run(lambda client: client.hardware()), now)
    feed = {"source": SOURCE, "age": 0.0, "error": None, "listed": len(good), "refused": [str(one) for one in refused]}
    if refused and not good:
        feed |= {"age": None, "error": "none of its prices can be believed"}
    return _body([_described(one, now) for one in good], wanted, feed)


def _published(wanted: Mapping[str, str], *, failed: LamplighterError | None = None) -> dict[str, Any]:
    """The published prices that come along; `failed` is why Hugging Face does not tell its own."""
    from lamplighter.hf.snapshot import published  # noqa: PLC0415 - help should not pay for it

    now = time.time()
    feeds = list[Mapping[str, Any]]()
    if failed is not None:
        feeds = [{"source": "huggingface", "age": None, "error": failed.message, "listed": 0, "refused": []}]
    return _body([_described(one, now) for one in published()], wanted, *feeds)


def _body(told: Sequence[Price], wanted: Mapping[str, str], *feeds: Mapping[str, Any]) -> dict[str, Any]:
    found = [one for one in told if _is_wanted(one, wanted)]
    return {"rule": None, "prices": found, "feeds": list(feeds), "notes": list(_of_no_server(found, wanted))}


def _of_no_server(found: Sequence[Price], wanted: Mapping[str, str]) -> Iterator[str]:
    if not found:
        yield "Without a server only the hardware of Hugging Face is known."
    region = wanted.get("region")
    if region is not None and any(not one["region"] for one in found):
        yield f"The published prices are for all regions: whether there is one called {region!r} they do not tell."


def _described(listing: Listing, now: float) -> dict[str, Any]:
    """A price in the shape of the route."""
    from lamplighter.domain.prices import money  # noqa: PLC0415 - help should not pay for it

    quote = listing.quote
    return {
        "kind": listing.kind.value,
        "subject": quote.subject,
        "provider": listing.provider,
        "region": quote.region,
        "unit": quote.unit.value,
        "amount": money(quote.amount),
        "currency": quote.currency,
        "source": quote.source,
        "at": quote.at,
        "age": max(0.0, now - quote.at),
        "estimate": listing.estimate,
        "free": listing.free,
        "counts": True,
        "others": [],
        "disagrees": False,
    }


def _is_wanted(price: Price, wanted: Mapping[str, str]) -> bool:
    """Whether the filters of the route would let it through."""
    source = wanted.get("source")
    return (
        wanted.get("subject", "").lower() in str(price["subject"]).lower()
        and wanted.get("provider") in {None, price["provider"]}
        and (not price["region"] or wanted.get("region") in {None, price["region"]})
        and wanted.get("unit") in {None, price["unit"]}
        and (source is None or str(price["source"]).partition(" ")[0] == source or price["source"] == source)
    )


def _show(body: Mapping[str, Any]) -> None:
    from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

    console, found = out(), body["prices"]
    console.print(_table(found, console.width) if found else "No price is known for that.")
    for line in _notes(body):
        console.print(line, soft_wrap=True, style="dim", highlight=False)


def _table(found: Sequence[Price], width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415
    from lamplighter.cli.show.words import ago, one_line  # noqa: PLC0415

    columns: list[Column[Price]] = [
        Column("what", lambda one: Text(one_line(str(one["subject"])), style="bold")),
        Column("who charges", lambda one: one_line(str(one["provider"])), may_be_missing=True),
        Column("price", lambda one: ("~" if one["estimate"] else "") + f"${one['amount']}", "right"),
        Column("for", lambda one: _UNITS.get(str(one["unit"]), str(one["unit"]))),
        Column("source", lambda one: one_line(str(one["source"]))),
        Column("found to hold", lambda one: None if one["source"] in _ASK_NOBODY else ago(float(one["age"]))),
        Column("others say", _others, may_be_cut=True),
    ]
    return table(columns, found, width)


def _others(price: Price) -> str | None:
    if not price["disagrees"]:
        return None
    return ", ".join(f"{other['source']} ${other['amount']}" for other in price["others"])


def _notes(body: Mapping[str, Any]) -> Iterator[str]:
    from lamplighter.cli.show.words import ago, one_line  # noqa: PLC0415 - help should not pay for it

    found = body["prices"]
    if any(one["estimate"] for one in found):
        yield "~ is an estimate: a published list or a guess, and not what somebody offers now."
    if any(one["disagrees"] for one in found) and body["rule"]:
        yield f"Where sources disagree, this counts: {body['rule']}."
    yield from body.get("notes") or ()
    for feed in body["feeds"]:
        if feed["error"]:
            last = f"; its last prices are of {ago(float(feed['age']))}" if feed["age"] is not None else ""
            yield one_line(f"{feed['source']} tells no prices: {feed['error']}") + last
        for refused in feed["refused"]:
            yield one_line(f"{feed['source']}: not believed: {refused}")
