"""The websocket scope of ASGI: the handshake and its answers, events, and apps that misbehave."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import Answer, get, post, tcp
from tests.live.web_apps import events, lazy_servers, open_gate, serving_app
from tests.live.websocket_client import (
    ACCEPT,
    BINARY,
    HANDSHAKE,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketConnection,
    close_frame,
    connect_websocket,
)

HELLO = Frame(TEXT, b"Hello")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> Any:
        folder = tmp_path_factory.mktemp("app")
        if kind == "wsgi":
            return serving_app("wsgi", folder)
        more = ("--access-log", str(folder / "access.log"), "--timeout", "1s")
        return serving(folder, "sockets:app", "--pythonpath", str(APPS), *more)

    with lazy_servers(start) as made:
        yield made


@pytest.fixture
def server(servers: Callable[[str], Server]) -> Server:
    return servers("asgi")


def refused_handshake(server: Server, target: str, *fields: str) -> Answer:
    """Return the answer to a handshake that is refused; the connection ends after it."""
    with WebSocketConnection(tcp(server).socket) as wire:
        answer = wire.send(get(target, *HANDSHAKE, *fields)).answer()
        assert answer.closes
        assert wire.ends_cleanly()
        return answer


def wait_for_event(server: Server, what: str) -> None:
    wait_for(lambda: what in events(server), f"the app tells {what!r}")


# The handshake.


def test_the_answer_to_a_handshake_has_the_accept_key_and_no_other_fields(server: Server) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        answer = wire.request_handshake("/echo")
        names = [name for name, _ in answer.fields]
        assert sorted(names) == ["connection", "date", "sec-websocket-accept", "upgrade"]
        assert answer.get("upgrade") == "websocket"
        assert answer.get("connection") == "Upgrade"
        assert answer.get("sec-websocket-accept") == ACCEPT


@pytest.mark.parametrize(
    "fields",
    [
        ("connection: keep-alive, Upgrade", "upgrade: WebSocket"),
        ("Connection: upgrade", "Upgrade: foo, websocket"),
        ("Connection: keep-alive", "Connection: UPGRADE", "Upgrade: websocket"),
    ],
)
def test_tokens_are_read_as_lists_without_regard_to_case(
    server: Server, fields: tuple[str, ...]
) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        wire.send(get("/echo", *fields, *HANDSHAKE[2:]))
        assert wire.head().status == 101
        assert wire.send_frames(HELLO).read_frame() == HELLO


VERSION, SECRET = HANDSHAKE[2:]


@pytest.mark.parametrize(
    "fields",
    [
        (VERSION,),
        (SECRET,),
        (VERSION, SECRET, SECRET),
        (VERSION, "Sec-WebSocket-Key: short"),
        (VERSION, "Sec-WebSocket-Key: " + KEY[:-2]),
        (VERSION, "Sec-WebSocket-Key: AA" + KEY),
        (VERSION, "Sec-WebSocket-Key:"),
        (VERSION, SECRET, "Sec-WebSocket-Protocol: a b"),
        (VERSION, SECRET, "Sec-WebSocket-Extensions: =,"),
    ],
)
def test_an_invalid_handshake_gets_400(server: Server, fields: tuple[str, ...]) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        answer = wire.send(get("/forbidden/400", *HANDSHAKE[:2], *fields)).answer()
        assert (answer.status, answer.closes) == (400, True)
        assert answer.body.startswith(b"invalid WebSocket handshake: ")
        assert wire.ends_cleanly()
    assert not [event for event in events(server) if event.endswith("/forbidden/400")]


@pytest.mark.parametrize("version", ["8", "14", "013", "13, 8", ""])
def test_another_version_gets_426_and_the_supported_one(server: Server, version: str) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        wire.send(get("/echo", *HANDSHAKE[:2], SECRET, f"Sec-WebSocket-Version: {version}"))
        answer = wire.head()
        assert answer.status == 426
        assert answer.get("sec-websocket-version") == "13"
        assert answer.get("upgrade") == "websocket"
        connection = [value for name, value in answer.fields if name == "connection"]
        assert connection == ["Upgrade", "close"]
        assert b"13" in wire.read_to_end()


NO_HANDSHAKE = {
    "no Upgrade": get("/told/plain", HANDSHAKE[0], *HANDSHAKE[2:]),
    "no Connection": get("/told/plain", *HANDSHAKE[1:]),
    "another protocol": get("/told/plain", "Connection: Upgrade", "Upgrade: h2c", *HANDSHAKE[2:]),
    "almost": get("/told/plain", "Connection: Upgrade", "Upgrade: websocket/13", *HANDSHAKE[2:]),
    "HTTP/1.0": get("/told/plain", *HANDSHAKE, "Connection: keep-alive", version="1.0"),
    "POST": get("/told/plain", *HANDSHAKE, method="POST"),
    "a body": post("/told/plain", b"body", *HANDSHAKE),
    "a body of GET": get("/told/plain", *HANDSHAKE, "Content-Length: 4") + b"body",
    "chunks": get("/told/plain", *HANDSHAKE, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_HANDSHAKE)
def test_a_request_that_is_no_handshake_is_an_ordinary_request(server: Server, name: str) -> None:
    """RFC 9110 section 7.8: an Upgrade may be ignored, and must be in HTTP/1.0."""
    with tcp(server) as wire:
        for _ in range(2):
            assert wire.send(NO_HANDSHAKE[name]).answer().body == b"plain"


def test_a_wsgi_app_gets_a_handshake_as_an_ordinary_request(
    servers: Callable[[str], Server],
) -> None:
    with tcp(servers("wsgi")) as wire:
        for _ in range(3):
            assert wire.send(get("/told/plain", *HANDSHAKE)).answer().body == b"plain"


def test_requests_before_a_handshake_are_answered_before_it(server: Server) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        wire.send(get("/hold/first"), get("/told/second"), get("/echo", *HANDSHAKE), HELLO.encode())
        open_gate(server, "first")
        assert wire.answer().body == b"first"
        assert wire.answer().body == b"second"
        assert wire.head().status == 101
        assert wire.read_frame() == HELLO


def test_frames_that_come_before_the_answer_to_the_handshake_are_received(
    server: Server,
) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        wire.send(get("/accepts_late/early", *HANDSHAKE), HELLO.encode()[:3])
        wire.send(HELLO.encode()[3:])
        open_gate(server, "early")
        assert wire.head().status == 101
        assert wire.read_frame() == HELLO
        assert wire.read_close() == (1000, b"")


def test_a_handshake_and_a_frame_may_come_byte_by_byte(server: Server) -> None:
    data = get("/echo", *HANDSHAKE) + HELLO.encode()
    with WebSocketConnection(tcp(server).socket) as wire:
        for index in range(len(data)):
            wire.send(data[index : index + 1])
        assert wire.head().status == 101
        assert wire.read_frame() == HELLO


def test_a_connection_may_make_requests_before_a_handshake(server: Server) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        for _ in range(3):
            assert wire.send(get("/told/plain")).answer().body == b"plain"
        assert wire.request_handshake("/echo").status == 101
        assert wire.send_frames(HELLO).read_frame() == HELLO


# The scope.


def test_the_scope_describes_the_handshake(server: Server) -> None:
    offers = ("Sec-WebSocket-Protocol: one, two", "Sec-WebSocket-Protocol: three")
    with connect_websocket(
        server, "/scope/caf%C3%A9?a=%20b", *offers, "Origin: http://here"
    ) as wire:
        scope = json.loads(wire.read_frame().payload)
        client = list(wire.socket.getsockname())
        assert wire.read_close() == (1000, b"")
    headers = scope.pop("headers")
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": scope["asgi"]["spec_version"]},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/scope/café",
        "raw_path": "/scope/caf%C3%A9",
        "query_string": "a=%20b",
        "root_path": "",
        "client": client,
        "server": ["127.0.0.1", server.port],
        "subprotocols": ["one", "two", "three"],
        "extensions": {"websocket.http.response": {}},
    }
    assert ["origin", "http://here"] in headers
    assert ["sec-websocket-key", KEY] in headers


# Answers.


def test_an_app_chooses_a_subprotocol_that_was_offered(server: Server) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        answer = wire.request_handshake("/accepted?subprotocol", "Sec-WebSocket-Protocol: one, two")
        assert (answer.status, answer.get("sec-websocket-protocol")) == (101, "two")


def test_an_app_may_add_fields_but_not_the_servers_own(server: Server) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        answer = wire.request_handshake("/accepted?headers")
        assert answer.status == 101
        assert (answer.get("x-one"), answer.get("x-two")) == ("1", "2")
        assert answer.get("connection") == "Upgrade"
        assert answer.get("content-length") is None
        assert not answer.get("date").startswith("Thu, 01 Jan 1970")  # type: ignore[union-attr]
        assert wire.read_close() == (1000, b"")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("stranger", "did not offer the subprotocol 'three'"),
        ("newline", "characters that HTTP does not allow"),
        ("own", "the app may not set a field of the handshake"),
    ],
)
def test_an_invalid_accept_is_a_500(server: Server, query: str, words: str) -> None:
    answer = refused_handshake(server, f"/accepted?{query}", "Sec-WebSocket-Protocol: one, two")
    assert answer.status == 500
    server.wait_log(re.escape(words))


def test_a_close_before_the_accept_is_a_403(server: Server) -> None:
    assert refused_handshake(server, "/forbidden").status == 403
    wait_for_event(server, "websocket.disconnect /forbidden")


@pytest.mark.parametrize("status", [200, 401, 503])
def test_an_app_may_refuse_with_a_response_of_its_own(server: Server, status: int) -> None:
    answer = refused_handshake(server, f"/refused/{status}")
    assert (answer.status, answer.get("x-why"), answer.body) == (status, "not now", b"not now")


def test_a_refused_client_that_sent_frames_can_read_the_answer(server: Server) -> None:
    with WebSocketConnection(tcp(server).socket) as wire:
        wire.send(get("/refused/401", *HANDSHAKE), HELLO.encode() * 1000)
        assert wire.answer().body == b"not now"
        assert wire.ends_cleanly()


def test_an_unfinished_refusal_is_cut_off(server: Server) -> None:
    assert refused_handshake(server, "/half_refused").status == 500
    server.wait_log("the app returned in the middle of its refusal")


@pytest.mark.parametrize(
    ("how", "words"),
    [("raise", "LookupError: before the answer"), ("return", "returned without an answer")],
)
def test_an_app_that_gives_no_answer_is_a_500(server: Server, how: str, words: str) -> None:
    assert refused_handshake(server, f"/fails_early/{how}").status == 500
    server.wait_log(rf"the app failed on WebSocket /fails_early/{how}")
    server.wait_log(words)


def test_an_app_that_does_not_answer_in_time_is_a_500(server: Server) -> None:
    assert refused_handshake(server, "/never").status == 500
    server.wait_log("no answer in time: WebSocket: GET /never from")
    wait_for_event(server, "cancelled /never")


def test_the_request_timeout_does_not_apply_to_an_open_websocket(server: Server) -> None:
    with connect_websocket(server) as idle:
        assert refused_handshake(server, "/never").status == 500
        assert idle.send_frames(HELLO).read_frame() == HELLO


def test_answers_are_in_the_access_log(server: Server) -> None:
    with connect_websocket(server, "/echo?log"):
        pass
    refused_handshake(server, "/refused/402")
    log = next(server.cwd.glob("access.log"))
    wait_for(lambda: '"GET /echo?log HTTP/1.1" 101 -' in log.read_text(), "the 101 is logged")
    wait_for(lambda: '"GET /refused/402 HTTP/1.1" 402 7' in log.read_text(), "the 402 is logged")


# Messages.


def test_text_and_bytes_keep_their_type(server: Server) -> None:
    with connect_websocket(server) as wire:
        for message in (Frame(TEXT, b""), Frame(BINARY, b""), HELLO, Frame(BINARY, b"\0")):
            assert wire.send_frames(message).read_frame() == message


def test_messages_sent_at_once_arrive_in_order(server: Server) -> None:
    with connect_websocket(server, "/pushes/2000") as wire:
        assert [int(wire.read_frame().payload) for _ in range(2000)] == list(range(2000))
        assert wire.read_close() == (1000, b"")


def test_two_tasks_may_wait_for_messages(server: Server) -> None:
    with connect_websocket(server, "/two_readers") as wire:
        assert wire.read_frame().payload == b"ready"
        wire.send_frames(Frame(TEXT, b"a"), Frame(TEXT, b"b"))
        assert wire.read_frame().payload == b"a b"


def test_a_message_beyond_the_limit_is_an_error(tmp_path: Any) -> None:
    limit = ("--ws-max-size", "1000")
    with serving(tmp_path, "sockets:app", "--pythonpath", str(APPS), *limit) as server:
        full = Frame(BINARY, b"x" * 1000)
        with connect_websocket(server) as wire:
            assert wire.send_frames(full).read_frame() == full
            # The header announces the size before any of the message arrives.
            wire.send(Frame(BINARY, b"x" * 1001).encode()[:8])
            assert wire.is_closed_with(1009)
        with connect_websocket(server) as wire:
            half = Frame(BINARY, b"x" * 500, fin=False)
            wire.send_frames(half, Frame(PING), Frame(0, b"x" * 501))
            assert wire.read_frame() == Frame(PONG)
            assert wire.is_closed_with(1009)
        wait_for_event(
            server,
            "1009 frame with 501 bytes after reading 500 bytes exceeds limit of 1000 bytes /echo",
        )


# The end.


def test_an_app_closes_with_code_and_reason(server: Server) -> None:
    for code in (1000, 1001, 3000, 4999):
        with connect_websocket(server, f"/closes/{code}") as wire:
            reason = f"because of {code}"
            assert wire.read_close() == (code, reason.encode())
            wait_for_event(server, f"{code} {reason} /closes/{code}")
            # The connection stays open until the client has answered the close.
            assert not wire.is_readable(within=0)
            wire.send_frames(HELLO, Frame(PING, b"still"), close_frame(code))
            assert wire.read_frame() == Frame(PONG, b"still")
            assert wire.ends_cleanly()
    with connect_websocket(server, "/closes_plainly") as wire:
        assert wire.read_close() == (1000, b"")


def test_code_and_reason_of_the_client_reach_the_app(server: Server) -> None:
    with connect_websocket(server, "/echo/told") as wire:
        wire.send_frames(close_frame(4321, b"had enough"))
        assert wire.read_close() == (4321, b"had enough")
        wait_for_event(server, "4321 had enough /echo/told")
    with connect_websocket(server, "/echo/untold") as wire:
        wire.send_frames(close_frame())
        assert wire.read_close() == (None, b"")
        wait_for_event(server, "1005 /echo/untold")


def test_a_client_that_leaves_without_a_close_is_1006(server: Server) -> None:
    with connect_websocket(server, "/echo/reset") as wire:
        wire.reset()
    wait_for_event(server, "1006 /echo/reset")
    with connect_websocket(server, "/echo/eof") as wire:
        wire.shut_down_writing()
        assert wire.ends_cleanly()
    wait_for_event(server, "1006 /echo/eof")


def test_messages_before_the_close_reach_the_app(server: Server) -> None:
    with connect_websocket(server, "/listens_late/close") as wire:
        wire.send_frames(*[HELLO] * 3, close_frame(1000))
        assert wire.read_close() == (1000, b"")
        open_gate(server, "close")
        wait_for_event(server, "1000 /listens_late/close")
    # The app still sends what it received, to a client that has left: that is no failure.
    assert not server.count("failed on WebSocket /listens_late")


def test_the_app_gets_the_code_of_a_protocol_error(server: Server) -> None:
    with connect_websocket(server, "/echo/bad") as wire:
        wire.send_frames(Frame(TEXT, b"\xff"))
        assert wire.is_closed_with(1007)
    wait_for_event(server, "1007 invalid start byte at byte 0 /echo/bad")


@pytest.mark.parametrize(
    ("how", "words"),
    [("raise", "LookupError: after the answer"), ("return", "returned without closing")],
)
def test_an_app_that_ends_without_closing_is_1011(server: Server, how: str, words: str) -> None:
    with connect_websocket(server, f"/fails_late/{how}") as wire:
        assert wire.read_frame().payload == b"open"
        assert wire.read_close() == (1011, b"")
        wire.send_frames(close_frame(1011))
        assert wire.ends_cleanly()
    server.wait_log(rf"the app failed on WebSocket /fails_late/{how}")
    server.wait_log(words)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("again", "'websocket.accept' on an open WebSocket"),
        ("nothing", "NoneType where text or bytes belong"),
        ("number", "int where text or bytes belong"),
        ("surrogate", "surrogates not allowed"),
        ("code", "the app cannot close with 1005: invalid status code"),
        ("reason", "the app cannot close with 1000: control frame too long"),
        ("http", "'http.response.start' on an open WebSocket"),
    ],
)
def test_an_invalid_event_of_the_app_closes_with_1011(
    server: Server, what: str, words: str
) -> None:
    with connect_websocket(server, f"/wrong/{what}") as wire:
        assert wire.read_close() == (1011, b"")
    server.wait_log(rf"the app failed on WebSocket /wrong/{what}")
    server.wait_log(re.escape(words))


def test_an_app_that_sends_after_its_own_close_has_failed(server: Server) -> None:
    with connect_websocket(server, "/after_close") as wire:
        assert wire.read_close() == (1000, b"")
    server.wait_log("the app sent a message after it closed")


def test_the_worker_lives_and_logged_no_warning(server: Server) -> None:
    assert [worker.pid for worker in server.workers()]
    assert not server.count("gone:|WARNING|never awaited|never retrieved")
