"""Which error an unsuccessful answer means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter import errors
from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, LamplighterError, RateLimited
from lamplighter.hf.answers import error_for, is_running_already, said, speaks_of_capacity
from lamplighter.hf.exchange import Answer, Asked, parsed, quoted, segment
from lamplighter.hf.token import cloud_token_missing

TOKEN = Secret("hf_abcdefghijklmnop")
ASKED = Asked(host="api.example", name="bert", namespace="me", token=TOKEN, writes=True)
CREATE = Asked(host="api.example", name="bert", namespace="me", token=TOKEN, creates=True, writes=True)
DATA = Asked(host="abc.example", name="bert", namespace="me", token=TOKEN)


def answer(status: int, body: Any = b"", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status=status, headers=headers, body=content)


def told(text: str, code: str = "") -> dict[str, str]:
    return {"error": text, "code": code} if code else {"error": text}


@pytest.mark.parametrize(
    ("status", "body", "asked", "kind"),
    [
        (401, told("401 Unauthorized", "UNAUTHORIZED"), ASKED, "TokenWrong"),
        (401, told("Invalid credentials in Authorization header"), ASKED, "TokenWrong"),
        (401, told('User Access Token "laptop" is expired'), ASKED, "TokenExpired"),
        (401, told("x"), Asked(host="h", missing=cloud_token_missing), "TokenMissing"),
        (403, told("Forbidden: no", "FORBIDDEN"), ASKED, "Forbidden"),
        (403, told("Forbidden: Payment method required for namespace: me"), CREATE, "PaymentRequired"),
        (403, told("missing permissions: inference.endpoints.write, billing.read"), CREATE, "Forbidden"),
        (403, told("You exceeded your GPU quota"), CREATE, "QuotaExceeded"),
        (402, told("no credits"), CREATE, "PaymentRequired"),
        (404, told("Not Found"), ASKED, "EndpointNotFound"),
        (404, told("Not Found"), CREATE, "NotFound"),
        (404, told("Not Found"), Asked(host="h", namespace="acme"), "NotFound"),
        (404, b"", Asked(host="h"), "ProviderError"),
        (409, told("Conflict"), CREATE, "EndpointExists"),
        (409, told("being deleted"), ASKED, "Conflict"),
        (400, told("Bad Request: an endpoint named bert already exists"), CREATE, "EndpointExists"),
        (400, told("Bad Request: scaleToZeroTimeout must be between 15 and 2880"), CREATE, "InvalidInput"),
        (400, told("Bad Request: quota exceeded for nvidia-a100"), CREATE, "QuotaExceeded"),
        (400, told("Bad Request: The endpoint is paused, ask a maintainer to restart it"), DATA, "EndpointPaused"),
        (400, told("Bad Request: Invalid state"), DATA, "EndpointPaused"),
        (422, told("bad", "VALIDATION_FAILED"), CREATE, "InvalidInput"),
        (429, told("Too many requests"), ASKED, "RateLimited"),
        (429, told("quota of nvidia-l4 reached"), ASKED, "QuotaExceeded"),
        (503, told("503 Service Unavailable", "SERVICE_UNAVAILABLE"), ASKED, "ProviderUnreachable"),
        (503, told("Not enough hardware capacity in us-east-1"), ASKED, "NoCapacity"),
        (500, told("Insufficient capacity"), ASKED, "NoCapacity"),
        (500, told("boom"), ASKED, "ProviderError"),
        (502, b"<html>Bad Gateway</html>", ASKED, "ProviderUnreachable"),
        (504, b"", ASKED, "ProviderTimeout"),
        (408, b"", ASKED, "ProviderTimeout"),
        (418, b"", ASKED, "ProviderError"),
        (302, b"", ASKED, "ProviderError"),
        # a Lamplighter's own words
        (400, told("x", "quota_exceeded"), ASKED, "QuotaExceeded"),
        (503, told("x", "no_capacity"), ASKED, "NoCapacity"),
        (401, told("x", "token_expired"), ASKED, "TokenExpired"),
        (409, told("stands in lamplighter.yaml", "conflict"), ASKED, "Conflict"),
        (400, told("x", "ENDPOINT_PAUSED"), ASKED, "EndpointPaused"),
    ],
)
def test_each_answer_means_its_error(status: int, body: Any, asked: Asked, kind: str) -> None:
    error = error_for(answer(status, body), asked)
    assert type(error) is getattr(errors, kind)


def test_a_missing_right_is_named() -> None:
    error = error_for(answer(403, told("missing permissions: inference.endpoints.read")), ASKED)
    assert isinstance(error, errors.Forbidden)
    assert error.permission == "inference.endpoints.read"
    assert "inference.endpoints.read" in str(error)
    assert "'me'" in str(error)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Failed to parse the request body as JSON: model.task: expected value", "model.task"),
        ("model.image.vLLM: missing field `url`", "model.image.vLLM.url"),
        ("compute.scaling.scaleToZeroTimeout: out of range", "compute.scaling.scaleToZeroTimeout"),
        ("missing field `name`", "name"),
        ("nothing of use", None),
    ],
)
def test_the_field_that_is_wrong_is_found_in_the_text(text: str, field: str | None) -> None:
    error = error_for(answer(400, told(f"Bad Request: {text}")), CREATE)
    assert isinstance(error, InvalidInput)
    assert error.field == field
    assert text in str(error)


def test_our_own_errors_are_read_with_what_they_know() -> None:
    body = {"success": False, "error": {"status": 400, "code": "invalid_request", "message": "no", "field": "ttl"}}
    error = error_for(answer(400, body), ASKED)
    assert isinstance(error, InvalidInput)
    assert error.field == "ttl"
    gone = {"error": {"code": "model_not_found", "message": "x", "known": ["berta", 3]}}
    missing = error_for(answer(404, gone), ASKED)
    assert isinstance(missing, errors.EndpointNotFound)
    assert missing.known == ["berta"]
    limited = error_for(answer(429, {"error": {"message": "slow", "retry_after": 7}}), ASKED)
    assert isinstance(limited, RateLimited)
    assert limited.retry_after == 7.0


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "Bad Request: no"}, "no"),
        ({"error": ["one", "two"]}, "one; two"),
        ({"error": {"message": "inner"}}, "inner"),
        ({"message": "top"}, "top"),
        ({"detail": "fast"}, "fast"),
        ({"detail": [{"msg": "field required"}]}, "field required"),
        ({"error_description": "oauth"}, "oauth"),
        ({"errors": [{"message": "a"}, {"message": "b"}]}, "a; b"),
        ([{"error": "a"}, "b"], "a; b"),
        (b"plain words\n", "plain words"),
        (b'"quoted"', "quoted"),
        (b"<html><body>Bad Gateway", ""),
        (b"{broken", "{broken"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, None),
        (b"", ""),
        ({"error": None}, ""),
        ({"error": 3, "code": 4}, ""),
        ("x" * 10_000, "x" * 499 + "…"),
    ],
)
def test_any_body_is_read(body: Any, text: str | None) -> None:
    found = said(answer(400, body), TOKEN).text
    assert found == text if text is not None else len(found) <= 500


def test_the_header_speaks_where_the_body_does_not() -> None:
    headers = {"x-error-message": "Forbidden: not you", "content-type": "text/html"}
    assert said(Answer(status=403, headers=headers, body=b"<html>"), None).text == "not you"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "code", "message", "errors", "field", "known", "x"]), inner)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from([*range(300, 305), *range(400, 430), *range(500, 512)]),
    JSON,
    st.sampled_from([ASKED, CREATE, DATA]),
)
def test_every_answer_is_one_of_our_errors(status: int, body: Any, asked: Asked) -> None:
    error = error_for(answer(status, json.dumps(body).encode()), asked)
    assert isinstance(error, LamplighterError)
    assert str(error)


@given(st.sampled_from([400, 401, 403, 404, 409, 422, 429, 500, 503]), st.sampled_from(["error", "message", "detail"]))
def test_a_token_is_never_quoted(status: int, key: str) -> None:
    for asked in (ASKED, CREATE, DATA):
        body = {key: f"bad token {TOKEN.reveal()} quota capacity expired {TOKEN.reveal()}"}
        assert TOKEN.reveal() not in str(error_for(answer(status, body), asked))


def test_running_already_is_told_by_its_words() -> None:
    assert is_running_already(answer(400, told("Bad Request: Endpoint is already running")))
    assert not is_running_already(answer(409, told("already running")))
    assert not is_running_already(answer(400, told("no")))


def test_what_waiting_does_not_help_is_told() -> None:
    assert speaks_of_capacity(answer(429, told("quota exceeded")))
    assert speaks_of_capacity(answer(503, told("no capacity left")))
    assert not speaks_of_capacity(answer(503, told("503 Service Unavailable")))
    assert not speaks_of_capacity(answer(429, told("slow down")))


def test_json_is_json() -> None:
    assert parsed(answer(200, {"a": 1}), "h") == {"a": 1}
    assert parsed(answer(204, b" \n"), "h") is None
    for body in (b"<html>", b"[" * 100_000, b"\xff"):
        with pytest.raises(errors.ProviderError, match="h answered 200"):
            parsed(answer(200, body), "h")


@pytest.mark.parametrize(("name", "part"), [("bert", "bert"), ("a/b", "a%2Fb"), ("ä", "%C3%A4"), ("a b?", "a%20b%3F")])
def test_a_name_is_one_part_of_a_path(name: str, part: str) -> None:
    assert segment(name, "name") == part
    assert quoted("a/b", frozenset("/")) == "a/b"


def test_a_404_blames_the_namespace_only_where_that_is_what_is_missing() -> None:
    made = Asked(host="h", namespace="acme", creates=True)
    catalog = error_for(answer(404, told("The catalog has no model 'no/model'.")), made)
    assert catalog.message == "h: The catalog has no model 'no/model'."
    for text in ("Not Found", "Namespace not found", "no such organization", "acme is not there"):
        assert "knows no namespace 'acme'" in error_for(answer(404, told(text)), made).message
