"""`lamplighter offers`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lamplighter.cli.base.helping import examples
from lamplighter.cli.market.explain import explain
from lamplighter.cli.options import asks_where, json_option, one_form, quiet_option
from lamplighter.cli.reach.place import Asked, find_place
from lamplighter.cli.show.printing import print_json, print_names

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lamplighter.control.market import MarketSource
    from lamplighter.domain.offers import Offer
    from lamplighter.sdk.market import OfferList


class AmountType(click.ParamType[Decimal]):
    """An amount of dollars."""

    name = "dollars"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(str(value).removeprefix("$"))
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} should be an amount of dollars, 0 or more: 0.60", param, ctx)
        return amount


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "lamplighter offers --task text --tools --context 100000 --max-price 1",
        "lamplighter offers --model Qwen/Qwen3-8B --region eu",
        "lamplighter offers --sort throughput --json | jq '.offers[0]'",
        "lamplighter offers explain chat",
    ),
)
@click.option("--model", metavar="NAME", help="Only this model; also by the hour, on each hardware that it fits on.")
@click.option("--search", metavar="TEXT", help="Only models whose name holds this.")
@click.option("--task", metavar="TASK", help="Only for this: text, image, audio, …, or a task such as text-to-image.")
@click.option("--region", metavar="NAME", help="Only there: us, eu, ap, …, a provider's own region, or gdpr.")
@click.option("--provider", metavar="NAME", help="Only from this provider.")
@click.option("--kind", type=click.Choice(["serverless", "hardware"]), help="Only paid by use, or by the hour.")
@click.option(
    "--max-price",
    type=AmountType(),
    metavar="DOLLARS",
    help="At most this: per million tokens out, or per hour of hardware.",
)
@click.option("--context", type=click.IntRange(min=1), metavar="TOKENS", help="At least so many tokens of context.")
@click.option("--tools/--no-tools", default=None, help="Only where tools can be used, or can't.")
@click.option(
    "--sort",
    type=click.Choice(["price", "throughput", "first-token", "context", "model", "provider"]),
    default="price",
    show_default=True,
    help="In this order; what is not told comes last.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@json_option
@quiet_option
@click.pass_context
@asks_where
def offers(ctx: click.Context, /, asked: Asked, *, as_json: bool, quiet: bool, **wanted: Any) -> int:
    """Show what models can be had for: served by the token, or by the hour on hardware, cheapest first.

    What an hour comes to per million tokens is only shown where a server has measured it. Prices are in US dollars.
    --quiet prints the models, each with who has it. The exit code is 1 where nobody who was asked could tell.
    """
    if ctx.invoked_subcommand is not None:
        given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            option = given[0].replace("_", "-").removeprefix("as-")
            raise click.UsageError(_misplaced(ctx, given[0], option))
        return 0
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    found = place.run(lambda client: client.offers(**wanted))
    _tell_of_trouble(found.sources)
    if as_json:
        print_json(as_document(found))
    elif quiet:
        print_names([f"{offer.model} {offer.provider}" for offer in found])
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

        console = out()
        console.print(_drawn(found, console.width, place.title))
    return int(not found and any(source.trouble for source in found.sources))


def _misplaced(ctx: click.Context, name: str, option: str) -> str:
    """What to do about an option that stands before a subcommand."""
    within = offers.commands[str(ctx.invoked_subcommand)]
    if any(one.name == name for one in within.params):
        return f"--{option} belongs behind `{ctx.invoked_subcommand}`, or to `offers` alone."
    return f"--{option} belongs to `offers` alone; `{ctx.invoked_subcommand}` has no such option."


offers.add_command(explain)


def as_document(found: OfferList) -> dict[str, Any]:
    """The offers as the route has them."""
    from lamplighter.sdk.market import offer_document  # noqa: PLC0415 - help should not pay for it

    return {
        "offers": [offer_document(offer) for offer in found],
        "sources": [dataclasses.asdict(source) for source in found.sources],
    }


def _tell_of_trouble(sources: Sequence[MarketSource]) -> None:
    from lamplighter.cli.show.words import ago, one_line  # noqa: PLC0415 - help should not pay for it

    for source in sources:
        if source.trouble:
            when = f"shown as told {ago(source.age)}" if source.age is not None else "nothing of it is shown"
            click.echo(f"{source.name}: {one_line(source.trouble)} ({when})", err=True)


def _drawn(found: OfferList, width: int, where: str) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - help should not pay for it
    from rich.text import Text  # noqa: PLC0415

    if not found and any(source.trouble for source in found.sources):
        return "No offer is known: not everybody who was asked could tell."
    if not found:
        return f"There is no such offer at {where}."
    notes = [_sources(found.sources)]
    if any(offer.disagrees for offer in found):
        from lamplighter.domain.prices import RULE  # noqa: PLC0415 - help should not pay for it

        notes.append(f"Where sources disagree, this counts: {RULE}.")
    return Group(_table(found, width), Text("\n".join(note for note in notes if note), style="dim"))


def _sources(sources: Sequence[MarketSource]) -> str:
    from lamplighter.cli.show.words import ago  # noqa: PLC0415 - help should not pay for it

    told = [f"{source.name} ({ago(source.age)})" for source in sources if source.age is not None]
    return f"Told by {', '.join(told)}." if told else ""


def _table(found: OfferList, width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.market.models import rounded  # noqa: PLC0415
    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415
    from lamplighter.cli.show.words import one_line, span  # noqa: PLC0415

    columns: list[Column[Offer]] = [
        Column("model", lambda one: Text(one_line(one.model), style="bold"), may_be_cut=True),
        Column("from", lambda one: one_line(one.endpoint or one.provider)),
        Column("on", lambda one: one_line(one.hardware) if one.hardware else None, may_be_cut=True),
        Column("in", lambda one: _per_million(one, out=False), "right"),
        Column("out", lambda one: _per_million(one, out=True), "right"),
        Column("per hour", _per_hour, "right"),
        Column("has cost", _has_cost, "right", may_be_missing=True),
        Column("where", _where, may_be_missing=True),
        Column("context", lambda one: rounded(one.context), "right"),
        Column("tools", lambda one: "yes" if one.tools else None, may_be_missing=True),
        Column("tokens/s", _speed, "right", may_be_missing=True),
        Column(
            "first token",
            _first_token,
            "right",
            may_be_missing=True,
        ),
        Column(
            "start",
            lambda one: span(one.cold_start) if one.cold_start is not None else None,
            "right",
            may_be_missing=True,
        ),
        Column("fits", _fits, may_be_missing=True),
        Column("status", lambda one: None if one.status in {"live", "available"} else one_line(one.status)),
        Column("priced", lambda one: _age(one, found.sources), may_be_missing=True),
        Column("others say", _others, may_be_cut=True, may_be_missing=True),
    ]
    return table(columns, found, width)


def _per_million(offer: Offer, *, out: bool) -> str | None:
    from lamplighter.domain.money import Unit  # noqa: PLC0415 - help should not pay for it

    if offer.is_free and not offer.quotes:
        return "free"
    quote = offer.quote(Unit.MILLION_TOKENS_OUT if out else Unit.MILLION_TOKENS_IN)
    if quote is not None:
        return _dollars(quote.amount)
    if not out:
        return None
    measured = offer.price_per_million
    return f"{_dollars(measured)} measured" if measured is not None else None


def _per_hour(offer: Offer) -> str | None:
    from lamplighter.domain.money import Unit  # noqa: PLC0415 - help should not pay for it

    quote = offer.quote(Unit.REPLICA_HOUR)
    return _dollars(quote.amount) if quote is not None else None


def _dollars(amount: Decimal) -> str:
    from lamplighter.cli.show.portrayal import dollars  # noqa: PLC0415 - help should not pay for it

    return dollars(float(amount)) or ""


def _where(offer: Offer) -> str | None:
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415 - help should not pay for it

    gdpr = " (gdpr)" if "gdpr" in offer.tags else ""
    return f"{one_line(offer.region)}{gdpr}" if offer.region else None


def _speed(offer: Offer) -> str | None:
    measured = offer.measured.tokens_per_second if offer.measured is not None else None
    if measured is not None:
        return f"{measured:.1f} measured"
    return f"{offer.throughput:.1f}" if offer.throughput is not None else None


def _first_token(offer: Offer) -> str | None:
    from lamplighter.cli.show.words import span  # noqa: PLC0415 - help should not pay for it

    if offer.measured is not None and offer.measured.first_token is not None:
        return f"{span(offer.measured.first_token)} measured"
    return span(offer.first_token) if offer.first_token is not None else None


def _has_cost(offer: Offer) -> str | None:
    """What use of an endpoint came to: per million tokens, else per request."""
    cost = offer.cost
    if cost is None:
        return None
    if cost.per_million_tokens is not None:
        return f"{_dollars(cost.per_million_tokens)}/M"
    return f"{_dollars(cost.per_request)}/request" if cost.per_request is not None else None


def _others(offer: Offer) -> str | None:
    """What other sources say of the price, where that is something else; the one that is shown counts."""
    if not offer.disagrees:
        return None
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415 - help should not pay for it

    counts = {quote.unit: quote.amount for quote in offer.quotes}
    differ = [one for one in offer.others if counts.get(one.unit, one.amount) != one.amount]
    units = {"million_tokens_in": " in", "million_tokens_out": " out"}
    return ", ".join(f"{one_line(one.source)} {_dollars(one.amount)}{units.get(one.unit, '')}" for one in differ)


def _fits(offer: Offer) -> str | None:
    fit = offer.fit
    if fit is None:
        return None
    if fit.needed_gb is None or fit.available_gb is None:
        return "unknown"
    return f"~{fit.needed_gb:.0f} of {fit.available_gb:g} GB"


def _age(offer: Offer, sources: Sequence[MarketSource]) -> str | None:
    """Who told the price, and how long ago: the configuration's holds now, a marketplace's since it was last asked."""
    from lamplighter.cli.show.words import ago  # noqa: PLC0415 - help should not pay for it

    quote = offer.main_quote
    if quote is None or quote.source == "configuration":
        return None if quote is None else quote.source
    if quote.age is not None:
        return f"{quote.source}, {ago(quote.age)}"
    told = next((one.age for one in sources if one.name == offer.source and offer.endpoint is None), None)
    return f"{quote.source}, {ago(time.time() - quote.at if told is None else told)}"
