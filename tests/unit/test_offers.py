"""Models, fits, regions, prices and choices: what is reckoned of what was told, and nothing that was not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from lamplighter import errors
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.inference import FailureKind, InferenceAnswer, InferenceRequest, failure_of, surface_of
from lamplighter.domain.model_filter import ModelFilter
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.offer_choice import OfferFilter, chosen
from lamplighter.domain.offers import (
    ModelRecord,
    Offer,
    OfferKind,
    ServedBy,
    Throughput,
    fit,
    hardware_offers,
    hardware_quotes,
    per_million,
    serverless_offers,
)
from lamplighter.domain.regions import region_tags, region_word
from lamplighter.domain.tasks import is_of, modality_of
from lamplighter.errors import InvalidInput, LamplighterError, ModelNotFound, ProviderError

QWEN = ModelRecord(
    id="Qwen/Qwen3-8B", task="text-generation", parameters=8_190_735_360, precision={"BF16": 8_190_735_360}
)
L4 = Hardware(
    id="aws-eu-west-1-nvidia-l4-x1",
    vendor="aws",
    region="eu-west-1",
    accelerator="gpu",
    instance_type="nvidia-l4",
    instance_size="x1",
    architecture="Nvidia L4",
    memory_gb=30.0,
    gpu_memory_gb=24.0,
    price_per_hour=0.8,
)
T4 = replace(L4, id="aws-us-east-1-nvidia-t4-x1", region="us-east-1", gpu_memory_gb=16.0, price_per_hour=0.5)


def quote(amount: str, unit: Unit = Unit.MILLION_TOKENS_OUT, **more: Any) -> Quote:
    return Quote(subject="s", unit=unit, amount=Decimal(amount), source="router", at=100.0, **more)


def offer(model: str = "a/b", price: str | None = "1", **more: Any) -> Offer:
    given = {"provider": "p", "kind": OfferKind.SERVERLESS, "source": "x", "quotes": (quote(price),) if price else ()}
    return Offer(model=model, **(given | more))


# Where.


@pytest.mark.parametrize(
    ("region", "word"),
    [
        ("us-east-1", "us"),
        ("us-gov-west-1", "us"),
        ("us-east4", "us"),
        ("eastus", "us"),
        ("westus3", "us"),
        ("eu-central-1", "eu"),
        ("europe-west4", "eu"),
        ("westeurope", "eu"),
        ("northeurope", "eu"),
        ("norwayeast", "eu"),
        ("eu-west-2", "uk"),
        ("uksouth", "uk"),
        ("eu-central-2", "ch"),
        ("ap-southeast-1", "ap"),
        ("asia-northeast1", "ap"),
        ("japaneast", "ap"),
        ("centralindia", "ap"),
        ("sa-east-1", "sa"),
        ("ca-central-1", "ca"),
        ("southafricanorth", "af"),
        ("local", "local"),
        ("mars-north-1", None),
        ("", None),
    ],
)
def test_a_region_is_told_from_its_name_and_nothing_is_guessed(region: str, word: str | None) -> None:
    assert region_word(region) == word


def test_gdpr_is_said_of_the_economic_area_alone() -> None:
    assert region_tags("eu-west-1") == ("region=eu", "gdpr")
    assert region_tags("eu-west-2") == ("region=uk",)  # London, whatever its name begins with
    assert region_tags("nowhere") == ()


# What.


def test_tasks_have_a_modality_and_may_be_of_several_kinds() -> None:
    assert modality_of("text-to-image") == "image"
    assert modality_of("image-text-to-text") == "multimodal"
    assert is_of("image-text-to-text", "text")
    assert is_of("image-text-to-text", "image")
    assert modality_of("walking-the-dog") == "other"
    assert modality_of(None) is None
    assert not is_of(None, "other")


# Whether it fits.


def test_a_fit_is_parameters_times_bytes_and_a_fifth_and_says_so() -> None:
    found = fit(QWEN, L4)
    assert found.fits
    assert found.needed_gb == pytest.approx(8.190735360 * 2 * 1.2)
    assert found.formula == "estimate: (8.19 billion x 2 B (BF16)) x 1.2 = 19.7 GB of 24 GB GPU memory"
    assert fit(QWEN, T4).fits is False


def test_a_precision_that_is_not_told_is_assumed_and_said_to_be() -> None:
    assert "(assumed)" in fit(replace(QWEN, precision={}), L4).formula
    small = fit(replace(QWEN, precision={"F8_E4M3": 8_190_735_360}), T4)
    assert small.fits
    assert small.needed_gb == pytest.approx(8.190735360 * 1.2)


def test_what_is_not_told_is_no_fit_and_no_misfit() -> None:
    assert fit(ModelRecord(id="a/b"), L4).fits is None
    assert fit(QWEN, replace(L4, gpu_memory_gb=None)).fits is None


def test_a_machine_without_an_accelerator_is_judged_by_its_memory() -> None:
    found = fit(QWEN, replace(L4, accelerator="cpu", gpu_memory_gb=None))
    assert found.fits
    assert found.available_gb == 30.0


# What it costs.


def test_an_hour_becomes_a_price_per_token_by_what_was_measured() -> None:
    assert per_million(Decimal("0.8"), 100.0) == Decimal("2.222222222")
    hourly = offer(price=None, kind=OfferKind.HARDWARE, quotes=(quote("0.8", Unit.REPLICA_HOUR),))
    measured = replace(hourly, measured=Throughput(tokens=1000, seconds=10.0, source="chat"))
    assert measured.price_per_million == Decimal("2.222222222")
    assert "chat" in measured.price_basis


def test_without_a_measurement_there_is_no_price_per_token_and_the_field_says_so() -> None:
    hourly = offer(price=None, kind=OfferKind.HARDWARE, quotes=(quote("0.8", Unit.REPLICA_HOUR),), throughput=100.0)
    assert (hourly.price_per_million, hourly.price_basis) == (None, "not measured")
    hardly = replace(hourly, measured=Throughput(tokens=99, seconds=1.0, source="chat"))
    assert (hardly.price_per_million, hardly.price_basis) == (None, "not measured")
    assert offer(price=None).price_basis == "no price was told"


def test_models_and_quotes_are_joined_by_who_serves_them() -> None:
    model = ModelRecord(id="a/b", context=10, providers=(ServedBy(provider="x"), ServedBy(provider="y", context=5)))
    quotes = [replace(quote("3"), subject="y/a/b"), replace(quote("9"), subject="y/a/c")]
    first, second = serverless_offers([model], quotes, source="hub")
    assert (first.provider, first.quotes, first.context) == ("x", (), 10)
    assert (second.provider, second.price_per_million, second.context) == ("y", Decimal(3), 5)


def test_hardware_is_offered_where_a_model_fits_with_region_and_price() -> None:
    listed = [L4, T4, replace(L4, id="gone", status="deprecated")]
    quotes = hardware_quotes(listed, source="huggingface", at=5.0)
    (found,) = hardware_offers(QWEN, listed, quotes, provider="huggingface")
    assert (found.hardware, found.region, found.tags) == (L4.id, "eu-west-1", ("region=eu", "gdpr"))
    assert [one.amount for one in found.quotes] == [Decimal("0.8")]
    assert found.fit is not None


def test_a_price_of_nothing_is_no_quote() -> None:
    assert hardware_quotes([replace(L4, price_per_hour=0.0)], source="x", at=0.0) == []
    assert hardware_quotes([replace(L4, price_per_hour=None)], source="x", at=0.0) == []


# Which are wanted.


def names(offers: list[Offer]) -> list[str]:
    return [one.model for one in offers]


def test_offers_are_sifted_by_every_filter() -> None:
    found = [
        offer("org/small", "0.1", task="text-generation", context=8000, tools=True, tags=("region=eu", "gdpr")),
        offer("org/large", "5", task="text-generation", context=200_000, tools=False, provider="q"),
        offer("org/eye", "1", task="text-to-image"),
        offer("org/unpriced", None, task="text-generation"),
        offer("org/gift", None, task="text-generation", is_free=True),
    ]

    def sifted(**wanted: Any) -> list[str]:
        return sorted(names(chosen(found, OfferFilter(**wanted))))

    assert sifted(task="image") == ["org/eye"]
    assert sifted(task="text-generation", context=100_000) == ["org/large"]
    assert sifted(region="eu") == sifted(region="gdpr") == ["org/small"]
    assert sifted(provider="q") == ["org/large"]
    assert sifted(max_price=Decimal(1)) == ["org/eye", "org/gift", "org/small"]
    assert sifted(tools=True) == ["org/small"]
    assert sifted(tools=False) == ["org/large"]
    assert sifted(model="ORG/Eye") == ["org/eye"]
    assert sifted(search="l") == ["org/large", "org/small"]
    assert len(chosen(found, OfferFilter(limit=2))) == 2


def test_offers_are_sorted_and_what_is_not_told_comes_last() -> None:
    hourly = offer("hour", None, kind=OfferKind.HARDWARE, quotes=(quote("0.2", Unit.REPLICA_HOUR),))
    found = [offer("none", None), hourly, offer("dear", "5", first_token=0.1), offer("cheap", "0.5", context=9)]
    assert names(chosen(found, OfferFilter())) == ["cheap", "dear", "hour", "none"]
    assert names(chosen(found, OfferFilter(sort="first-token")))[0] == "dear"
    assert names(chosen(found, OfferFilter(sort="context")))[0] == "cheap"
    assert names(chosen(found, OfferFilter(sort="model"))) == ["cheap", "dear", "hour", "none"]


def test_what_was_measured_is_believed_before_what_was_quoted() -> None:
    slow = offer("slow", throughput=900.0, measured=Throughput(tokens=1000, seconds=100.0, source="here"))
    assert names(chosen([slow, offer("fast", throughput=20.0)], OfferFilter(sort="throughput"))) == ["fast", "slow"]


@pytest.mark.parametrize(
    ("wanted", "field", "says"),
    [
        ({"task": "texxt"}, "task", "text"),
        ({"region": "atlantis"}, "region", "known are"),
        ({"provider": "pp"}, "provider", "'pp'"),
    ],
)
def test_a_word_that_nothing_has_is_told_with_near_ones(wanted: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        chosen([offer()], OfferFilter(**wanted))
    assert caught.value.field == field


def test_a_word_that_is_known_and_that_nothing_has_is_no_mistake() -> None:
    assert chosen([offer()], OfferFilter(region="eu", task="audio")) == []


@pytest.mark.parametrize(
    "wrong", [{"sort": "beauty"}, {"kind": "gift"}, {"max_price": Decimal("NaN")}, {"context": 0}, {"limit": 0}]
)
def test_a_filter_refuses_what_can_not_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        OfferFilter(**wrong)
    assert caught.value.field == next(iter(wrong))


@pytest.mark.parametrize(
    "wrong", [{"search": "a\nb"}, {"task": ""}, {"limit": 101}, {"sort": "x"}, {"cursor": "x" * 3000}]
)
def test_a_filter_of_models_refuses_what_can_not_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        ModelFilter(**wrong)
    assert caught.value.field == next(iter(wrong))


# One call, and one set of failures.


def test_a_payload_tells_what_it_is_for() -> None:
    assert surface_of({"messages": []}) == "chat/completions"
    assert surface_of({"inputs": "x", "parameters": {}}) == "task"
    assert surface_of({"input": "x"}) == "embeddings"
    assert surface_of({"input": "x"}, "responses") == "responses"
    with pytest.raises(InvalidInput, match="messages, prompt, input and inputs"):
        surface_of({"text": "x"})
    with pytest.raises(InvalidInput, match="'smell' is none"):
        surface_of({"messages": []}, "smell")
    wrongs: list[dict[str, Any]] = [{"model": " "}, {"timeout": 0.0}, {"body": []}]
    for wrong in wrongs:
        with pytest.raises(InvalidInput):
            InferenceRequest(**({"model": "a", "body": {"prompt": ""}} | wrong))


def test_an_answer_tells_its_tokens_and_is_no_json_where_it_is_none() -> None:
    told = InferenceAnswer(
        model="a", provider="p", content_type="application/json", body=b'{"usage": {"input_tokens": 3}}'
    )
    assert told.tokens == (3, 0)
    for body in (b"[]", b'{"usage": 3}', b'{"usage": {"prompt_tokens": -1}}', b"{"):
        assert replace(told, body=body).tokens == (0, 0)
    image = replace(told, content_type="image/png", body=b"\x89PNG")
    with pytest.raises(ProviderError, match="image/png"):
        image.json()


def every_error(kind: type[LamplighterError] = LamplighterError) -> set[type[LamplighterError]]:
    return {kind} | {one for child in kind.__subclasses__() for one in every_error(child)}


def test_every_error_is_one_of_the_eight() -> None:
    by_kind = {kind: failure_of(kind.__new__(kind)) for kind in every_error() if kind.__module__ == errors.__name__}
    assert set(by_kind.values()) == set(FailureKind)
    expected = {
        errors.TokenWrong: FailureKind.AUTH,
        errors.Forbidden: FailureKind.AUTH,
        errors.RateLimited: FailureKind.RATE_LIMIT,
        errors.PaymentRequired: FailureKind.PAYMENT,
        errors.QuotaExceeded: FailureKind.PAYMENT,
        ModelNotFound: FailureKind.NOT_FOUND,
        InvalidInput: FailureKind.BAD_INPUT,
        errors.Overloaded: FailureKind.OVERLOADED,
        errors.QueueFull: FailureKind.OVERLOADED,
        errors.WakeTimeout: FailureKind.TIMEOUT,
        errors.ProviderTimeout: FailureKind.TIMEOUT,
        errors.UpstreamTimeout: FailureKind.TIMEOUT,
        errors.ProviderUnreachable: FailureKind.UNAVAILABLE,
        errors.EndpointPaused: FailureKind.UNAVAILABLE,
        LamplighterError: FailureKind.UNAVAILABLE,
    }
    assert {kind: by_kind[kind] for kind in expected} == expected
