"""Plug-ins that are broken, and marketplaces that do not keep their word: told as that, and nobody else suffers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from lamplighter.control.clock import Clock
from lamplighter.control.market import PRICES_AGE, Market
from lamplighter.domain.inference import InferenceAnswer, InferenceRequest
from lamplighter.domain.model_filter import ModelFilter, ModelPage
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.offer_choice import OfferFilter
from lamplighter.domain.offers import ModelRecord, ServedBy
from lamplighter.errors import InvalidInput, ModelNotFound, ProviderError, ProviderTimeout, RateLimited
from lamplighter.providers.kinds import ProviderKind, provider_kinds
from lamplighter.providers.registry import Site, make_provider
from tests.virtual_time import virtual

# Packages that are installed.


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a package of one module with one entry point, as far as anybody can tell."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, code: str, *, key: str = "odd", place: str = "") -> None:
        monkeypatch.delitem(sys.modules, package, raising=False)
        (tmp_path / f"{package}.py").write_text(code)
        about = tmp_path / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[lamplighter.providers]\n{key} = {place or f'{package}:Odd'}\n")

    return install


def kind_of(key: str) -> ProviderKind:
    return next(one for one in provider_kinds() if one.key == key)


def site(tmp_path: Path) -> Site:
    return Site(name="mine", data=tmp_path)


@pytest.mark.parametrize(
    ("code", "place", "told"),
    [
        ("import nothing_of_this_name", "", "can't be loaded: ModuleNotFoundError"),
        ("raise RuntimeError('no luck')", "", "can't be loaded: RuntimeError: no luck"),
        ("raise SystemExit(7)", "", "can't be loaded: SystemExit: 7"),
        ("def broken(:", "", "can't be loaded: SyntaxError"),
        ("", "", "can't be loaded: AttributeError"),
        ("Odd = 42", "", "is nothing that makes a provider"),
    ],
)
def test_a_plug_in_that_can_not_be_loaded_is_told_with_its_package(
    installed: Callable[..., None], code: str, place: str, told: str, tmp_path: Path
) -> None:
    installed("brokenplug", code, place=place)
    found = kind_of("odd")
    assert found.origin == "brokenplug 1.0"
    assert told in (found.trouble or "")
    with pytest.raises(InvalidInput, match=r"'odd' of brokenplug 1\.0") as raised:
        make_provider("odd", site(tmp_path))
    assert told in raised.value.message
    assert raised.value.field == "type"


def test_a_key_that_two_packages_have_is_nobodys(installed: Callable[..., None], tmp_path: Path) -> None:
    installed("firstplug", "Odd = dict")
    installed("secondplug", "Odd = dict")
    assert [one.trouble for one in provider_kinds() if one.key == "odd"] == [
        "its key is one that another package has, too: it is not used"
    ] * 2
    with pytest.raises(InvalidInput, match=r"firstplug 1\.0 and secondplug 1\.0 both have"):
        make_provider("odd", site(tmp_path))


def test_a_key_that_comes_along_can_not_be_taken(installed: Callable[..., None], tmp_path: Path) -> None:
    installed("thief", "raise RuntimeError('it was loaded')", key="memory")
    assert "comes with Lamplighter" in next(one.trouble or "" for one in provider_kinds() if one.origin == "thief 1.0")
    assert type(make_provider("memory", site(tmp_path))).__name__ == "MemoryProvider"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def Odd(site): raise OSError('no oil')", "providers.mine: 'odd' broke as it was made: OSError: no oil"),
        ("def Odd(site): return 42", "makes neither a provider nor a marketplace"),
        ("def Odd(): return 42", "providers.mine.options: Odd() takes 0 positional arguments"),
    ],
)
def test_a_plug_in_that_makes_nothing_of_use_is_told(
    installed: Callable[..., None], code: str, told: str, tmp_path: Path
) -> None:
    installed("uselessplug", code)
    with pytest.raises(InvalidInput) as raised:
        make_provider("odd", site(tmp_path))
    assert told in raised.value.message


# Marketplaces.

MODEL = ModelRecord(id="org/model", providers=(ServedBy(provider="odd"),), source="odd")
PRICE = Quote(
    subject="odd/org/model", unit=Unit.MILLION_TOKENS_OUT, amount=Decimal("0.5"), source="odd", at=1_700_000_000.0
)
PAGE = ModelPage(models=(MODEL,))
ASK = InferenceRequest(model="org/model", body={"messages": []}, timeout=30.0)
ANSWER = InferenceAnswer(model="org/model", provider="odd", content_type="text/plain", body=b"x")


class Odd:
    """A marketplace whose parts a test replaces. What is an exception is raised."""

    def __init__(self, pages: Any = (PAGE,), prices: Any = (PRICE,), answer: Any = ANSWER) -> None:
        self._pages, self._prices, self._answer = pages, prices, answer

    async def list_models(self, wanted: ModelFilter) -> AsyncIterator[ModelPage]:
        for page in _or_raised(self._pages):
            yield _or_raised(page)

    async def get_pricing(self) -> Sequence[Quote]:
        prices: Sequence[Quote] = _or_raised(self._prices)
        return prices

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        if isinstance(self._answer, float):
            await asyncio.sleep(self._answer)
            raise ModelNotFound("not here", model=payload.model)
        answer: InferenceAnswer = _or_raised(self._answer)
        return answer


def _or_raised(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


class NoGenerator(Odd):
    async def list_models(self, wanted: ModelFilter) -> list[ModelPage]:  # type: ignore[override]
        return [ModelPage(models=(MODEL,))]


SOUND = Odd(
    pages=(ModelPage(models=(replace(MODEL, id="org/sound", providers=(ServedBy(provider="sound"),)),)),), prices=()
)
FAULTS: list[Odd] = [
    Odd(pages=ValueError("hush")),
    Odd(pages=(ModelPage(models=()), KeyError("hush"))),
    Odd(pages=([MODEL],)),
    Odd(pages=(ModelPage(models=({"id": "x"},)),)),  # type: ignore[arg-type]
    Odd(pages=(ModelPage(models=(), next=7),)),  # type: ignore[arg-type]
    Odd(prices=ZeroDivisionError("hush")),
    Odd(prices=None),
    Odd(prices=42),
    NoGenerator(),
]


@virtual
@pytest.mark.parametrize("odd", FAULTS, ids=range(len(FAULTS)))
async def test_a_marketplace_that_breaks_takes_nothing_away_from_the_others(odd: Odd) -> None:
    with capture_logs():
        found = await Market({"odd": odd, "sound": SOUND}, Clock()).offers(OfferFilter())
    assert [offer.model for offer in found.offers] == ["org/sound"]
    (trouble,) = [source.trouble for source in found.sources if source.name == "odd"]
    assert trouble is not None
    assert trouble.startswith("odd ")
    assert "hush" not in trouble


@virtual
@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("hush"),
        None,
        {"choices": []},
        replace(ANSWER, body="text"),  # type: ignore[arg-type]
        replace(ANSWER, provider="odd\r\nset-cookie: a=b"),
        replace(ANSWER, content_type="text/plain\r\nset-cookie: a=b"),
    ],
)
async def test_an_inference_that_breaks_is_one_of_the_set(answer: Any) -> None:
    with capture_logs(), pytest.raises(ProviderError) as raised:
        await Market({"odd": Odd(answer=answer)}, Clock()).run_inference(ASK)
    assert "hush" not in raised.value.message


@virtual
async def test_what_a_marketplace_says_in_our_words_passes() -> None:
    for error in (RateLimited("slowly", retry_after=3.0), ModelNotFound("none", model="x")):
        with pytest.raises(type(error)) as raised:
            await Market({"odd": Odd(answer=error)}, Clock()).run_inference(ASK)
        assert raised.value is error
    with pytest.raises(ProviderTimeout):
        await Market({"odd": Odd(answer=TimeoutError())}, Clock()).run_inference(ASK)


@virtual
async def test_the_time_of_a_call_is_for_all_marketplaces_together() -> None:
    slow = {f"slow-{number}": Odd(answer=20.0) for number in range(4)}
    began = asyncio.get_running_loop().time()
    with pytest.raises(ProviderTimeout, match="slow-1 did not answer org/model within 30 s"):
        await Market(slow, Clock()).run_inference(ASK)
    assert asyncio.get_running_loop().time() - began == pytest.approx(30)


@virtual
async def test_a_price_that_can_not_be_is_no_price_and_is_told_in_the_log() -> None:
    wrong = [
        *("-1", "NaN", "Infinity", "1000001"),
        *(replace(PRICE, amount=0.5), replace(PRICE, currency="EUR"), replace(PRICE, unit="hour")),  # type: ignore[arg-type]
        *(replace(PRICE, at=float("nan")), {"amount": 1}, None),
    ]
    for one in wrong:
        quote = replace(PRICE, amount=Decimal(one)) if isinstance(one, str) else one
        with capture_logs() as logs:
            (offer,) = (await Market({"odd": Odd(prices=[quote])}, Clock()).offers(OfferFilter())).offers
        assert (offer.quotes, offer.main_quote) == ((), None), one
        assert [line["event"] for line in logs] == ["prices that can't be are left out"]


@virtual
async def test_a_price_that_leaps_is_not_believed_while_it_does() -> None:
    odd = Odd()
    market = Market({"odd": odd}, Clock())

    async def price(amount: str) -> Decimal | None:
        odd._prices = [replace(PRICE, amount=Decimal(amount))]
        await asyncio.sleep(PRICES_AGE + 1)
        with capture_logs():
            (offer,) = (await market.offers(OfferFilter())).offers
        return offer.price_per_million

    told = ["0.5", "501", "501", "0.0004", "0", "501", "2", "501"]
    shown = ["0.5", None, None, None, None, None, "2", "501"]
    assert [await price(amount) for amount in told] == [one and Decimal(one) for one in shown]


@virtual
async def test_what_costs_nothing_is_only_believed_where_it_is_said_to_be_free() -> None:
    nothing = [replace(PRICE, amount=Decimal(0))]
    (offer,) = (await Market({"odd": Odd(prices=nothing)}, Clock()).offers(OfferFilter())).offers
    assert offer.quotes == ()
    free = replace(MODEL, providers=(ServedBy(provider="odd", is_free=True),))
    here = Odd(pages=(ModelPage(models=(free,)),), prices=nothing)
    (offer,) = (await Market({"odd": here}, Clock()).offers(OfferFilter())).offers
    assert offer.price_per_million == 0


@virtual
async def test_who_is_not_known_while_somebody_is_silent_is_no_mistake() -> None:
    down = Odd(pages=ProviderError("it is down"))
    with capture_logs():
        found = await Market({"down": down, "sound": SOUND}, Clock()).offers(OfferFilter(provider="novita"))
    assert found.offers == []
    with pytest.raises(InvalidInput, match="provider: there is no 'novita'"):
        await Market({"sound": SOUND}, Clock()).offers(OfferFilter(provider="novita"))
