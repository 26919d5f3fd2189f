"""Apps that break the rules: the client gets a 500 or a cut, the log a traceback, the worker lives.

A client never gets a part of a response that looks like the whole.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import CutOffError, ask, get, tcp
from tests.live.web_apps import lazy_servers

KINDS = {
    "wsgi": ("misbehaving_wsgi:app",),
    "threads": ("misbehaving_wsgi:app", "--threads", "1"),
    "asgi": ("misbehaving_asgi:app",),
}

ERROR_PAGE_WSGI = {
    "raises_at_once": "ValueError: at once",
    "raises_after_start": "ValueError: after start",
    "raises_in_first_piece": "ValueError: in first piece",
    "exits": "SystemExit: 3",
    "interrupts": "KeyboardInterrupt",
    "recurses": "RecursionError: maximum recursion depth exceeded",
    "stop_iteration": "StopIteration",
    "exception_without_text": "BadError: <exception str() failed>",
    "too_short": "Content-Length is 10 but the body has 5 bytes",
    "nothing_of_ten": "Content-Length is 10 but the body has 0 bytes",
    "too_long": "Content-Length is 3 but the body has 8 bytes",
    "too_long_in_first_piece": "the body is longer than its Content-Length",
    "too_long_by_write": "the body is longer than its Content-Length",
    "length_no_number": "Content-Length must be a number, not b'many'",
    "length_negative": "Content-Length must be a number, not b'-1'",
    "lengths_differ": "Content-Length fields",
    "line_end_in_value": "a header holds characters that HTTP does not allow",
    "lf_in_value": "a header holds characters that HTTP does not allow",
    "nul_in_value": "a header holds characters that HTTP does not allow",
    "line_end_in_name": "a header holds characters that HTTP does not allow",
    "space_in_name": "a header holds characters that HTTP does not allow",
    "empty_name": "a header holds characters that HTTP does not allow",
    "value_not_latin": "a header must be a pair of short strings",
    "value_no_text": "a header must be a pair of short strings",
    "value_none": "a header must be a pair of short strings",
    "header_of_three": "a header must be a pair of short strings",
    "header_no_pair": "a header must be a pair of short strings",
    "headers_unhashable": "Error: ",
    "headers_none": "TypeError: 'NoneType' object is not iterable",
    "line_end_in_status": "the status must be like '200 OK'",
    "status_no_text": "Error",
    "status_no_number": "the status must be like '200 OK', not 'OK'",
    "status_two_digits": "the status must be like '200 OK', not '99 Low'",
    "status_interim": "not '100 Continue'",
    "status_switching": "not '101 Switching Protocols'",
    "never_starts": "without calling start_response",
    "never_starts_empty": "without calling start_response",
    "starts_without_arguments": "TypeError",
    "starts_twice": "start_response was called twice without exc_info",
    "returns_none": "'NoneType' object is not iterable",
    "returns_number": "'int' object is not iterable",
    "returns_text": "str where bytes belong",
    "returns_bytes": "int where bytes belong",
    "returns_list_of_text": "str where bytes belong",
    "returns_list_of_none": "NoneType where bytes belong",
    "yields_text": "str where bytes belong",
    "yields_none": "NoneType where bytes belong",
    "writes_text": "Error: ",
}
"""The app's error is known before a byte of the response is out."""

CUT_WSGI = {
    "raises_after_bytes": "ValueError: after bytes",
    "raises_after_write": "ValueError: after write",
    "exits_after_bytes": "SystemExit: 3",
    "too_short_in_pieces": "the body ended 5 bytes before its Content-Length",
    "starts_again_after_bytes": "ValueError: too late",
    "yields_text_after_bytes": "str where bytes belong",
}

ERROR_PAGE_ASGI = {
    "raises_at_once": "ValueError: at once",
    "raises_after_start": "ValueError: after start",
    "raises_a_group": "ValueError: two",
    "exits": "SystemExit: 3",
    "interrupts": "KeyboardInterrupt",
    "cancels": "CancelledError",
    "cancels_itself": "CancelledError",
    "recurses": "RecursionError: maximum recursion depth exceeded",
    "returns_at_once": "the app returned without a response",
    "returns_after_start": "the app returned in the middle of its response",
    "starts_twice": "the app began its response twice",
    "body_before_start": "the app sent a body before the response",
    "too_short": "Content-Length is 10 but the body has 5 bytes",
    "too_long": "Content-Length is 3 but the body has 8 bytes",
    "too_long_in_first_piece": "the body is longer than its Content-Length",
    "length_no_number": "Content-Length must be a number, not b'many'",
    "lengths_differ": "Content-Length fields",
    "line_end_in_value": "a header holds characters that HTTP does not allow",
    "lf_in_value": "a header holds characters that HTTP does not allow",
    "line_end_in_name": "a header holds characters that HTTP does not allow",
    "space_in_name": "a header holds characters that HTTP does not allow",
    "value_no_bytes": "a header must be a pair of byte strings",
    "header_of_three": "a header must be a pair of byte strings",
    "headers_no_list": "TypeError: 'int' object is not iterable",
    "status_text": "the status must be from 200 to 599, not '200'",
    "status_none": "the status must be from 200 to 599, not None",
    "status_unhashable": "TypeError",
    "status_interim": "the status must be from 200 to 599, not 101",
    "status_too_high": "the status must be from 200 to 599, not 1000",
    "status_missing": "KeyError: 'status'",
    "body_text": "str where bytes belong",
    "body_none": "NoneType where bytes belong",
    "type_unknown": "'http.response.unknown', which the http scope does not know",
    "type_of_websocket": "'websocket.accept', which the http scope does not know",
    "type_missing": "KeyError: 'type'",
    "message_none": "TypeError",
}

CUT_ASGI = {
    "raises_after_bytes": "ValueError: after bytes",
    "exits_after_bytes": "SystemExit: 3",
    "returns_after_bytes": "the app returned in the middle of its response",
    "starts_again_after_bytes": "the app began its response twice",
    "too_short_in_pieces": "the body ended 5 bytes before its Content-Length",
    "body_text_after_bytes": "str where bytes belong",
}


def cases(wsgi: Iterable[str], asgi: Iterable[str]) -> Any:
    """Every fault with every kind of app that can have it."""
    found = [(kind, name) for kind in ("wsgi", "threads") for name in wsgi]
    return pytest.mark.parametrize(("kind", "name"), found + [("asgi", name) for name in asgi])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> AbstractContextManager[Server]:
        app, *threads = KINDS[kind]
        folder = tmp_path_factory.mktemp(kind)
        return serving(folder, app, "--pythonpath", str(APPS), *threads)

    with lazy_servers(start) as made:
        yield made


@pytest.fixture
def server(servers: Callable[[str], Server], kind: str) -> Server:
    return servers(kind)


def wait_for_failure(server: Server, name: str, text: str) -> None:
    """Wait until the log names the failed request and shows the error."""
    server.wait_log(rf"the app failed on (GET|POST) /{name}( |$)")
    server.wait_log(re.escape(text))


def check_worker(server: Server) -> None:
    """Check that the same worker still answers."""
    (worker,) = server.workers()
    assert ask(server, get("/pid")).body == b"%d" % worker.pid
    assert not any(" gone: " in line for line in server.lines)


@cases(ERROR_PAGE_WSGI, ERROR_PAGE_ASGI)
def test_an_error_before_the_response_is_a_500(server: Server, kind: str, name: str) -> None:
    with tcp(server) as wire:
        answer = wire.send(get(f"/{name}")).answer()
        assert (answer.status, answer.body) == (500, b"500 Internal Server Error\n")
        assert answer.get("set-cookie") is None
        # The connection goes on.
        assert wire.send(get("/pid")).answer().status == 200
    wait_for_failure(server, name, (ERROR_PAGE_ASGI if kind == "asgi" else ERROR_PAGE_WSGI)[name])
    check_worker(server)


@cases(CUT_WSGI, CUT_ASGI)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_error_in_the_response_cuts_it_off(
    server: Server, kind: str, name: str, version: str
) -> None:
    with tcp(server) as wire:
        wire.send(get(f"/{name}", version=version))
        with pytest.raises(CutOffError):
            wire.answer()
    wait_for_failure(server, name, (CUT_ASGI if kind == "asgi" else CUT_WSGI)[name])
    check_worker(server)


@cases(
    ["close_raises", "close_exits"],
    ["raises_after_all"],
)
def test_an_error_after_the_response_harms_neither_client_nor_worker(
    server: Server, name: str
) -> None:
    with tcp(server) as wire:
        assert wire.send(get(f"/{name}")).answer().body == b"fine"
        assert wire.send(get("/pid")).answer().status == 200
    wait_for_failure(server, name, "Error" if "exits" not in name else "SystemExit")
    check_worker(server)


@cases(["writes_at_close"], [])
def test_what_is_written_after_the_end_is_in_no_response(server: Server, name: str) -> None:
    with tcp(server) as wire:
        for _ in range(2):
            assert wire.send(get(f"/{name}")).answer().body == b"fine"
            assert wire.send(get("/pid")).answer().status == 200
    check_worker(server)


@cases(["writes_to_the_one_before"], [])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_response_that_ended_takes_no_bytes(server: Server, name: str, version: str) -> None:
    keep_alive = get("/keeps_write", "Connection: keep-alive", version=version)
    with tcp(server) as wire:
        # In one piece, so that neither request is one that compiled code answers alone.
        wire.send(keep_alive, keep_alive)
        assert [wire.answer().body, wire.answer().body] == [b"fine", b"fine"]
        assert wire.send(get(f"/{name}")).answer().status == 500
    wait_for_failure(server, name, "ended")
    check_worker(server)


@cases(
    [
        "raises_in_first_piece",
        "raises_after_bytes",
        "too_short_in_pieces",
        "yields_text_after_bytes",
    ],
    [],
)
def test_the_iterable_of_a_failed_response_is_closed_once(server: Server, name: str) -> None:
    before = ask(server, get("/what_was_closed")).body.decode().split().count(name)
    with tcp(server) as wire:
        wire.send(get(f"/{name}")).is_cut()

    def closed() -> int:
        return ask(server, get("/what_was_closed")).body.decode().split().count(name) - before

    wait_for(closed, "it is closed")
    assert closed() == 1


@cases(["raises_at_once", "raises_after_bytes"], ["raises_at_once"])
def test_a_traceback_shows_the_app_and_not_the_server(server: Server, name: str) -> None:
    ask_anyway(server, name)
    start = next(i for i, line in enumerate(server.lines) if f"failed on GET /{name}" in line)
    server.wait_log(rf"in {name}|in pieces")
    trace = server.lines[start + 1 : start + 5]
    assert trace[0] == "  Traceback (most recent call last):"
    assert "misbehaving_" in trace[1]
    assert not any("/prefork/" in line for line in trace)


def ask_anyway(server: Server, name: str) -> None:
    with tcp(server) as wire:
        wire.send(get(f"/{name}")).is_cut()
    server.wait_log(f"failed on GET /{name}")


@cases(["too_long"], ["too_long"])
def test_head_is_not_judged_by_its_missing_body(server: Server, name: str) -> None:
    with tcp(server) as wire:
        answer = wire.send(get(f"/{name}", method="HEAD")).answer("HEAD")
        assert (answer.status, answer.get("content-length")) == (200, "3")
        assert wire.send(get("/pid")).answer().status == 200


@cases(["length_with_204"], [])
def test_a_204_never_has_a_length(server: Server, name: str) -> None:
    with tcp(server) as wire:
        answer = wire.send(get(f"/{name}")).answer()
        assert (answer.status, answer.get("content-length")) == (204, None)
        assert wire.send(get("/pid")).answer().status == 200
