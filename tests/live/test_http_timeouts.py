"""Each timeout ends what has stopped, and not what is merely slow."""

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import PATIENCE, Server, wait_for
from tests.live.raw_client import CutOffError, RawConnection, ask, get, post, tcp
from tests.live.web_apps import events, lazy_servers, open_gate, serving_app

TIMES = (
    *("--header-timeout", "400ms", "--body-timeout", "400ms"),
    *("--keepalive", "600ms", "--send-timeout", "600ms", "--timeout", "1s"),
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    with lazy_servers(
        lambda kind: serving_app(kind, tmp_path_factory.mktemp(kind), *TIMES)
    ) as made:
        yield made


@pytest.fixture(params=["wsgi", "asgi"])
def server(servers: Callable[[str], Server], request: pytest.FixtureRequest) -> Server:
    return servers(request.param)


@pytest.fixture
def asgi(servers: Callable[[str], Server]) -> Server:
    return servers("asgi")


def trickle(wire: RawConnection, data: bytes, pause: float) -> None:
    """Send byte after byte with pauses until the server answers or closes the connection."""
    for index in range(len(data)):
        try:
            wire.send(data[index : index + 1])
        except (BrokenPipeError, ConnectionResetError):
            return
        if wire.is_readable(within=pause):
            return


def timed_out(wire: RawConnection) -> None:
    answer = wire.answer()
    assert (answer.status, answer.closes) == (408, True)
    assert wire.ends_cleanly()


def test_a_connection_on_which_nothing_arrives_is_closed_without_a_response(server: Server) -> None:
    with tcp(server) as wire:
        before = time.monotonic()
        assert wire.ends_cleanly()
        assert time.monotonic() - before > 0.4


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\nHo", get("/")[:-2]])
def test_a_head_that_stops_gets_408(server: Server, part: bytes) -> None:
    with tcp(server) as wire:
        before = time.monotonic()
        timed_out(wire.send(part))
        assert time.monotonic() - before > 0.4


def test_a_head_must_be_complete_in_time_even_if_it_goes_on(server: Server) -> None:
    """Otherwise one byte at a time would keep a connection for ever (slowloris)."""
    with tcp(server) as wire:
        trickle(wire, get("/hello", "X: " + "a" * 1000), pause=0.05)
        timed_out(wire)


def test_the_second_head_of_a_connection_has_a_timeout_too(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/hello")).answer().status == 200
        timed_out(wire.send(b"GET / HT"))


def test_a_head_that_begins_right_behind_a_request_has_a_timeout_too(
    server: Server,
) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/hello"), b"GET / HT").answer().status == 200
        assert wire.read_to_end().startswith((b"", b"HTTP/1.1 408 "))


@pytest.mark.parametrize(
    "part",
    [
        post("/size", b"x" * 1000)[:-1],
        post("/size", b"x" * 500_000)[:-1],
        get("/size", "Transfer-Encoding: chunked", method="POST"),
        get("/size", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n",
    ],
    ids=["length", "large", "nothing", "chunked"],
)
def test_a_body_that_stops_gets_408(server: Server, part: bytes) -> None:
    with tcp(server) as wire:
        timed_out(wire.send(part))


def test_a_body_may_be_slow_as_long_as_it_goes_on(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/size", "Content-Length: 10", method="POST"))
        before = time.monotonic()
        trickle(wire, b"x" * 10, pause=0.12)
        assert wire.answer().body == b"10"
        assert time.monotonic() - before > 1


def test_an_idle_connection_is_closed_without_a_response(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/hello")).answer().status == 200
        before = time.monotonic()
        assert wire.ends_cleanly()
        assert time.monotonic() - before > 0.5


def test_a_client_that_does_not_read_is_cut_off(server: Server) -> None:
    with tcp(server, receive_buffer=32768) as wire:
        wire.send(get("/endless/unread"))
        wire.head()
        wait_for(lambda: "closed unread" in events(server), "the app's response is closed")
        with pytest.raises(CutOffError):
            wire.read_to_end()


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_the_send_timeout_is_as_long_as_its_option(kind: str, tmp_path: Path) -> None:
    with (
        serving_app(kind, tmp_path, "--send-timeout", "4s") as server,
        tcp(server, receive_buffer=32768) as wire,
    ):
        began = time.monotonic()
        wire.send(get("/endless/unread"))
        wait_for(lambda: "closed unread" in events(server), "the app's response is closed")
        took = time.monotonic() - began
    # An eighth more and two ticks, and time for a busy machine. It was once twice as much.
    assert 4 <= took < 7.5


def test_a_client_that_reads_a_little_is_not_cut_off(asgi: Server) -> None:
    """It reads so little that the kernel's buffer hides it for longer than the timeout."""
    with tcp(asgi, receive_buffer=16384) as wire:
        wire.send(get("/endless/slow"))
        wire.head()
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            wire.read_exactly(4096)
            time.sleep(0.05)  # the pace of a slow client, not a wait for anything
        assert "closed slow" not in events(asgi)


def test_an_asgi_app_that_waits_for_ever_gets_500_and_its_worker_lives(asgi: Server) -> None:
    before = [worker.pid for worker in asgi.workers()]
    answer = ask(asgi, get("/forever/a?b=c"))
    assert answer.status == 500
    asgi.wait_log(r"no answer in time: GET /forever/a\?b=c from")
    # The log names the place where the app waits.
    asgi.wait_log(r"await asyncio.Event\(\).wait\(\)")
    assert "cancelled a" in events(asgi)
    assert [worker.pid for worker in asgi.workers()] == before


def test_an_asgi_app_that_only_starts_its_response_gets_500(asgi: Server) -> None:
    assert ask(asgi, get("/started")).status == 500


def test_a_deadline_ends_one_request_and_no_other(asgi: Server) -> None:
    with tcp(asgi) as stuck, tcp(asgi) as streaming:
        stuck.send(get("/forever/b"))
        streaming.send(get("/half/stream"))
        assert streaming.head().status == 200
        assert stuck.answer().status == 500
        # This response has begun, so the timeout no longer counts.
        open_gate(asgi, "stream")
        assert streaming.read_to_end().endswith(b"4\r\nthen\r\n0\r\n\r\n")


def test_the_deadline_does_not_count_while_the_body_is_slow(asgi: Server) -> None:
    with tcp(asgi) as wire:
        wire.send(get("/size", "Content-Length: 10", method="POST"))
        trickle(wire, b"x" * 10, pause=0.2)
        assert wire.answer().body == b"10"


def test_a_body_does_not_time_out_while_the_app_does_not_read(tmp_path: Any) -> None:
    """The app keeps the client waiting, not the other way round."""
    body = b"x" * 20_000_000
    with serving_app("asgi", tmp_path, "--body-timeout", "200ms") as server, tcp(server) as wire:
        wire.send(get("/late/body", f"Content-Length: {len(body)}", method="POST"))
        wire.socket.settimeout(1)
        sent = 0
        # The app reads nothing, so sending stops; then a whole second passes.
        with contextlib.suppress(TimeoutError):
            while sent < len(body):
                sent += wire.socket.send(body[sent : sent + 1_000_000])
        assert sent < len(body)
        wire.socket.settimeout(PATIENCE)
        open_gate(server, "body")
        wire.send(body[sent:])
        assert wire.answer().body == b"20000000"


def test_keepalive_0_closes_the_connection_after_each_request(tmp_path: Any) -> None:
    for kind in ("wsgi", "asgi"):
        with serving_app(kind, tmp_path, "--keepalive", "0s") as server, tcp(server) as wire:
            answer = wire.send(get("/hello"), get("/hello")).answer()
            assert (answer.body, answer.closes) == (b"hello", True)
            assert wire.ends_cleanly()


def test_idle_connections_may_send_one_more_request_while_the_worker_drains(tmp_path: Any) -> None:
    with (
        serving_app("wsgi", tmp_path, "--linger", "10s") as server,
        tcp(server) as busy,
        tcp(server) as fresh,
    ):
        assert busy.send(get("/hello")).answer().closes is False
        server.send(signal.SIGTERM)
        server.wait_log(r"drains")
        for wire in (busy, fresh):
            answer = wire.send(get("/hello")).answer()
            while not answer.closes:  # the worker has not heard of the drain yet
                answer = wire.send(get("/hello")).answer()
            assert answer.body == b"hello"
            assert wire.ends_cleanly()
        assert server.wait_exit() == 0


def test_idle_connections_are_closed_after_linger(tmp_path: Any) -> None:
    with serving_app("asgi", tmp_path, "--linger", "300ms") as server, tcp(server) as wire:
        assert wire.send(get("/hello")).answer().status == 200
        assert server.stop() == 0
        assert wire.ends_cleanly()
        assert not re.search("Traceback", server.log)
