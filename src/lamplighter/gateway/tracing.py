"""Traces: a span for each request, with a span for each wait and for each attempt inside of it.

Works with OpenTelemetry, which comes with the extra `lamplighter[otel]`. Where it is off the gateway has no `Tracing`,
an exchange no `Trace`, and a client's `traceparent` passes as it came. Where it is on, that is the parent of the
request's span, and each attempt hands its own to the target.

How the pipeline uses a trace, each time behind one `is not None`:

- `Tracing.begin(x)` when the request's head is read; the result is kept as `x.trace`.
- `waiting(target)` before a claim is waited for, `granted()` when it came, or `not_granted(error)`.
- `attempt(target, origin)` for each attempt: a header's line, to be sent with it.
- `attempt_failed(code)` where another one may follow. One that was answered ends with the request.
- `finish(x)` when the request has ended, whichever way. What is still open then ends, too.

Attributes follow OpenTelemetry's conventions for HTTP and for generative AI; what these do not know begins with
`lamplighter.`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from lamplighter.errors import ConfigError, LamplighterError
from lamplighter.gateway.access_log import Finished
from lamplighter.gateway.address import Origin

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

log = structlog.get_logger("lamplighter.gateway")

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Traces are made where one of these says where to send them, unless `server.tracing` says otherwise."""

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
"""`gen_ai.operation.name` by path, as the conventions call them."""

_CLOSE_TIMEOUT = 5.0
_TRACEPARENT = frozenset({b"traceparent"})


class Traced(Finished, Protocol):
    """What is traced: an exchange."""


def wanted(setting: bool | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether traces are to be made; `setting` is `server.tracing`."""
    return any(environ.get(name) for name in ENDPOINT_VARIABLES) if setting is None else setting


def open_tracing(setting: bool | None, version: str, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """Tracing as it is configured: by `server.tracing`, and by OpenTelemetry's own variables (OTEL_…).

    None where it is off. Raises ConfigError where it is asked for and OpenTelemetry is not installed; where only the
    environment names a place for traces, that is a warning.
    """
    if not wanted(setting, environ):
        return None
    try:
        provider = _provider(version, environ)
    except ImportError as error:
        text = "Traces need OpenTelemetry: pip install 'lamplighter[otel]'"
        if setting:
            raise ConfigError(f"{text}, or leave server.tracing out.", field="server.tracing") from error
        log.warning("not traced", reason=text)
        return None
    return Tracing(provider, version)


def _provider(version: str, environ: Mapping[str, str]) -> TracerProvider:
    """Raises ImportError."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    own = {"service.version": version}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own["service.name"] = "lamplighter"
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Makes the traces of a gateway. Nothing of it is global."""

    def __init__(self, provider: TracerProvider, version: str = "") -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._provider = provider
        self.server_kind, self.client_kind = SpanKind.SERVER, SpanKind.CLIENT
        self.below = set_span_in_context
        self.tracer = provider.get_tracer("lamplighter", version)
        self._extract = TraceContextTextMapPropagator().extract

    def begin(self, x: Traced) -> Trace:
        """Begin the span of a request whose head was read. The client's own `traceparent` is sent no further."""
        request = x.request
        given = request.header(b"traceparent")
        parent: Context | None = None
        if given is not None:
            state = request.header(b"tracestate") or b""
            carrier = {"traceparent": given.decode("latin-1"), "tracestate": state.decode("latin-1")}
            parent = self._extract(carrier)
            request.lines = request.lines_without(_TRACEPARENT)
        return Trace(self, x, parent)

    async def close(self) -> None:
        """Send what waits to be sent, for a few seconds at most."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("traces lost", reason="they could not be sent in time")


class Trace:
    """The spans of one request. Belongs to the request's task; none of its methods raises or waits."""

    __slots__ = ("_asked", "_context", "_span", "_tracing", "_wait")

    def __init__(self, tracing: Tracing, x: Traced, parent: Context | None) -> None:
        request = x.request
        attributes: dict[str, Any] = {
            "http.request.method": request.method,
            "url.path": request.path[:500],
            "lamplighter.request_id": request.id.decode("latin-1"),
        }
        client = request.scope.get("client")
        if client:
            attributes["client.address"] = client[0]
        self._tracing = tracing
        self._span = tracing.tracer.start_span(
            request.method,
            parent,
            kind=tracing.server_kind,
            attributes=attributes,
            start_time=time_ns() - int((monotonic() - x.started) * 1e9),
        )
        self._context = tracing.below(self._span)
        self._wait: Span | None = None
        self._asked: Span | None = None

    @property
    def span(self) -> Span:
        """Of the request itself."""
        return self._span

    def waiting(self, target: str) -> None:
        """The request waits for a target."""
        self._end_wait(None)
        self._wait = self._tracing.tracer.start_span(
            f"wait {target}", self._context, attributes={"lamplighter.target": target}
        )

    def granted(self) -> None:
        """What it waited for is awake."""
        self._end_wait(None)

    def not_granted(self, error: BaseException) -> None:
        """It waited in vain."""
        self._end_wait(error.code if isinstance(error, LamplighterError) else "cancelled")

    def attempt(self, target: str, origin: Origin, *, again: bool = False) -> bytes:
        """The request is sent to a target. Returns the line of a header that tells the target of this span.

        `again`: it is the attempt that was begun last, sent once more on another connection.
        """
        if not again or self._asked is None:
            self._end_attempt(None)
            self._asked = self._begin_attempt(target, origin)
        context = self._asked.get_span_context()
        return b"traceparent: 00-%032x-%016x-%02x\r\n" % (context.trace_id, context.span_id, context.trace_flags)

    def _begin_attempt(self, target: str, origin: Origin) -> Span:
        host, port, _ = origin
        attributes: dict[str, Any] = {"lamplighter.target": target, "server.address": host, "server.port": port}
        kind = self._tracing.client_kind
        return self._tracing.tracer.start_span(f"attempt {target}", self._context, kind=kind, attributes=attributes)

    def attempt_failed(self, code: str) -> None:
        """It gave no answer that counts; `code` is that of the error."""
        self._end_attempt(code)

    def finish(self, x: Traced) -> None:
        """End the request's span, and what is still open in it."""
        failed = x.error or (x.outcome.value if x.outcome.value not in {"served", "client_gone"} else "")
        error = failed or (str(x.status) if x.status >= 500 else "")
        self._end_wait(error or x.outcome.value)
        if self._asked is not None:
            self._asked.set_attributes(_used(x) | _asked_for(x))
            self._end_attempt(error or None)
        span, attributes = self._span, _told(x)
        if span.is_recording():
            route = attributes.get("http.route")
            span.update_name(f"{x.request.method} {route}" if route else x.request.method)
            span.set_attributes(attributes)
        if error and (x.status >= 500 or not x.status or failed):
            _mark(span, error)
        span.end()

    def _end_wait(self, error: str | None) -> None:
        span, self._wait = self._wait, None
        _end(span, error)

    def _end_attempt(self, error: str | None) -> None:
        span, self._asked = self._asked, None
        _end(span, error)


def _end(span: Span | None, error: str | None) -> None:
    if span is None:
        return
    if error:
        _mark(span, error)
    span.end()


def _mark(span: Span, error: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def _told(x: Traced) -> dict[str, Any]:
    """What is known of a request at its end."""
    told: dict[str, Any] = {
        "lamplighter.outcome": x.outcome.value,
        "lamplighter.attempts": x.attempts,
        "lamplighter.waited": x.waited,
    }
    if x.status:
        told["http.response.status_code"] = x.status
    if x.route:
        told["http.route"] = x.route
    if x.endpoint:
        told["lamplighter.target"] = x.endpoint
        told["lamplighter.key"] = x.key.id
    if x.first_byte_at is not None:
        told["lamplighter.first_byte"] = x.first_byte_at - x.started
    return told | _used(x) | _asked_for(x)


def _asked_for(x: Traced) -> dict[str, Any]:
    operation = OPERATIONS.get(x.route)
    if operation is None or not x.endpoint:
        return {}
    return {"gen_ai.operation.name": operation, "gen_ai.request.model": x.way.name}


def _used(x: Traced) -> dict[str, Any]:
    if not x.tokens_in and not x.tokens_out:
        return {}
    return {"gen_ai.usage.input_tokens": x.tokens_in, "gen_ai.usage.output_tokens": x.tokens_out}
