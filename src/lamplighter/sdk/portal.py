"""A way into an event loop from synchronous code: one loop in one daemon thread."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeout
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lamplighter.errors import LamplighterError, Unavailable

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

log = logging.getLogger("lamplighter.sdk")

LAST_WORDS = 60.0
"""How long an interrupted call may take to clean up; a second interruption waits for nothing (seconds)."""

_CLOSE_TIMEOUT = 60.0
_at_exit = threading.Lock()  # taken once, when closing at the process's end was arranged
_open: weakref.WeakSet[Portal] = weakref.WeakSet()


class Portal:
    """Runs coroutines for callers in any thread. Its own thread is started by the first call.

    `farewell` is run on the loop before that ends, whether by `close` or with the process.
    """

    def __init__(self, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._farewell = farewell
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._jobs: set[_Job[Any]] = set()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` on the loop and wait for its result.

        When the waiting is interrupted (Ctrl-C, a signal handler that raises), the work is cancelled and its cleaning
        up is waited for. Raises LamplighterError after `close`, in another process, and from the loop's own thread.
        """
        job: _Job[T] = _Job(work, self._jobs)
        loop: asyncio.AbstractEventLoop | None = None
        try:  # from here on: an interruption may come between any two steps
            with self._lock:
                loop = self._ready()
                loop.call_soon_threadsafe(job.begin)
            return job.done.result()
        except BaseException:
            if loop is not None and not job.done.done():
                loop.call_soon_threadsafe(job.cancel)
                with contextlib.suppress(WaitTimeout, LamplighterError):
                    job.done.exception(LAST_WORDS)
            raise

    @property
    def is_open(self) -> bool:
        """Whether it can be called."""
        return not self._closed and self._owner == os.getpid()

    def close(self) -> None:
        """Say farewell, end the loop and its thread; raises what the farewell raises.

        Calls under way end with an error. A second call does nothing.
        """
        self.leave()
        thread = self._thread
        if thread is not None and self._owner == os.getpid() and thread is not threading.current_thread():
            thread.join(_CLOSE_TIMEOUT)
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure

    def leave(self) -> None:
        """The same without waiting for the end."""
        if self._owner != os.getpid():
            return  # the thread did not come along into this process
        with self._lock:
            closed, self._closed = self._closed, True
            if not closed and self._thread is not None:
                self._loop.call_soon_threadsafe(self._stop.set)

    def _ready(self) -> asyncio.AbstractEventLoop:
        if self._owner != os.getpid():
            text = "This client was made before the process forked, and can't be used after it: make a new one here."
            raise LamplighterError(text)
        if self._closed:
            raise LamplighterError("This client is closed: make a new one.")
        if self._thread is threading.current_thread():
            raise LamplighterError("A client can't be called from its own callbacks: use AsyncClient there.")
        if self._thread is None:
            self._start()
        return self._loop

    def _start(self) -> None:
        _close_at_exit()
        started = threading.Event()
        self._thread = threading.Thread(target=self._live, args=(started,), name="lamplighter client", daemon=True)
        self._thread.start()
        started.wait()
        if self._failure is not None:
            self._closed = True
            raise LamplighterError(f"The client's thread could not be started: {self._failure}.") from self._failure
        _open.add(self)

    def _live(self, started: threading.Event) -> None:
        import asyncio  # noqa: PLC0415 - importing the package should not cost it

        async def live() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            started.set()
            await self._stop.wait()
            tasks = [job.cancel() for job in list(self._jobs)]
            await asyncio.gather(*filter(None, tasks), return_exceptions=True)
            try:
                await self._farewell()
            except Exception as error:  # noqa: BLE001 - it is for whoever closes
                self._failure = error

        try:
            with asyncio.Runner() as runner:
                runner.run(live())
        except OSError as error:  # no file descriptors left for a loop
            self._failure = error
        finally:
            started.set()


class _Job(Generic[T]):
    """Work for the loop. `done` is done when the work has really ended, also when it was cancelled."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], jobs: set[_Job[Any]]) -> None:
        self._work = work
        self._jobs = jobs
        self._task: asyncio.Task[None] | None = None
        self.done: Future[T] = Future()

    def begin(self) -> None:
        import asyncio  # noqa: PLC0415

        if self.done.done():
            return  # cancelled before it came this far
        self._jobs.add(self)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="call")

    def cancel(self) -> asyncio.Task[None] | None:
        if self._task is not None:
            self._task.cancel()
        elif not self.done.done():
            self.done.set_exception(Unavailable("This call was interrupted before it began."))
        return self._task

    async def _run(self) -> None:
        import asyncio  # noqa: PLC0415

        try:
            result = await self._work()
        except asyncio.CancelledError:
            self.done.set_exception(Unavailable("The client was closed while this call was under way."))
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who waits for it in another thread
            self.done.set_exception(error)
        else:
            self.done.set_result(result)
        finally:
            self._jobs.discard(self)


def _close_at_exit() -> None:
    """Close what is still open before the interpreter ends its thread pools: an embedded server needs them to end."""
    if not _at_exit.acquire(blocking=False):
        return
    import concurrent.futures.thread  # noqa: F401, PLC0415 - what is registered last is called first: before its end

    register: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
    with contextlib.suppress(RuntimeError):  # the end has begun already: what is made now ends with the process
        register(_close_all)


def _close_all() -> None:
    for portal in list(_open):
        try:
            portal.close()
        except Exception:
            log.exception("closing a client at the end of the process failed")  # the others have to be closed as well
