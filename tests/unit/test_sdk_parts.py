"""The SDK's faces and its small parts."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lamplighter
from lamplighter import errors
from lamplighter.domain.endpoint import Phase
from lamplighter.errors import InvalidInput, LamplighterError
from lamplighter.hf.records import Endpoint
from lamplighter.sdk import shortcuts
from lamplighter.sdk.blocking import Client
from lamplighter.sdk.client import AsyncClient
from lamplighter.sdk.figures import add_up, last_request, runs_since
from lamplighter.sdk.portal import Portal
from lamplighter.sdk.starts import KEPT, StartTimes
from lamplighter.sdk.status import Status
from lamplighter.sdk.termination import EXIT_CODE, Termination

# Both faces.

_SYNCHRONOUS = {
    "AsyncGenerator[str]": "Iterator[str]",
    "AbstractAsyncContextManager[Endpoint]": "AbstractContextManager[Endpoint]",
    "AsyncClient": "Client",
}
_ONLY_ASYNC = {"__aenter__", "__aexit__"}
_ONLY_SYNC = {"__enter__", "__exit__"}


def face(kind: type) -> dict[str, Any]:
    names = {name for name in vars(kind) if not name.startswith("_")} | {"__init__"}
    return {name: inspect.getattr_static(kind, name) for name in names}


def told(member: Any) -> tuple[list[Any], Any]:
    """A member's parameters and what it gives."""
    function: Any = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    signature = inspect.signature(function)
    parameters = [(p.name, p.kind, p.default, p.annotation) for p in signature.parameters.values()]
    return parameters, _SYNCHRONOUS.get(signature.return_annotation, signature.return_annotation)


def test_both_clients_have_the_same_names() -> None:
    assert set(face(Client)) == set(face(AsyncClient))
    assert set(vars(Client)) >= _ONLY_SYNC
    assert set(vars(AsyncClient)) >= _ONLY_ASYNC


@pytest.mark.parametrize("name", sorted(face(AsyncClient)))
def test_both_clients_take_and_give_the_same(name: str) -> None:
    assert told(face(Client)[name]) == told(face(AsyncClient)[name])
    assert type(face(Client)[name]) is type(face(AsyncClient)[name])


@pytest.mark.parametrize("name", ["get_or_create", "start", "stop", "delete", "status", "metrics", "session"])
def test_the_functions_take_what_the_client_takes(name: str) -> None:
    parameters, result = told(face(Client)[name])
    ours, given = told(inspect.unwrap(getattr(shortcuts, name)))
    assert ours == parameters[1:]
    assert given.replace("Iterator", "AbstractContextManager") == result


def test_every_name_that_is_exported_is_there_and_typed() -> None:
    source = Path(str(lamplighter.__file__)).read_text()
    for name in lamplighter.__all__:
        assert getattr(lamplighter, name) is not None
        assert name == "__version__" or re.search(rf"^    .*\b{name}\b", source, re.MULTILINE), name
    assert sorted(lamplighter.__all__) == lamplighter.__all__
    assert dir(lamplighter) == lamplighter.__all__
    assert (Path(str(lamplighter.__file__)).parent / "py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = lamplighter.Clint
    leaves = [name for name in lamplighter.__all__ if hasattr(errors, name)]
    assert {"LamplighterError", "WakeFailed", "WakeTimeout", "EndpointNotFound"} <= set(leaves)


def test_importing_the_client_costs_less_than_80_ms_of_processor_time_and_nothing_heavy() -> None:
    code = "import sys; from lamplighter import Client; print(sorted(sys.modules))"
    costs = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs) < 0.080
    for heavy in ("asyncio", "httpx2", "huggingface_hub", "pydantic", "sqlalchemy", "ssl"):
        assert f"'{heavy}'" not in loaded


# The way into the loop.


async def _farewell() -> None:
    pass


def test_several_threads_call_at_once() -> None:
    portal = Portal(_farewell)

    async def work(number: int) -> int:
        await asyncio.sleep(0.01)
        return number

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda number: portal.call(lambda: work(number)), range(64)))
    assert results == list(range(64))
    portal.close()


def test_an_interruption_at_any_moment_of_a_call_leaves_nothing_running() -> None:
    portal = Portal(_farewell)
    running: set[int] = set()
    main = threading.main_thread().ident or 0

    async def work(number: int) -> None:
        running.add(number)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(number)

    for number in range(60):
        interruption = threading.Timer(number / 60_000, signal.pthread_kill, (main, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come between the two
            interruption.start()
            portal.call(lambda: work(number))  # noqa: B023 - it is called before the next round
        interruption.join()
        portal.call(lambda: asyncio.sleep(0))  # what was put on the loop before has run
        assert not running
    portal.close()


def test_a_call_that_is_interrupted_is_cancelled_and_has_cleaned_up_when_the_interruption_arrives() -> None:
    portal, cleaned = Portal(_farewell), threading.Event()
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    def interrupt() -> None:
        begun.wait()
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.main_thread().ident or 0
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        portal.call(work)
    assert cleaned.is_set()
    thread.join()

    async def fine() -> str:
        return "fine"

    assert portal.call(fine) == "fine"
    portal.close()


def test_closing_ends_calls_under_way_with_an_error_and_may_be_done_twice() -> None:
    portal, begun = Portal(_farewell), threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(portal.call, work)
        begun.wait()
        portal.close()
        portal.close()
        with pytest.raises(LamplighterError, match="closed"):
            call.result(10)
    with pytest.raises(LamplighterError, match="closed"):
        portal.call(work)


async def test_it_works_inside_a_running_loop() -> None:
    portal = Portal(_farewell)

    async def work() -> int:
        return 42

    assert portal.call(work) == 42
    portal.close()


def test_calling_from_its_own_thread_is_refused_and_does_not_hang() -> None:
    portal = Portal(_farewell)

    async def work() -> None:
        portal.call(work)

    with pytest.raises(LamplighterError, match="AsyncClient"):
        portal.call(work)
    portal.close()


def test_a_child_of_a_fork_is_told_to_make_a_client_of_its_own() -> None:
    code = (
        "import os, sys\n"
        "from lamplighter import Client, LamplighterError\n"
        "client = Client('http://127.0.0.1:9', namespace='me')\n"
        "client._portal.call(client._face._open)\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        client.get('x')\n"
        "    except LamplighterError as error:\n"
        "        print(error.message, flush=True)\n"
        "    client.close()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "client.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert "forked" in done.stdout


def test_a_client_that_is_forgotten_ends_its_thread() -> None:
    client = Client("http://127.0.0.1:9", namespace="me")
    client._portal.call(client._face._open)
    thread = client._portal._thread
    assert thread is not None
    del client
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


# SIGTERM.


def test_sigterm_ends_a_session_once_and_the_earlier_handler_comes_back_and_is_told() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        outer, inner = Termination(), Termination()
        outer.watch()
        inner.watch()
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
        assert ended.value.code == EXIT_CODE == 143
        inner.unwatch()
        assert not heard
        with outer.deferred():
            signal.raise_signal(signal.SIGTERM)  # a second one must not keep the first from ending the session
        outer.unwatch()
        assert heard == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_while_a_session_ends_counts_when_it_has_ended() -> None:
    before = signal.getsignal(signal.SIGTERM)
    session, ended = Termination(), False
    session.watch()

    def leave() -> None:
        nonlocal ended
        with session.deferred():
            signal.raise_signal(signal.SIGTERM)
            ended = True

    with pytest.raises(SystemExit):
        leave()
    assert ended
    session.unwatch()
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_sigterm_stays_ignored_and_other_threads_touch_nothing() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        session = Termination()
        session.watch()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        session.unwatch()
    finally:
        signal.signal(signal.SIGTERM, before)
    thread = threading.Thread(target=lambda: Termination().watch())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


# Start times.


def test_start_times_are_kept_per_endpoint_and_the_last_ten_count(tmp_path: Path) -> None:
    times = StartTimes(tmp_path / "state" / "starts.json")
    assert times.expected("b", "n", "e") is None
    for duration in (1000.0, 10.0, *range(1, KEPT + 1)):
        times.learn("b", "n", "e", duration)
    times.learn("b", "n", "other", 99.0)
    assert times.expected("b", "n", "e") == 5.5
    assert StartTimes(tmp_path / "state" / "starts.json").expected("b", "n", "other") == 99.0
    assert (tmp_path / "state" / "starts.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"b n/e": "x"}', '{"b n/e": [null, "1", -3, NaN]}', "\x00", "[" * 100_000]
)
def test_a_broken_file_of_start_times_is_no_error_and_is_mended(tmp_path: Path, content: str) -> None:
    file = tmp_path / "starts.json"
    file.write_text(content)
    times = StartTimes(file)
    assert times.expected("b", "n", "e") is None
    times.learn("b", "n", "e", 7.0)
    assert times.expected("b", "n", "e") == 7.0


def test_a_folder_that_can_t_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    times = StartTimes(tmp_path / "file" / "starts.json")
    times.learn("b", "n", "e", 7.0)
    assert times.expected("b", "n", "e") is None


def _learn(file: str, name: str) -> None:
    for number in range(8):
        StartTimes(Path(file)).learn("b", "n", name, float(number))


def test_several_processes_learn_at_once_and_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "starts.json"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_learn, args=(str(file), f"e{number}")) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert {key: len(value) for key, value in json.loads(file.read_text()).items()} == {
        f"b n/e{number}": 8 for number in range(4)
    }
    assert not list(tmp_path.glob(".starts-*"))


# What a state means.


def endpoint(state: str, **more: Any) -> Endpoint:
    own = more.pop("lamplighter", None)
    raw: dict[str, Any] = {
        "name": "mert",
        "type": "authenticated",
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "accelerator": "gpu",
            "instanceType": "nvidia-t4",
            "instanceSize": "x1",
            "scaling": {"minReplica": 0, "maxReplica": 2},
        },
        "model": {"repository": "m-a-p/MERT-v1-330M", "framework": "pytorch", "task": "custom", "image": {}},
        "status": {"state": state, "url": "https://x/", "readyReplica": 1, "targetReplica": 2, **more},
    }
    return Endpoint.of(raw | ({"lamplighter": own} if own else {}), "me")


def test_status_tells_what_there_is_and_the_url_only_when_it_can_be_used() -> None:
    status = Status.of(endpoint("running"))
    assert (status.name, status.state, status.phase, status.url) == ("mert", "running", Phase.RUNNING, "https://x")
    assert (status.task, status.model, status.framework) == ("custom", "m-a-p/MERT-v1-330M", "pytorch")
    assert (status.instance, status.replicas_ready, status.replicas) == ("nvidia-t4 x1", 1, 2)
    for state in ("paused", "scaledToZero", "initializing", "failed", "moltingNow"):
        assert Status.of(endpoint(state)).url is None


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", ("billed", "lamplighter stop mert")),
        ("initializing", ("Starting", "billed", "lamplighter wait mert")),
        ("pending", ("Starting", "billed", "lamplighter stop mert")),
        ("paused", ("costs nothing", "gives its quota back", "no request wakes it", "lamplighter start mert")),
        ("scaledToZero", ("costs nothing", "keeps its quota", "next request wakes it", "lamplighter pause mert")),
        ("failed", ("Failed", "lamplighter logs mert", "lamplighter stop mert")),
        ("updateFailed", ("Failed", "lamplighter logs mert")),
        ("moltingNow", ("Not known", "moltingNow", "lamplighter describe mert")),
    ],
)
def test_a_state_is_explained_in_one_line_with_its_cost_and_the_next_step(state: str, words: tuple[str, ...]) -> None:
    meaning = Status.of(endpoint(state)).meaning
    assert "\n" not in meaning
    for word in words:
        assert word in meaning


def test_a_lamplighters_own_words_are_used() -> None:
    own = {"price_per_hour": 0.5, "auto_sleep_in": 600, "held_by": ["1 lease"], "starting_for": 3, "expected_start": 90}
    running = Status.of(endpoint("running", lamplighter={**own, "phase": "running"}))
    assert "$1.00/h" in running.meaning
    assert "10 min" in running.meaning
    assert "1 lease" in running.meaning
    starting = Status.of(endpoint("initializing", lamplighter={**own, "phase": "starting"}))
    assert "for 3 s (usually 90 s)" in starting.meaning
    assert Status.of(endpoint("running", lamplighter={"phase": "stopping"})).phase is Phase.STOPPING
    assert "free of charge" in Status.of(endpoint("running", lamplighter={"price_per_hour": 0})).meaning


def test_a_failure_tells_the_providers_reason() -> None:
    assert "CUDA out of memory" in Status.of(endpoint("failed", errorMessage="CUDA out of memory")).meaning


# Metrics.


def _line(values: list[float], **labels: Any) -> dict[str, Any]:
    points = [{"x": f"2026-01-01T00:{minute:02}:00.000Z", "y": value} for minute, value in enumerate(values)]
    return {**labels, "data": points}


def test_graphs_add_up_to_uptime_requests_errors_and_cost() -> None:
    graphs = {
        "replicasRunning": {"series": [_line([0, 2, 2, 1], status="running"), _line([2, 0, 0, 0], status="pending")]},
        "responseStatusCodeGrouped": {
            "series": [_line([0, 5, 5, 2], statusCode="2xx"), _line([0, 1, 0, 2], statusCode="5xx")]
        },
    }
    stop = datetime(2026, 1, 1, 0, 4, tzinfo=UTC).timestamp()
    found = add_up(graphs, window=3600.0, stop=stop, price_per_hour=6.0)
    assert (found.uptime, found.requests, found.errors, found.tokens) == (180.0, 15, 3, None)
    assert found.cost == pytest.approx(6.0 * (2 + 2 + 1) * 60 / 3600)


@pytest.mark.parametrize(
    ("values", "minute"),
    [
        ([1, 1, 2, 1], 0),
        ([0, 1, 1, 1], 1),
        ([1, 0, 1, 1], 2),
        ([1, 1, 1, 0], None),
        ([], None),
    ],
)
def test_a_graph_tells_since_when_replicas_run_without_a_break(values: list[float], minute: int | None) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    found = runs_since({"replicasRunning": {"series": [_line(values, status="running")]}}, begin + 200)
    assert found == (None if minute is None else begin + 60 * minute)


def test_a_hole_in_the_graph_is_a_break_and_an_old_graph_tells_nothing_of_now() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    line = _line([1] * 20)
    del line["data"][5:15]
    assert runs_since({"replicasRunning": {"series": [line]}}, begin + 1150) == begin + 900
    assert runs_since({"replicasRunning": {"series": [line]}}, begin + 3600) is None


def test_the_last_request_is_the_last_point_above_nothing() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    series = [_line([0, 5, 0], statusCode="2xx"), _line([0, 0, 0.5], statusCode="5xx")]
    assert last_request({"responseStatusCodeGrouped": {"series": series}}) == begin + 120
    assert last_request({"responseStatusCodeGrouped": {"series": [_line([0, 0])]}}) is None


@pytest.mark.parametrize(
    "graphs",
    [
        {},
        {"replicasRunning": None, "responseStatusCodeGrouped": {"series": []}},
        {"replicasRunning": {"series": "x"}, "responseStatusCodeGrouped": []},
        {"responseStatusCodeGrouped": {"series": [_line([0.25, 0.5], statusCode="2xx")]}},
    ],
)
def test_what_is_not_told_is_not_invented(graphs: dict[str, Any]) -> None:
    found = add_up(graphs, window=60.0, stop=1.8e9, price_per_hour=1.0)
    assert (found.uptime, found.requests, found.cost, found.tokens) == (None, None, None, None)


# Bad input is refused before anybody is asked.


async def test_mistakes_are_named_with_the_field_and_what_would_be_right() -> None:
    async with AsyncClient("http://127.0.0.1:9", namespace="me") as client:
        with pytest.raises(InvalidInput, match="confirm=True"):
            await client.delete("x")
        with pytest.raises(InvalidInput, match="timeout"):
            await client.start("x", timeout=0)
        with pytest.raises(InvalidInput, match="until"):
            await client.wait("x", until="asleep")
        with pytest.raises(InvalidInput, match="between 5 and 3600"):
            client.session("x", lease=1)
        with pytest.raises(InvalidInput, match="window"):
            await client.metrics("x", window=-1)
        with pytest.raises(InvalidInput, match="min_replica"):
            await client.create("x", min_replicas=1)
        with pytest.raises(InvalidInput, match="max_replica"):
            await client.update("x", max_replicas=1)
    with pytest.raises(InvalidInput, match="timeout"):
        AsyncClient(timeout=float("nan"))
    with pytest.raises(LamplighterError, match="closed"):
        await client.get("x")


def test_a_token_is_in_no_representation() -> None:
    client = AsyncClient("http://127.0.0.1:9", token="hf_verysecret")
    shown = f"{client!r} {vars(client)!r} {client.where}"
    assert "verysecret" not in shown
    assert os.environ.get("HF_TOKEN") != "hf_verysecret"
