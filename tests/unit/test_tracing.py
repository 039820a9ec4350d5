"""Spans of a real gateway: the request, its waits and its attempts, hung below what the client sent."""

import asyncio
import builtins
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from lamplighter.errors import ConfigError, WakeFailed
from lamplighter.gateway.tracing import Tracing, open_tracing, wanted
from tests.gateway_stage import SOON, Script, Stage, StageDemand, Visit, answer, endpoint, stage, until

ANSWER = b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{PARENT}-01"


class Traces:
    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider)
        self.heard: list[str | None] = []
        """The `traceparent` of each request that reached the endpoint."""

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        found = {span.name: span for span in self._exporter.get_finished_spans()}
        assert len(found) == len(self._exporter.get_finished_spans())
        return found

    def answering(self, data: bytes) -> Script:
        async def script(visit: Visit) -> None:
            while True:
                _, headers, _ = await visit.request()
                self.heard.append(headers.get("traceparent"))
                await visit.say(data)

        return script


@contextlib.asynccontextmanager
async def traced(
    traces: Traces, *, awake: bool = True, data: bytes = answer(ANSWER, headers="content-type: application/json\r\n")
) -> AsyncIterator[tuple[Stage, str]]:
    async with (
        endpoint(traces.answering(data)) as there,
        stage(StageDemand(there.url if awake else None), SOON, tracing=traces.tracing) as here,
    ):
        yield here, there.url


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def own_id(span: ReadableSpan) -> int:
    assert span.context is not None
    found: int = span.context.span_id
    return found


def is_sampled(heard: list[str | None]) -> bool:
    """Whether the only target was told to take down its part."""
    (line,) = heard
    found = re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})", line or "")
    assert found
    return bool(int(found[1], 16) & 1)


async def test_a_request_is_a_span_with_its_attempt_inside():
    traces = Traces()
    async with traced(traces) as (here, url):
        await here.ask(x_request_id="mine")
    request, attempt = traces.spans["POST /v1/chat/completions"], traces.spans["attempt lamp"]
    assert (request.kind, attempt.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert parent_of(request) is None
    assert parent_of(attempt) == own_id(request)
    facts = told(request)
    assert facts["http.request.method"] == "POST"
    assert facts["http.response.status_code"] == 200
    assert facts["lamplighter.request_id"] == "mine"
    assert (facts["lamplighter.target"], facts["lamplighter.outcome"]) == ("lamp", "served")
    assert (facts["gen_ai.operation.name"], facts["gen_ai.request.model"]) == ("chat", "lamp")
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (3, 4)
    assert facts["client.address"] == "127.0.0.1"
    assert told(attempt)["server.port"] == int(url.rsplit(":", 1)[1])
    assert told(attempt)["gen_ai.usage.output_tokens"] == 4
    assert request.status.status_code is StatusCode.UNSET
    assert request.start_time is not None
    assert attempt.start_time is not None
    assert request.start_time <= attempt.start_time


async def test_the_clients_trace_goes_on_and_each_attempt_hands_its_own_span_to_the_target():
    traces = Traces()
    async with traced(traces) as (here, _):
        await here.ask(traceparent=SENT, tracestate="vendor=1")
    request, attempt = traces.spans["POST /v1/chat/completions"], traces.spans["attempt lamp"]
    assert request.context is not None
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{parent_of(request):016x}" == PARENT
    assert traces.heard == [f"00-{TRACE}-{own_id(attempt):016x}-01"]


async def test_a_trace_that_is_nonsense_begins_a_new_one():
    traces = Traces()
    async with traced(traces) as (here, _):
        await here.ask(traceparent="00-nonsense")
    assert parent_of(traces.spans["POST /v1/chat/completions"]) is None
    assert is_sampled(traces.heard)


async def test_what_is_not_sampled_says_so_to_the_target():
    traces = Traces(sampler=ALWAYS_OFF)
    async with traced(traces) as (here, _):
        await here.ask()
    assert not traces.spans
    assert not is_sampled(traces.heard)


async def test_without_traces_the_clients_trace_passes_untouched():
    traces = Traces()
    async with endpoint(traces.answering(answer())) as there, stage(StageDemand(there.url), SOON) as here:
        await here.ask(traceparent=SENT)
    assert traces.heard == [SENT]


async def test_the_time_that_a_request_waits_is_a_span():
    traces = Traces()
    async with traced(traces, awake=False) as (here, url):
        asking = asyncio.create_task(here.ask())
        await here.demand.waiting.wait()
        here.demand.wake(url)
        assert (await asking).status == 200
    wait = traces.spans["wait lamp"]
    assert parent_of(wait) == own_id(traces.spans["POST /v1/chat/completions"])
    assert wait.status.status_code is StatusCode.UNSET
    assert told(traces.spans["POST /v1/chat/completions"])["lamplighter.waited"] == 1.5


async def test_a_wait_in_vain_tells_why():
    traces = Traces()
    async with traced(traces, awake=False) as (here, _):
        asking = asyncio.create_task(here.ask())
        await here.demand.waiting.wait()
        here.demand.refuse(WakeFailed("it broke", retry_after=3))
        assert (await asking).status == 503
    wait, request = traces.spans["wait lamp"], traces.spans["POST /v1/chat/completions"]
    assert told(wait)["error.type"] == told(request)["error.type"] == "wake_failed"
    assert wait.status.status_code is request.status.status_code is StatusCode.ERROR


async def test_an_attempt_that_fails_is_marked():
    traces = Traces()
    async with traced(traces, data=b"garbage\r\n\r\n") as (here, _):
        assert (await here.ask()).status == 502
    assert "upstream" in told(traces.spans["attempt lamp"])["error.type"]
    assert traces.spans["POST /v1/chat/completions"].status.status_code is StatusCode.ERROR


async def test_a_request_that_is_refused_at_the_door_has_a_span_too():
    traces = Traces()
    async with traced(traces) as (here, _):
        assert (await here.ask(body={"model": "nobody"})).status == 404
        await until(lambda: traces.spans)
    (request,) = traces.spans.values()
    assert told(request)["http.response.status_code"] == 404
    assert told(request)["error.type"] == "model_not_found"


def test_traces_are_wanted_where_somebody_says_so():
    place = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert wanted(None, place)
    assert wanted(True, {})
    assert not wanted(None, {})
    assert not wanted(False, place)
    assert open_tracing(None, "1", {}) is None


async def test_what_is_exported_names_the_service(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    tracing = open_tracing(True, "7.8", {})
    assert tracing is not None
    resource = tracing.tracer.resource  # type: ignore[attr-defined]
    assert (resource.attributes["service.name"], resource.attributes["service.version"]) == ("lamplighter", "7.8")
    await tracing.close()


def test_traces_that_are_asked_for_and_can_not_be_made_are_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'lamplighter\[otel\]', or leave server\.tracing out"):
        open_tracing(True, "1", {})
    assert open_tracing(None, "1", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}) is None
    assert "not traced" in capsys.readouterr().out
