"""Find out which request runs in which thread and where it waits, and format that for the log.

Nothing is recorded while requests run. All of it is read off the stacks when a report is made, so a
request pays nothing for it.

Design
------
- **The request of a thread is read off its stack:** our own frame below the app's has the call as
  ``self``. Such a frame is recognized by the name of its function, see ``_CALL_FUNCTIONS``.
- **A waiting ASGI call is followed from its task.** The chain of its coroutines leads to where it
  waits, and on to other tasks by the variables of the frames of asyncio and of task groups, and to
  anyio's threads. Most frameworks run the app behind at least one of these.
"""

import asyncio
import gc
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile
from time import monotonic
from types import AsyncGeneratorType, FrameType
from typing import Any

from prefork import _speed
from prefork.http.exchange import Exchange
from prefork.worker.asgi.asgi_call import AsgiCall
from prefork.worker.wsgi.wsgi_app import WsgiCall

Frames = list[FrameType]
"""A stack, outermost frame first."""

MAX_FRAMES = 100
"""Frames of one stack that are followed and shown."""

MAX_TASKS = 5
"""Tasks of one waiting request that are shown."""

_WORKER_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep
_PACKAGE_FOLDER = os.path.dirname(_WORKER_FOLDER.rstrip(os.sep)) + os.sep
_ASYNCIO_FOLDER = os.path.dirname(asyncio.__file__) + os.sep
_INFRASTRUCTURE = (_PACKAGE_FOLDER, threading.__file__, _ASYNCIO_FOLDER)
_CALL_FUNCTIONS = frozenset({"run", "_run", "_continue_response"})
"""Our functions that call into the app: WsgiCall and AsgiCall ``run``, ThreadedWsgiCall ``_run``,
and WsgiCall ``_continue_response``, which pulls the app's iterable."""
_PLAIN_FUNCTION = "answer_plain"
"""The function of a connection that has a compiled app interface call the app; see there."""
_GENERATOR_STEPS = frozenset({"async_generator_asend", "async_generator_athrow"})

_NOT_APP_CODE = (
    *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    _PACKAGE_FOLDER,
    "<frozen",
)


@dataclass(frozen=True, slots=True)
class RequestStacks:
    """A request that the app has, and where it is.

    ``thread``: the thread that runs it at this moment; None: it waits.
    """

    exchange: Exchange
    thread: int | None = None
    stacks: list[Frames] = field(default_factory=list)
    """The stack of the request without our own frames, then those of tasks and threads that it
    waits for. None of them is empty."""


def find_running_requests(threads: Mapping[int, FrameType]) -> dict[Exchange, RequestStacks]:
    """Return the requests that threads run at this moment; ``threads``: the innermost frame of
    each."""
    found = (find_request_in_thread(thread, innermost) for thread, innermost in threads.items())
    return {request.exchange: request for request in found if request is not None}


def find_request_in_thread(thread: int, innermost: FrameType) -> RequestStacks | None:
    """Return the request that this thread runs; None: it runs none."""
    frames: Frames = []
    frame: FrameType | None = innermost
    while frame is not None:
        exchange = _find_exchange(frame)
        if exchange is not None:
            return RequestStacks(exchange, thread, [frames[::-1]] if frames else [])
        frames.append(frame)
        frame = frame.f_back
    if _speed.IS_COMPILED and thread == threading.main_thread().ident:
        call = _speed.find_running_call()
        if call is not None:
            return RequestStacks(call.exchange, thread, [extract_app_stack(innermost)])
    return None


def _find_exchange(frame: FrameType) -> Exchange | None:
    """Return the request that the function of a frame works on, if it is one that calls the app."""
    code = frame.f_code
    if code.co_name in _CALL_FUNCTIONS and code.co_filename.startswith(_WORKER_FOLDER):
        call = frame.f_locals.get("self")
        if isinstance(call, WsgiCall | AsgiCall):
            return call.exchange
    if code.co_name == _PLAIN_FUNCTION and code.co_filename.startswith(_PACKAGE_FOLDER):
        found = frame.f_locals
        connection, started_at = found.get("self"), found.get("started_at")
        if connection is not None and started_at is not None:
            # An exchange that is made here belongs to the report: the connection has none.
            exchange: Exchange = connection.current or connection.make_exchange(
                found["head"], started_at
            )
            return exchange
    return None


def inspect_waiting_request(exchange: Exchange) -> RequestStacks:
    """Return where a request waits that no thread runs. Without a task there are no stacks."""
    call = exchange.call
    if call is None or call.task is None:
        return RequestStacks(exchange)
    return RequestStacks(exchange, None, follow_task(call.task))


def follow_task(waiting: "asyncio.Task[Any]") -> list[Frames]:
    """Return the stack of a task that waits, without our own frames, then those of tasks and
    threads that it waits for. None of them is empty."""
    stacks: list[Frames] = []
    tasks = [waiting]
    for task in tasks:  # the list grows meanwhile
        stacks.append(frames := list(_walk_awaits(task.get_coro())))
        stacks += _find_awaited_threads(frames)
        for each in _find_awaited_tasks(task, frames):
            if each not in tasks and len(tasks) < MAX_TASKS:
                tasks.append(each)
    if stacks[0] and stacks[0][0].f_code.co_filename.startswith(_WORKER_FOLDER):
        # AsgiCall.run, unless the compiled part has called the app, or Lifespan._run.
        del stacks[0][0]
    return [stack for stack in stacks if stack]


def _walk_awaits(awaited: object) -> Iterator[FrameType]:
    """Yield the frames from a coroutine to the innermost one that it awaits, as far as Python shows
    it. Of a step of an asynchronous generator, as in ``async with``, the collector alone knows the
    generator."""
    for _ in range(MAX_FRAMES):
        if type(awaited).__name__ in _GENERATOR_STEPS:
            found = gc.get_referents(awaited)
            awaited = next((each for each in found if isinstance(each, AsyncGeneratorType)), None)
        for kind, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaited, f"{kind}_frame", None)
            if isinstance(frame, FrameType):
                yield frame
                awaited = getattr(awaited, inner)
                break
        else:
            return


def _find_awaited_tasks(task: "asyncio.Task[Any]", frames: Frames) -> Iterator["asyncio.Task[Any]"]:
    """Yield the tasks that this one waits for.

    asyncio links only some of them. So the variables of its frames are searched, too: wait_for has
    the task in one, a task group has its children. Types are compared instead of using isinstance,
    which asks a proxy for its class, and some proxies raise.
    """
    found: list[Any] = [getattr(task, "_fut_waiter", None)]
    for frame in frames:
        for value in list(frame.f_locals.values()):
            if type(value).__name__ == "TaskGroup":
                found += list(getattr(value, "_tasks", ()))
            elif frame.f_code.co_filename.startswith(_ASYNCIO_FOLDER):
                found += list(value) if type(value) in (set, list) else [value]
    for each in found:  # the list grows meanwhile
        if issubclass(type(each), asyncio.Task):
            if not each.done():
                yield each
        elif issubclass(type(each), asyncio.Future):
            found += getattr(each, "_children", ())  # of gather


def _find_awaited_threads(frames: Frames) -> Iterator[Frames]:
    """Yield the stacks of anyio's threads that the frames wait for.

    They run the plain functions of async frameworks.
    """
    for frame in frames:
        if "anyio" in frame.f_code.co_filename:
            for value in list(frame.f_locals.values()):
                if issubclass(type(value), threading.Thread):
                    innermost = sys._current_frames().get(value.ident or 0)
                    if innermost is not None:
                        yield extract_app_stack(innermost)


def describe(exchange: Exchange) -> str:
    """Return a request for the log, as in ``GET /slow from 127.0.0.1:4711``."""
    kind = "WebSocket: " if exchange.trailing_data is not None else ""
    client = exchange.client
    sender = f"{client[0]}:{client[1]}" if client is not None else "a unix socket"
    return f"{kind}{exchange.request.describe()} from {sender}"


def call_duration(exchange: Exchange) -> float:
    """Return the seconds since the app got the request; up to a tick too many, unless requests are
    timed."""
    return max(0.0, monotonic() - (exchange.started_at or exchange.app_called_at))


def format_app_frame(stacks: list[Frames]) -> str:
    """Return the innermost place in the app's own code, as in ``app.py:7 in slow``.

    Without a frame of the app's it is the innermost of all.
    """
    all_frames = [frame for frames in stacks for frame in frames]
    own = (f for f in reversed(all_frames) if not f.f_code.co_filename.startswith(_NOT_APP_CODE))
    frame = next(own, None) or all_frames[-1]
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def extract_app_stack(innermost: FrameType) -> Frames:
    """Return a thread's stack without the frames below the app: our boot, our loop, the thread's
    start."""
    frames = [frame for frame, _ in traceback.walk_stack(innermost)][::-1]
    boot = (n for n, f in enumerate(frames) if f.f_code.co_filename == _WORKER_FOLDER + "boot.py")
    own = dropwhile(_is_infrastructure, frames[next(boot, 0) :])
    return list(own) or frames[-1:]


def _is_infrastructure(frame: FrameType) -> bool:
    """Return whether the frame belongs to prefork, threading or asyncio."""
    return frame.f_code.co_filename.startswith(_INFRASTRUCTURE)


def format_stacks(stacks: list[Frames]) -> str:
    """Return the stacks as in a traceback, with a line between one and the next that
    it waits for."""
    texts = []
    for frames in stacks:
        lines = traceback.StackSummary.extract(
            ((frame, frame.f_lineno) for frame in frames[-MAX_FRAMES:]), lookup_lines=True
        )
        texts.append("".join(lines.format()).rstrip())
    return "\n  and what it waits for:\n".join(texts)
