"""Asking a model for an answer at Hugging Face's router, whoever serves it there; and what a refusal means.

Chats and responses go to the router itself, in the shape of OpenAI's API; tasks go to `hf-inference` by the model's
mapping (huggingface.co/docs/inference-providers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lamplighter import errors
from lamplighter.domain.inference import TASK, InferenceAnswer, InferenceRequest, is_model_name
from lamplighter.domain.offers import ModelRecord
from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, LamplighterError, ModelNotFound, Overloaded, ProviderError, Unavailable
from lamplighter.hf.answers import error_for, said
from lamplighter.hf.exchange import Answer, Asked, Question, quoted
from lamplighter.hf.hosts import host_of
from lamplighter.hf.pace import Pace
from lamplighter.hf.wire import Wire

SURFACES = ("chat/completions", "responses", TASK)
"""What the router takes."""

OWN_PROVIDER = "hf-inference"
"""Who takes tasks in their own form; the others each have one of theirs."""

_PIPELINES = frozenset({"feature-extraction", "sentence-similarity"})
_ATTEMPTS = 3
_PATIENCE = 60.0
_NO_MODEL = frozenset({"model_not_supported", "model_not_found"})
_OVERLOADED = frozenset({503, 529})
_WHO = ("x-inference-provider", "x-lamplighter-provider", "x-lamplighter-target")
_SLASH = frozenset("/")


def check_surface(request: InferenceRequest) -> None:
    """Raises InvalidInput for what the router does not take, before anything is asked."""
    if request.meant_for not in SURFACES:
        text = (
            f"surface: the router takes {', '.join(SURFACES)}, and not {request.meant_for}; "
            "give `inputs` for the model's own task, such as feature-extraction"
        )
        raise InvalidInput(text, field="surface")
    if request.body.get("stream"):
        raise InvalidInput(
            "stream: an answer from the marketplace comes as a whole; leave it out, or make the router an upstream "
            "of a server, whose /v1 streams",
            field="stream",
        )


def question_of(request: InferenceRequest, router: str, model: ModelRecord | None) -> Question:
    """The question to the router at the address `router`. A task needs the model's record, for who serves it.

    Raises InvalidInput, ModelNotFound.
    """
    check_surface(request)
    request.written()  # what can't be is the caller's mistake, and is told before anything is asked
    if request.meant_for != TASK:
        name = f"{request.model}:{request.provider}" if request.provider else request.model
        url, body = f"{router}/v1/{request.meant_for}", {**request.body, "model": name}
    else:
        assert model is not None
        url, body = _task_url(request, router, model), dict(request.body)
    return Question(method="POST", url=url, body=body, timeout=request.timeout)


def _task_url(request: InferenceRequest, router: str, model: ModelRecord) -> str:
    served = {one.provider: one for one in model.providers if one.status in {"live", ""}}
    if request.provider not in {None, OWN_PROVIDER} or OWN_PROVIDER not in served:
        others = ", ".join(sorted(served)) or "nobody"
        text = f"{request.model} is served by {others}; tasks in their own form are taken by {OWN_PROVIDER} alone."
        raise ModelNotFound(text, model=request.model)
    own = served[OWN_PROVIDER]
    task = own.task or model.task
    pipeline = f"/pipeline/{task}" if task in _PIPELINES else ""
    name = own.name or model.id
    if not is_model_name(name):
        raise ProviderError(f"{request.model}: the Hub tells a name of it that is none: {name[:80]!r}.")
    return f"{router}/{OWN_PROVIDER}/models/{quoted(name, _SLASH)}{pipeline}"


async def ask(
    wire: Wire, question: Question, request: InferenceRequest, *, missing: Callable[[], LamplighterError] | None = None
) -> InferenceAnswer:
    """Ask within the request's time. What may have been executed is not sent again. Raises what a refusal means.

    `missing` makes the error for a token that was wanted and not there.
    """
    pace = Pace(attempts=_ATTEMPTS, deadline=min(request.timeout, _PATIENCE))
    answer = await wire.ask(question, pace=pace, repeatable=False)
    if not answer.is_success:
        raise refusal(answer, host_of(question.url), request.model, await wire.token_for(question.url), missing)
    return answer_of(answer, request, host_of(question.url))


def answer_of(answer: Answer, request: InferenceRequest, host: str) -> InferenceAnswer:
    """A success, with who answered as far as that was told."""
    headers = answer.headers
    return InferenceAnswer(
        model=request.model,
        provider=next((headers[name] for name in _WHO if headers.get(name)), request.provider or host),
        content_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
        body=answer.body,
    )


def refusal(
    answer: Answer,
    host: str,
    model: str,
    token: Secret | None = None,
    missing: Callable[[], LamplighterError] | None = None,
) -> LamplighterError:
    """What an unsuccessful answer to an inference means, as one of our errors."""
    heard = said(answer, token)
    text = heard.text.rstrip(".") or f"it answered {answer.status}"
    wait = answer.wait if answer.wait is not None else heard.retry_after
    if answer.status == 401 and token is None and missing is not None:
        return missing()
    if (kind := _OURS.get(heard.code)) is not None:
        return kind(f"{text}.", retry_after=wait)
    if heard.code in _NO_MODEL or answer.status == 404:
        return ModelNotFound(f"{host} has no model {model!r} on offer: {text}.", model=model)
    if answer.status in _OVERLOADED:
        return Overloaded(f"{host} has too much to do for {model}: {text}.", retry_after=wait)
    if answer.status == 413:
        return InvalidInput(f"payload: {host} takes none that large: {text}", field="payload")
    return error_for(answer, Asked(host=host, token=token, name=model))


_OURS: Mapping[str, type[Unavailable]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Unavailable)
}
"""Our own servers' words for what is not possible now."""
