"""The compiled app interfaces do what those in Python do: the same app, the same requests, by both.

An app is a list of steps, which Hypothesis chooses. Compared are the bytes that the client gets,
what the app saw, the log, and the statistics.
"""

import asyncio
import io
import logging
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork import _speed
from prefork.config.networks import Networks
from prefork.http import response_head
from prefork.http.forwarded import TrustedProxies
from prefork.http.server_state import RequestHandler
from prefork.unix.process import ExitStatus
from prefork.unix.scoreboard import DEADLINE, Scoreboard
from prefork.worker import fork_hooks
from prefork.worker.asgi.asgi_handler import AsgiHandler
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.stack_report import inspect_waiting_request
from prefork.worker.wsgi.environ import EnvironBuilder
from prefork.worker.wsgi.wsgi_app import WsgiHandler
from tests.fuzz.memory import Client, MemoryServer
from tests.pure.children import fork_child
from tests.pure.http.asgi_server import anonymous_tls

pytestmark = pytest.mark.skipif(not _speed.IS_COMPILED, reason="this is the pure build")

Steps = tuple[tuple[Any, ...], ...]

ROW = Scoreboard().acquire_row(1)
"""The row of all workers of this module, one after the other."""

FORWARDED = b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"
REQUESTS = [
    b"GET /a%20b?c=d HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\nCookie: y=2\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /%e2%82%ac HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + FORWARDED + b"\r\n",
    b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
]
TAKES_TRAILERS = REQUESTS[-1]


@dataclass
class Result:
    """The objects that a run left behind."""

    out: bytes = b""
    closed: bool = False
    seen: list[Any] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    accesses: list[tuple[Any, ...]] = field(default_factory=list)
    counters: tuple[Any, ...] = ()
    load: int = 0
    running: int = 0
    """Calls that are not over."""


class Served(MemoryServer):
    """The HTTP part of a worker with a real handler; ``compiled``: with its compiled interface."""

    proxies = TrustedProxies(Networks(["192.0.2.0/24"]), frozenset(), strips=False)

    def __init__(self, kind: str, app: Callable[..., Any], compiled: bool) -> None:
        self._kind, self._app = kind, app
        self.log = logging.Logger("app")
        self.result = Result()
        self.log.addHandler(_Lines(self.result.log))
        self.plain_calls: Any = None
        super().__init__(kind == "asgi")
        self.state.log_access = self._log_access
        self.state.plain_calls = self.plain_calls if compiled else None

    def _make_handler(self) -> RequestHandler:
        async def make() -> RequestHandler:
            handler: Any
            if self._kind == "asgi":
                handler = AsgiHandler(self._app, self.log, {"key": "value"}, "/mounted")
                self.plain_calls = _speed.AsgiCalls(
                    handler, handler.scopes, handler.start_task, response_head
                )
            else:
                channel = MasterChannel(-1, ROW, 30.0, lambda _: None, lambda: None)
                environ = EnvironBuilder(False, False, "/mounted")
                handler = WsgiHandler(self._app, channel, self.log, environ)
                self.plain_calls = _speed.WsgiCalls(handler, environ, response_head, fork_hooks)
            return handler

        return self.loop.run_until_complete(make())

    def run(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call the server's code from within the loop, where tasks can be started."""
        self.loop.call_soon(callback, *arguments)
        self.settle()

    def _log_access(self, exchange: Any) -> None:
        self.result.accesses.append(
            (
                exchange.request.describe(),
                exchange.status,
                exchange.body_bytes_sent,
                exchange.response_field(b"x-a"),
                exchange.client,
                exchange.started_at > 0,
            )
        )

    def __exit__(self, *exc_info: object) -> None:
        for call in list(getattr(self.state.handler, "running", ())):
            call.task.cancel()
        super().__exit__(*exc_info)


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def run(
    kind: str, app: Callable[[list[Any]], Any], requests: Any, compiled: bool, tls: Any = None
) -> Result:
    seen: list[Any] = []
    with Served(kind, app(seen), compiled) as server:
        client: Client = server.connect(tls=tls)
        for request in requests:
            client.send(request)
        result, counters = server.result, server.state.counters
        result.out, result.closed, result.seen = client.out, client.closed, seen
        times = {status: len(each) for status, each in counters.response_times.items()}
        result.counters = (counters.requests, counters.body_bytes_sent, times)
        result.load = server.state.load.word
        result.running = len(getattr(server.state.handler, "running", ()))
    return result


def check_alike(
    kind: str, app: Callable[[list[Any]], Any], requests: Any, tls: Any = None
) -> Result:
    """Run an app both ways, and return the result, which must be the same."""
    expected = run(kind, app, requests, False, tls)
    assert run(kind, app, requests, True, tls) == expected
    return expected


# WSGI.

RETURNED: list[Any] = [
    *([b"ab"], (b"ab",), [], [b"a", b"b"], [b""], [bytearray(b"ab")], ["ab"], None, "ab", b"ab"),
    *(1, [b"x" * 20_000], [None], iter, "close"),
]
"""The value that an app returns, with ``iter`` and ``"close"`` for iterators."""

FIELDS = st.sampled_from(
    [
        [],
        [("X-A", "b")],
        [("Content-Length", "2")],
        [("Content-Length", "3")],
        [("Connection", "close")],
        [("X-A", "a\r\nb")],
        [("Date", "today")],
        (("X-A", "b"),),
        [["X-A", "b"]],
        [("X-A", 1)],
        None,
    ]
)
STATUSES = st.sampled_from(["200 OK", "404 Not Found", "204 No Content", "304 Not", "100", "2", 5])
WSGI_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), STATUSES, FIELDS),
        st.tuples(st.just("restart"), STATUSES, FIELDS),
        st.tuples(st.just("write"), st.sampled_from([b"", b"ab", "text"])),
        st.tuples(st.just("hint"), st.sampled_from(["</a>", "a\r\n"])),
        st.tuples(st.just("raise"), st.sampled_from([ValueError, SystemExit, KeyError])),
    ),
    max_size=3,
)


class Closing:
    def __init__(self, seen: list[Any]) -> None:
        self._seen = seen

    def __iter__(self) -> Iterator[bytes]:
        yield b"a"
        self._seen.append("pulled")
        yield b"b"

    def close(self) -> None:
        self._seen.append("closed")


class WsgiApp:
    """Does the same steps for each request."""

    def __init__(self, steps: Steps, returned: Any, seen: list[Any]) -> None:
        self._steps, self._returned, self._seen = steps, returned, seen

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        body = environ["wsgi.input"].read()
        plain = (str, int, bool, tuple)
        self._seen.append((body, {k: v for k, v in environ.items() if isinstance(v, plain)}))
        self._environ, self._start_response = environ, start_response
        self._write: Any = None
        for name, *arguments in self._steps:
            if name == "raise":
                raise arguments[0]("of the app")
            try:
                getattr(self, f"_{name}_now")(*arguments)
            except Exception as error:
                self._seen.append((type(error).__name__, str(error)))
        if self._returned is iter:
            return iter([b"a", b"", b"b"])
        return Closing(self._seen) if self._returned == "close" else self._returned

    def _start_now(self, status: Any, fields: Any) -> None:
        self._write = self._start_response(status, fields)

    def _restart_now(self, status: Any, fields: Any) -> None:
        error = (ValueError, ValueError("first"), None)
        self._write = self._start_response(status, fields, error)

    def _write_now(self, data: Any) -> None:
        if self._write is not None:
            self._write(data)

    def _hint_now(self, link: str) -> None:
        self._environ["wsgi.early_hints"]([("Link", link)])


def wsgi_app(steps: Steps, returned: Any) -> Callable[[list[Any]], Any]:
    """Return a maker of apps that do these steps for each request."""
    return lambda seen: WsgiApp(steps, returned, seen)


@given(
    WSGI_STEPS,
    st.sampled_from(RETURNED),
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3),
)
def test_wsgi(steps: list[tuple[Any, ...]], returned: Any, requests: list[bytes]) -> None:
    check_alike("wsgi", wsgi_app(tuple(steps), returned), requests)


USUAL_WSGI_STEPS: list[tuple[Any, ...]] = [
    ("start", "200 OK", []),
    ("start", "201 Made", [("Content-Length", "2")]),
    ("restart", "500 Failed", []),
    ("write", b"ab"),
    ("hint", "</a>"),
    ("raise", ValueError),
]


@pytest.mark.parametrize("returned", RETURNED, ids=map(str, range(len(RETURNED))))
def test_every_pair_of_steps_of_a_wsgi_app(returned: Any) -> None:
    for count in range(3):
        for steps in product(USUAL_WSGI_STEPS, repeat=count):
            check_alike("wsgi", wsgi_app(steps, returned), [REQUESTS[0], REQUESTS[1]])


@pytest.mark.parametrize("request_", REQUESTS, ids=map(str, range(len(REQUESTS))))
def test_usual_wsgi(request_: bytes) -> None:
    app = wsgi_app((("start", "200 OK", [("X-A", "b")]),), [b"ab"])
    found = check_alike("wsgi", app, [request_])
    assert b"200 OK" in found.out
    assert not found.log


def test_a_start_response_of_an_old_request_answers_no_later_one() -> None:
    kept: list[Any] = []

    def make(seen: list[Any]) -> Any:
        kept.clear()

        def app(_environ: Any, start_response: Any) -> Any:
            for old in kept:
                try:
                    old("500 Late", [], (ValueError, ValueError("late"), None))
                except Exception as error:
                    seen.append(type(error).__name__)
            kept.append(start_response)
            start_response("200 OK", [])
            return [b"a line\n"]

        return app

    seen: list[Any] = []
    with Served("wsgi", make(seen), True) as server:
        client = server.connect().send(REQUESTS[0], REQUESTS[0])
        assert client.statuses == [200, 200]
    assert seen == ["ResponseError"]


class Finalizer:
    """Calls a function when the environ that holds it is gone."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def __del__(self) -> None:
        self._call()


def test_a_finalizer_in_the_environ_sends_nothing_into_the_next_response() -> None:
    def make(_seen: list[Any]) -> Any:
        def app(environ: Any, start_response: Any) -> Any:
            hint = environ["wsgi.early_hints"]
            environ["finalizer"] = Finalizer(lambda: hint([("Link", "</late>")]))
            start_response("200 OK", [])
            return [b"ab"]

        return app

    found = check_alike("wsgi", make, REQUESTS[:4])
    assert b"late" not in found.out
    assert len(found.accesses) == 3


@pytest.mark.parametrize("compiled", [False, True])
def test_the_timeout_of_a_wsgi_app_counts_from_its_call(compiled: bool) -> None:
    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"ab"]

    with Served("wsgi", app, compiled) as server:
        ROW.floats[DEADLINE] = 0.0
        server.connect().send(REQUESTS[0])
        assert ROW.floats[DEADLINE] > 30.0


@pytest.mark.parametrize("compiled", [False, True])
def test_each_call_has_a_context_of_its_own(compiled: bool) -> None:
    number = ContextVar("number", default=0)
    seen: list[int] = []

    def app(_environ: Any, start_response: Any) -> Any:
        seen.append(number.get())
        number.set(number.get() + 1)
        start_response("200 OK", [])
        return [b"ab"]

    with Served("wsgi", app, compiled) as server:
        connection = server.connect().connection
        server.run(lambda: [connection.data_received(REQUESTS[0]) for _ in range(3)])
    assert seen == [0, 0, 0]


def test_a_child_that_the_app_forks_ends_where_the_app_returns() -> None:
    def live() -> int:
        codes: list[int] = []

        def app(_environ: Any, start_response: Any) -> Any:
            pid = os.fork()
            fork_hooks.in_child = not pid  # as ForkHooks notes it in a worker
            start_response("200 OK", [])
            if pid:
                codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            return [b"ab"]

        with Served("wsgi", app, True) as server:
            server.connect().send(REQUESTS[0])
        return codes[0] if codes else 42

    assert fork_child(live).reap() == ExitStatus(0, None)


# ASGI.

BYTE_FIELDS = st.sampled_from(
    [
        [],
        [(b"X-A", b"b")],
        [[b"x-a", b"b"]],
        [(b"content-length", b"2")],
        [(b"content-length", b"3")],
        [(b"connection", b"close")],
        [(b"x-a", b"a\r\nb")],
        [("x-a", "b")],
        iter,
        None,
    ]
)
ASGI_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("start"), st.sampled_from([200, 404, 204, 304, 100, 700, "200"]), BYTE_FIELDS
        ),
        st.tuples(st.just("trailers"), st.booleans()),
        st.tuples(
            st.just("body"),
            st.sampled_from([b"", b"ab", bytearray(b"ab"), "ab", b"x" * 20_000]),
            st.booleans(),
        ),
        st.tuples(st.just("receive")),
        st.tuples(st.just("task")),
        st.tuples(st.just("turn")),
        st.tuples(st.just("odd"), st.sampled_from([{}, {"type": "x"}, {"type": None}, None, []])),
        st.tuples(st.just("raise"), st.sampled_from([ValueError, SystemExit, KeyError])),
    ),
    max_size=5,
)


class AsgiApp:
    """Does the same steps for each request."""

    def __init__(self, steps: Steps, seen: list[Any]) -> None:
        self._steps, self._seen = steps, seen

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self._seen.append(scope)
        for name, *arguments in self._steps:
            if name == "raise":
                raise arguments[0]("of the app")
            try:
                await getattr(self, f"_{name}_now")(receive, send, *arguments)
            except Exception as error:
                self._seen.append((type(error).__name__, str(error)))
        self._seen.append("returned")

    async def _start_now(self, _receive: Any, send: Any, status: Any, fields: Any) -> None:
        fields = iter([(b"x-a", b"b")]) if fields is iter else fields
        await send({"type": "http.response.start", "status": status, "headers": fields})

    async def _trailers_now(self, _receive: Any, send: Any, trailers: bool) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": trailers})

    async def _body_now(self, _receive: Any, send: Any, data: Any, more: bool) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async def _receive_now(self, receive: Any, _send: Any) -> None:
        self._seen.append(await asyncio.wait_for(receive(), 1000))

    async def _take_now(self, receive: Any, _send: Any) -> None:
        """Receive in the task of the call, not in one of wait_for (Python 3.11)."""
        self._seen.append(await receive())

    async def _task_now(self, receive: Any, _send: Any) -> None:
        task = asyncio.create_task(receive())
        await asyncio.sleep(0)
        task.cancel()

    async def _turn_now(self, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)

    async def _odd_now(self, _receive: Any, send: Any, event: Any) -> None:
        await send(event)


def asgi_app(steps: Steps) -> Callable[[list[Any]], Any]:
    """Return a maker of apps that do these steps for each request."""
    return lambda seen: AsgiApp(steps, seen)


@given(ASGI_STEPS, st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3))
def test_asgi(steps: list[tuple[Any, ...]], requests: list[bytes]) -> None:
    check_alike("asgi", asgi_app(tuple(steps)), requests)


USUAL_ASGI_STEPS: list[tuple[Any, ...]] = [
    ("start", 200, [(b"x-a", b"b")]),
    ("start", 700, []),
    ("start", "200", []),
    ("body", b"ab", False),
    ("body", b"ab", True),
    ("receive",),
    ("take",),
    ("turn",),
    ("odd", {"type": "x"}),
    ("odd", None),
    ("raise", ValueError),
]


@pytest.mark.parametrize("first", USUAL_ASGI_STEPS, ids=map(str, range(len(USUAL_ASGI_STEPS))))
def test_every_three_steps_of_an_asgi_app(first: tuple[Any, ...]) -> None:
    check_alike("asgi", asgi_app((first,)), [REQUESTS[0]])
    for others in product(USUAL_ASGI_STEPS, repeat=2):
        check_alike("asgi", asgi_app((first, *others)), [REQUESTS[3]])


@pytest.mark.parametrize("request_", REQUESTS, ids=map(str, range(len(REQUESTS))))
@pytest.mark.parametrize(
    "steps", [[], [("turn",)], [("receive",)], [("receive",), ("turn",), ("receive",)]], ids=str
)
def test_usual_asgi(request_: bytes, steps: list[tuple[Any, ...]]) -> None:
    answer = ("start", 200, [(b"x-a", b"b")]), ("body", b"ab", False)
    for order in ((*steps, *answer), (*answer, *steps), (answer[0], *steps, answer[1])):
        found = check_alike("asgi", asgi_app(order), [request_])
        if len(steps) < 3 or order[:2] == answer:  # else the app waits for a disconnect
            assert b"200 OK" in found.out
            assert not found.log


def test_announced_trailers_follow_the_body() -> None:
    def make(_seen: list[Any]) -> Any:
        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            fields = [(b"trailer", b"x-sum")]
            await send({"type": "http.response.start", "status": 200, "headers": fields,
                        "trailers": True})  # fmt: skip
            await send({"type": "http.response.body", "body": b"ab"})
            await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

        return app

    found = check_alike("asgi", make, [TAKES_TRAILERS])
    assert found.out.endswith(b"ab\r\n0\r\nx-sum: 1\r\n\r\n")


def test_what_a_request_puts_into_its_state_stays_its_own() -> None:
    def make(seen: list[Any]) -> Any:
        async def app(scope: Any, _receive: Any, send: Any) -> None:
            seen.append(dict(scope["state"]))
            scope["state"]["of the request"] = True
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        return app

    assert check_alike("asgi", make, [REQUESTS[0]] * 2).seen == [{"key": "value"}] * 2


def test_the_scope_of_a_request_over_tls_has_the_extension_for_it() -> None:
    answer = ("start", 200, []), ("body", b"ab", False)
    found = check_alike("asgi", asgi_app(answer), [REQUESTS[0]] * 2, anonymous_tls())
    assert [scope["extensions"]["tls"] for scope in found.seen[::2]]


# The value that receive() and send() return.


def run_asgi(app: Callable[..., Any]) -> list[Any]:
    """Serve one GET with an app, in the compiled way, and return what it put into its list."""
    seen: list[Any] = []

    async def answered(scope: Any, receive: Any, send: Any) -> None:
        await app(seen, receive, send)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    with Served("asgi", answered, True) as server:
        assert server.connect().send(REQUESTS[0]).statuses == [200]
    return seen


def test_events_are_coroutines_with_the_whole_protocol() -> None:
    async def app(seen: list[Any], receive: Any, _send: Any) -> None:
        for how in (asyncio.create_task, asyncio.ensure_future, lambda c: asyncio.wait_for(c, 9)):
            assert asyncio.iscoroutine(receive())
            seen.append(how)
        event = receive()
        try:
            event.send(None)
        except StopIteration as done:
            seen.append(done.value["type"])
        with pytest.raises(RuntimeError, match="already awaited"):
            await event
        closed = receive()
        closed.close()
        with pytest.raises(RuntimeError, match="already awaited"):
            await closed
        thrown = receive()
        with pytest.raises(LookupError):
            thrown.throw(LookupError("of the test"))
        with pytest.raises(RuntimeError, match="already awaited"):
            await thrown

    assert run_asgi(app)[-1] == "http.request"


@pytest.mark.parametrize("how", ["throw", "close"])
def test_an_event_that_waits_ends_where_it_waits(how: str) -> None:
    async def app(_seen: list[Any], receive: Any, _send: Any) -> None:
        await receive()
        waits = receive()
        waits.send(None)
        if how == "close":
            waits.close()
        else:
            with pytest.raises(LookupError):
                waits.throw(LookupError("of the test"))
        with pytest.raises(RuntimeError, match="already awaited"):
            await waits

    run_asgi(app)


def test_a_call_that_is_closed_ends_the_app_where_it_waits() -> None:
    seen: list[str] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append("ended")

    with Served("asgi", app, True) as server:
        server.connect().send(REQUESTS[0])
        (call,) = server.state.handler.running
        call.task.get_coro().close()
        assert seen == ["ended"]


def test_a_cancelled_turn_raises_in_the_app() -> None:
    def make(seen: list[Any]) -> Any:
        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.get_loop().call_soon(task.cancel)
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                seen.append("cancelled")
                task.uncancel()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        return app

    found = check_alike("asgi", make, [REQUESTS[0]])
    assert (found.seen, found.log) == (["cancelled"], [])


def test_the_running_call_is_known_after_its_first_wait() -> None:
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.append((scope["path"], _speed.find_running_call()))
        await asyncio.sleep(0)
        seen.append(_speed.find_running_call().exchange.request.target)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    with Served("asgi", app, True) as server:
        server.connect().send(REQUESTS[0])
    assert seen == [("/mounted/a b", None), b"/a%20b?c=d"]
    assert _speed.find_running_call() is None


@pytest.mark.parametrize("compiled", [False, True])
def test_the_frames_of_a_waiting_call_are_those_of_the_app_and_what_it_awaits(
    compiled: bool,
) -> None:
    async def wait_deep(receive: Any) -> None:
        await receive()

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        await wait_deep(receive)

    with Served("asgi", app, compiled) as server:
        server.connect().send(REQUESTS[0])
        (call,) = server.state.handler.running
        (stack,) = inspect_waiting_request(call.exchange).stacks
        names = [getattr(frame, "f_code").co_name for frame in stack]  # noqa: B009
        assert names == ["app", "wait_deep", "receive"]
        call.task.cancel()


def test_a_receive_that_is_never_awaited_takes_nothing() -> None:
    async def app(seen: list[Any], receive: Any, _send: Any) -> None:
        receive()
        task = asyncio.create_task(receive())
        task.cancel()
        seen.append(await receive())

    assert run_asgi(app)[0]["type"] == "http.request"


def test_an_awaitable_that_is_no_coroutine_is_awaited() -> None:
    class Answer:
        def __init__(self, _scope: Any, _receive: Any, send: Any) -> None:
            self._send = send

        def __await__(self) -> Any:
            yield from self._send({"type": "http.response.start", "status": 200}).__await__()
            yield from self._send({"type": "http.response.body", "body": b"ab"}).__await__()

    found = check_alike("asgi", lambda _seen: Answer, [REQUESTS[0]])
    assert found.out.endswith(b"ab")
    failed = check_alike("asgi", lambda _seen: lambda *_: 5, [REQUESTS[0]])
    assert b" 500 " in failed.out


def test_the_task_of_a_call_is_the_current_one_and_can_be_cancelled() -> None:
    async def app(seen: list[Any], _receive: Any, _send: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.get_name())
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            seen.append("cancelled")
            task.uncancel()

    assert run_asgi(app) == ["request", "cancelled"]


def test_a_file_of_the_app_is_sent_both_ways(tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"content")

    def make(_seen: list[Any]) -> Any:
        def app(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "7")])
            return environ["wsgi.file_wrapper"](io.BytesIO(b"content"))

        return app

    assert check_alike("wsgi", make, [REQUESTS[0]]).out.endswith(b"content")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ["body", "receive"])
def test_an_app_that_sends_or_receives_in_a_loop_gives_others_their_turn(
    kind: str, compiled: bool
) -> None:
    seen: list[str] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        asyncio.get_running_loop().call_soon(seen.append, "another")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "more_body": kind == "body"})
        for _ in range(100):
            if kind == "body":
                await send({"type": "http.response.body", "more_body": True})
            else:
                await receive()
        seen.append("app")

    with Served("asgi", app, compiled) as server:
        server.connect().send(REQUESTS[0])
    assert seen == ["another", "app"]
