"""The same promises on the event loop of production, whose transports differ in small ways from asyncio's own."""

import inspect
from types import ModuleType

import pytest
import trustme
import uvloop

from tests.unit import (
    test_gateway_connections,
    test_gateway_holding,
    test_gateway_refusals,
    test_relay_answers,
    test_relay_requests,
    test_relay_tls,
)


def _scenes(*modules: ModuleType):
    return [
        pytest.param(test, id=name)
        for module in modules
        for name, test in vars(module).items()
        if inspect.iscoroutinefunction(test) and name.startswith("test_") and not inspect.signature(test).parameters
    ]


@pytest.mark.parametrize(
    "scene",
    _scenes(
        test_gateway_connections, test_gateway_holding, test_gateway_refusals, test_relay_answers, test_relay_requests
    ),
)
def test_on_uvloop(scene):
    uvloop.run(scene())


@pytest.mark.parametrize("reset", [False, True], ids=["goodbye", "reset"])
def test_a_broken_answer_on_uvloop(reset, caplog):
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    uvloop.run(test_relay_answers.test_an_answer_that_breaks_off_breaks_off_for_the_client_too(said, reset, caplog))


@pytest.mark.parametrize("scene", [value for name, value in vars(test_relay_tls).items() if name.startswith("test_")])
def test_tls_on_uvloop(scene):
    uvloop.run(scene(trustme.CA()))
