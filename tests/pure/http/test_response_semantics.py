"""The meaning of a response is the same on every sink: HTTP/1.1, one in memory, a toy protocol."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator

import pytest

from prefork.errors import ClientGoneError
from prefork.http.exchange import Exchange
from prefork.http.limits import Limits
from prefork.http.response_files import send_file
from prefork.http.response_head import STATUS_LINES, HeaderPair, ResponseError
from tests.fuzz.memory import MemoryServer
from tests.pure.http.response_sinks import OnHttp1, OnMemorySink, OnToyProtocol

Answering = OnHttp1 | OnMemorySink | OnToyProtocol
Ask = Callable[..., Answering]

TEXT = (b"Content-Type", b"text/plain")
LENGTH_4 = (b"Content-Length", b"4")


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False, Limits(server="prefork")) as server:
        yield server


@pytest.fixture(params=[OnHttp1, OnMemorySink, OnToyProtocol], ids=["http1", "memory", "toy"])
def ask(request: pytest.FixtureRequest, server: MemoryServer) -> Ask:
    """Return a function that sends a request and returns both sides of it."""

    def send(method: str = "GET") -> Answering:
        asked: Answering = request.param(server, method)
        return asked

    return send


def respond(exchange: Exchange, status: int, *fields: HeaderPair, body: bytes = b"body") -> None:
    exchange.respond(status, STATUS_LINES[status], fields, body)


def start(exchange: Exchange, *fields: HeaderPair, length: int | None = None) -> None:
    exchange.start_response(200, STATUS_LINES[200], fields, length)


def values(asked: Answering, name: bytes) -> list[bytes]:
    return [value for each, value in asked.outcome.fields if each == name]


def test_a_whole_response(ask: Ask) -> None:
    asked = ask()
    respond(asked.exchange, 404, TEXT)
    seen = asked.outcome
    assert (seen.status, seen.body, seen.is_complete) == (404, b"body", True)
    assert seen.fields == [
        (b"content-type", b"text/plain"),
        (b"content-length", b"4"),
        (b"server", b"prefork"),
    ]
    assert (asked.finished, asked.exchange.body_bytes_sent) == (1, 4)
    assert asked.exchange.response_field(b"content-type") == b"text/plain"
    assert asked.exchange.response_field(b"body") is None


def test_the_response_to_head_has_the_fields_of_the_response_to_get(ask: Ask) -> None:
    got, asked = ask("GET"), ask("HEAD")
    for each in (got, asked):
        respond(each.exchange, 200, TEXT)
    assert asked.outcome.fields == got.outcome.fields
    assert (asked.outcome.body, asked.outcome.is_complete) == (b"", True)
    assert asked.exchange.body_bytes_sent == 0


def test_a_streamed_response_to_head_has_no_body(ask: Ask) -> None:
    asked = ask("HEAD")
    start(asked.exchange, TEXT)
    asked.exchange.send(b"bo")
    asked.exchange.finish(b"dy")
    assert (asked.outcome.status, asked.outcome.body, asked.outcome.is_complete) == (200, b"", True)


@pytest.mark.parametrize(
    ("status", "lengths"), [(204, []), (205, [b"0"]), (304, [b"4"])], ids=["204", "205", "304"]
)
def test_statuses_without_a_body(ask: Ask, status: int, lengths: list[bytes]) -> None:
    asked = ask()
    respond(asked.exchange, status, LENGTH_4)
    assert (asked.outcome.status, asked.outcome.body) == (status, b"")
    assert asked.outcome.is_complete
    assert values(asked, b"content-length") == lengths


def test_a_body_of_unknown_length(ask: Ask) -> None:
    asked = ask()
    start(asked.exchange, TEXT)
    for piece in (b"one ", b"", b"two "):
        asked.exchange.send(piece)
    assert not asked.outcome.is_complete
    asked.exchange.finish(b"three")
    assert (asked.outcome.body, asked.outcome.is_complete) == (b"one two three", True)
    assert values(asked, b"content-length") == []
    assert (asked.finished, asked.exchange.body_bytes_sent) == (1, 13)


def test_nothing_is_sent_before_the_first_piece_unless_the_head_is_wanted(ask: Ask) -> None:
    asked = ask()
    start(asked.exchange, TEXT)
    assert asked.outcome.status == 0
    asked.exchange.send_headers()
    assert (asked.outcome.status, asked.outcome.body) == (200, b"")
    asked.exchange.send_headers()
    asked.exchange.finish(b"body")
    assert asked.outcome.body == b"body"


def test_the_app_is_held_to_its_content_length(ask: Ask) -> None:
    asked = ask()
    with pytest.raises(ResponseError, match="4 but the body has 5 bytes"):
        respond(asked.exchange, 200, LENGTH_4, body=b"12345")
    asked = ask()
    start(asked.exchange, LENGTH_4)
    asked.exchange.send(b"123")
    with pytest.raises(ResponseError, match="longer than its Content-Length"):
        asked.exchange.send(b"45")
    asked = ask()
    start(asked.exchange, LENGTH_4)
    asked.exchange.send(b"12")
    with pytest.raises(ResponseError, match="2 bytes before its Content-Length"):
        asked.exchange.finish(b"")


def test_two_content_lengths_are_refused(ask: Ask) -> None:
    with pytest.raises(ResponseError, match="two Content-Length"):
        respond(ask().exchange, 200, LENGTH_4, (b"Content-Length", b"5"))


def test_an_app_that_fails_before_its_response_gets_a_500(ask: Ask) -> None:
    asked = ask()
    start(asked.exchange, LENGTH_4, (b"X-Secret", b"1"))
    asked.exchange.fail()
    seen = asked.outcome
    assert (seen.status, seen.body, seen.is_complete) == (500, b"500 Internal Server Error\n", True)
    assert values(asked, b"x-secret") == []
    assert asked.finished == 1


def test_an_app_that_fails_in_the_middle_has_its_response_cut_off(ask: Ask) -> None:
    asked = ask()
    start(asked.exchange, TEXT)
    asked.exchange.send(b"some")
    asked.exchange.fail()
    assert (asked.outcome.is_complete, asked.outcome.is_cut_off) == (False, True)
    assert asked.finished == 1
    asked.exchange.fail()
    assert asked.finished == 1


def test_a_response_that_was_not_sent_can_be_replaced(ask: Ask) -> None:
    asked = ask()
    start(asked.exchange, TEXT)
    asked.exchange.reset_response()
    respond(asked.exchange, 200, LENGTH_4)
    assert (values(asked, b"content-length"), asked.outcome.body) == ([b"4"], b"body")
    assert values(asked, b"content-type") == []


def test_early_hints_come_before_the_response_only(ask: Ask) -> None:
    asked = ask()
    asked.exchange.send_early_hints(b"Link: </a>\r\n")
    start(asked.exchange, TEXT)
    asked.exchange.send_early_hints(b"Link: </b>\r\n")
    asked.exchange.send(b"body")
    asked.exchange.send_early_hints(b"Link: </c>\r\n")
    asked.exchange.finish()
    assert asked.outcome.interim == [(103, [(b"link", b"</a>")]), (103, [(b"link", b"</b>")])]
    assert (asked.outcome.body, asked.outcome.is_complete) == (b"body", True)


def test_trailers_follow_the_body(ask: Ask) -> None:
    asked = ask()
    start(asked.exchange, (b"Trailer", b"X-Sum"))
    asked.exchange.send(b"body")
    asked.exchange.finish(b"", b"X-Sum: 1\r\n")
    assert asked.outcome.trailers == [(b"x-sum", b"1")]
    assert (asked.outcome.body, asked.outcome.is_complete) == (b"body", True)


def test_the_server_adds_its_fields_unless_the_app_has_set_them(ask: Ask) -> None:
    asked = ask()
    asked.exchange.extra_fields = b"X-Id: ours\r\n"
    respond(asked.exchange, 200, (b"Server", b"mine"), (b"X-Id", b"mine"))
    assert values(asked, b"server") == values(asked, b"x-id") == [b"mine"]
    asked = ask()
    asked.exchange.extra_fields = b"X-Id: ours\r\n"
    respond(asked.exchange, 200)
    assert (values(asked, b"server"), values(asked, b"x-id")) == ([b"prefork"], [b"ours"])


def test_fields_of_the_connection_are_not_the_apps(ask: Ask) -> None:
    asked = ask()
    respond(asked.exchange, 200, (b"Upgrade", b"h2c"), (b"Keep-Alive", b"timeout=5"))
    assert values(asked, b"upgrade") == values(asked, b"keep-alive") == []


def test_a_field_that_would_inject_another_is_refused(ask: Ask) -> None:
    with pytest.raises(ResponseError, match="does not allow"):
        respond(ask().exchange, 200, (b"X-A", b"1\r\nX-B: 2"))


def test_the_app_is_told_that_its_client_has_left(ask: Ask) -> None:
    asked = ask()
    start(asked.exchange, TEXT)
    asked.exchange.send(b"some")
    asked.leave()
    with pytest.raises(ClientGoneError):
        asked.exchange.send(b"more")
    asked.exchange.disconnected = True
    with pytest.raises(ClientGoneError):
        asked.exchange.finish(b"more")
    assert asked.outcome.body == b"some"


def test_writers_wait_for_a_slow_client(ask: Ask) -> None:
    asked = ask()
    start(asked.exchange, TEXT)
    flow = asked.exchange.sink.flow
    assert flow.waiter() is None
    asked.pause()
    waiter = flow.waiter()
    assert waiter is not None
    asked.resume()
    assert waiter.done()


def send_content(
    server: MemoryServer, asked: Answering, content: bytes, size: int, *fields: HeaderPair
) -> None:
    """Answer with a file of ``content`` that is said to have ``size`` bytes."""

    async def send(fd: int) -> None:
        asked.exchange.truncates_body = True
        start(asked.exchange, *fields, length=None if fields else size)
        await send_file(asked.exchange, fd, 0, size)
        asked.exchange.finish()

    with tempfile.TemporaryFile() as file:
        os.write(file.fileno(), content)
        task = asyncio.ensure_future(send(file.fileno()), loop=server.loop)
        server.settle()
        task.result()


@pytest.mark.parametrize("size", [10, 64 * 1024], ids=["small", "at_the_limit"])
def test_a_file_is_a_body(ask: Ask, server: MemoryServer, size: int) -> None:
    content, asked = os.urandom(size), ask()
    send_content(server, asked, content, size)
    assert (asked.outcome.body, asked.outcome.is_complete) == (content, True)
    assert values(asked, b"content-length") == [b"%d" % size]
    assert asked.exchange.body_bytes_sent == size


def test_a_large_file_of_unknown_length_is_sent_in_pieces(ask: Ask, server: MemoryServer) -> None:
    content, asked = os.urandom(200_000), ask()
    send_content(server, asked, content, len(content), (b"Trailer", b"X-Sum"))
    assert (asked.outcome.body, asked.outcome.is_complete) == (content, True)


def test_a_file_that_is_too_short_breaks_its_response(ask: Ask, server: MemoryServer) -> None:
    with pytest.raises(ResponseError, match="the file ended 5 bytes before"):
        send_content(server, ask(), b"12345", 10)


def test_a_file_has_no_body_for_head(ask: Ask, server: MemoryServer) -> None:
    asked = ask("HEAD")
    send_content(server, asked, b"12345", 5)
    assert (asked.outcome.body, values(asked, b"content-length")) == (b"", [b"5"])
