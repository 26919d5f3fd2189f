"""The life of a connection: reuse, order, framing, 100 Continue, and clients that leave."""

import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Server, wait_for
from tests.live.raw_client import CutOffError, RawConnection, ask, chunked, get, post, tcp
from tests.live.web_apps import KINDS, events, lazy_servers, open_gate, serving_app

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    with lazy_servers(
        lambda kind: serving_app(kind, tmp_path_factory.mktemp(kind), "--limit-body", "16m")
    ) as made:
        yield made


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(servers: Callable[[str], Server], kind: str) -> Server:
    return servers(kind)


def skip_inline_wsgi(kind: str) -> None:
    """Skip a test that needs two requests at once where the worker serves one at a time."""
    if kind == "wsgi":
        pytest.skip("one request at a time")


# Reuse and order.


def test_a_connection_serves_many_requests(server: Server) -> None:
    with tcp(server) as wire:
        for number in range(5):
            answer = wire.send(get(f"/told/{number}")).answer()
            assert (answer.status, answer.body) == (200, b"%d" % number)
            assert answer.get("connection") is None


def test_large_bodies_arrive_as_they_were_sent_and_so_do_later_requests(
    server: Server, kind: str
) -> None:
    with tcp(server) as wire:
        for size in (200_000, 3_000_000, 13_000_000):
            body = os.urandom(size)
            wire.send(post("/size", body), get("/told/1"), post("/size", body[1:]))
            assert [wire.answer().body for _ in range(3)] == [
                b"%d" % size,
                b"1",
                b"%d" % (size - 1),
            ]
            if kind != "asgi":  # it begins to respond while the test still sends
                assert wire.send(post("/echo", body)).answer().body == body


def test_a_repeated_request_reaches_the_app_as_the_first_one_did(server: Server) -> None:
    request = get("/dump/%41?b=c", "X-Twice: one", "X-Twice: two", "Cookie: d=e")
    with tcp(server) as wire:
        first, *others = [wire.send(request).answer().body for _ in range(5)]
        assert b"one" in first
        assert others == [first] * 4
    with tcp(server) as wire:
        # Another client differs only in its port.
        mask = re.compile(rb'"REMOTE_PORT": "\d+"|"client": \[[^]]+\]')
        assert mask.sub(b"", wire.send(request).answer().body) == mask.sub(b"", first)


def test_changes_of_an_app_to_a_request_are_not_in_a_repeated_one(server: Server) -> None:
    with tcp(server) as wire:
        for _ in range(5):
            assert wire.send(get("/scribble")).answer().body == b"false"


def test_requests_that_differ_in_path_and_cookie_reach_the_app_in_full(server: Server) -> None:
    """From the third request on all other fields are cached."""
    told = set()
    with tcp(server) as wire:
        for mark in ("mark-a", "mark-b", "mark-c", "mark-d", "mark-e"):
            fields = ("X-Twice: one", f"Cookie: d={mark}", "X-Twice: two")
            body = wire.send(get(f"/dump/%41{mark}?b={mark}", *fields)).answer().body.decode()
            assert body.count(mark) >= 3
            told.add(body.replace(mark, "mark"))
    assert len(told) == 1


def test_changes_of_an_app_to_a_request_are_not_in_the_next_one(server: Server) -> None:
    with tcp(server) as wire:
        for number in range(5):
            assert wire.send(get(f"/scribble?{number}")).answer().body == b"false"


def test_the_bytes_of_a_repeated_request_in_another_place_are_not_a_request(server: Server) -> None:
    """The bytes of a cached request may arrive where they are a part of another one."""
    request = get("/told/1")
    with tcp(server) as wire:
        for _ in range(4):
            assert wire.send(request).answer().body == b"1"
        wire.send(request[:1])
        wait_until_read(wire)
        wire.send(request[1:] + request[:2])
        assert wire.answer().body == b"1"
        wire.send(request[2:])
        assert wire.answer().body == b"1"
        # In a body the bytes are data, with the head or behind it.
        wire.send(get("/size", f"Content-Length: {2 * len(request)}", method="POST"))
        wait_until_read(wire)
        wire.send(request)
        wait_until_read(wire)
        wire.send(request)
        assert wire.answer().body == b"%d" % (2 * len(request))
        # Behind a part of a method the bytes are a part of a bad request.
        wire.send(b"G")
        wait_until_read(wire)
        wire.send(request)
        assert wire.answer().status in (400, 501)


def wait_until_read(wire: RawConnection) -> None:
    """Wait until the server has read all that was sent, so that the next piece arrives alone."""
    port = wire.socket.getpeername()[1]
    ours = wire.socket.getsockname()[1]

    def read() -> bool:
        queue = re.findall(
            rf"^ *\d+: \w+:{port:04X} \w+:{ours:04X} 01 \w+:(\w+) ",
            Path("/proc/net/tcp").read_text(),
            re.M,
        )
        return [int(bytes_, 16) for bytes_ in queue] == [0]

    wait_for(read, "the server reads")


def test_requests_sent_at_once_are_answered_in_their_order(server: Server) -> None:
    numbers = range(300)
    with tcp(server) as wire:
        wire.send(*(get(f"/told/{number}") for number in numbers))
        assert [wire.answer().body for _ in numbers] == [b"%d" % number for number in numbers]


def test_ignored_upgrades_sent_at_once_are_answered_in_their_order(server: Server) -> None:
    """The parser stops behind each of them, so it is resumed thousands of times."""
    numbers = range(3000)
    with tcp(server) as wire:
        upgrade = ("Connection: Upgrade", "Upgrade: x")
        wire.send(*(get(f"/told/{number}", *upgrade) for number in numbers))
        assert [wire.answer().body for _ in numbers] == [b"%d" % number for number in numbers]


def test_different_requests_sent_at_once_are_answered_in_their_order(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(
            get("/told/first"),
            post("/echo", b"second"),
            get("/hello", method="HEAD"),
            get("/stream"),
            get("/echo", CHUNKED, method="POST") + chunked(b"fif", b"th"),
            get("/status/204"),
            get("/told/last", "Connection: close"),
            get("/told/never"),
        )
        bodies = [wire.answer().body, wire.answer().body, wire.answer("HEAD").body]
        bodies += [wire.answer().body for _ in range(4)]
        assert bodies == [b"first", b"second", b"", b"onetwothree", b"fifth", b"", b"last"]
        assert wire.ends_cleanly()


def test_a_slow_request_is_not_overtaken_by_the_next_on_its_connection(
    server: Server, kind: str
) -> None:
    skip_inline_wsgi(kind)
    with tcp(server) as wire:
        wire.send(get("/hold/slow"), get("/told/fast"), get("/told/faster"))
        open_gate(server, "slow")
        assert [wire.answer().body for _ in range(3)] == [b"slow", b"fast", b"faster"]


def test_a_slow_request_does_not_hold_up_other_connections(server: Server, kind: str) -> None:
    skip_inline_wsgi(kind)
    with tcp(server) as slow, tcp(server) as fast:
        slow.send(get("/hold/alone"))
        assert fast.send(get("/told/fast")).answer().body == b"fast"
        open_gate(server, "alone")
        assert slow.answer().body == b"alone"


def test_http_1_0_closes_unless_it_is_asked_to_keep_alive(server: Server) -> None:
    with tcp(server) as wire:
        answer = wire.send(get("/hello", version="1.0")).answer()
        assert (answer.body, answer.closes) == (b"hello", True)
        assert wire.ends_cleanly()
    with tcp(server) as wire:
        for _ in range(2):
            answer = wire.send(get("/hello", "Connection: keep-alive", version="1.0")).answer()
            assert (answer.body, answer.get("connection")) == (b"hello", "keep-alive")


def test_client_and_app_may_end_the_connection(server: Server) -> None:
    for request in (get("/hello", "Connection: close"), get("/close")):
        with tcp(server) as wire:
            assert wire.send(request).answer().closes
            assert wire.ends_cleanly()


# Framing.


def test_a_response_of_known_length_has_content_length(server: Server) -> None:
    for target, body in (("/hello", b"hello"), ("/sized", b"onetwosix")):
        answer = ask(server, get(target))
        assert (answer.get("content-length"), answer.body) == (str(len(body)), body)


def test_a_response_of_unknown_length_is_chunked(server: Server) -> None:
    with tcp(server) as wire:
        answer = wire.send(get("/stream")).answer()
        assert answer.get("transfer-encoding") == "chunked"
        assert answer.body == b"onetwothree"
        assert wire.send(get("/hello")).answer().body == b"hello"


def test_a_response_of_unknown_length_ends_with_the_connection_in_http_1_0(server: Server) -> None:
    with tcp(server) as wire:
        answer = wire.send(get("/stream", "Connection: keep-alive", version="1.0")).answer()
        assert answer.closes
        assert answer.get("transfer-encoding") is None
        assert answer.body == b"onetwothree"


@pytest.mark.parametrize("target", ["/hello", "/sized", "/stream", "/status/404"])
def test_head_gets_the_fields_of_get_and_no_body(server: Server, target: str) -> None:
    framing = ("content-length", "transfer-encoding", "content-type")
    with tcp(server) as wire:
        full = wire.send(get(target)).answer()
        bare = wire.send(get(target, method="HEAD")).answer("HEAD")
        assert bare.status == full.status
        if bare.get("content-length") or bare.get("transfer-encoding"):
            assert [bare.get(name) for name in framing] == [full.get(name) for name in framing]
        assert wire.send(get("/hello")).answer().body == b"hello"


def test_the_response_to_head_has_content_length(server: Server) -> None:
    assert ask(server, get("/hello", method="HEAD"), "HEAD").get("content-length") == "5"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_status_without_a_body_has_no_framing_either(
    server: Server, status: int, version: str
) -> None:
    request = get(f"/status/{status}", "Connection: keep-alive", version=version)
    with tcp(server) as wire:
        for _ in range(2):
            answer = wire.send(request).answer()
            assert (answer.status, answer.get("x-status")) == (status, str(status))
            assert answer.get("content-length") is None
            assert answer.get("transfer-encoding") is None
            assert not answer.closes


def test_an_empty_response_has_the_length_zero(server: Server) -> None:
    with tcp(server) as wire:
        for _ in range(2):
            answer = wire.send(post("/echo", b"")).answer()
            assert answer.body == b""
        assert wire.send(get("/told/")).answer().get("content-length") == "0"


def test_fields_of_the_app_are_sent_as_they_are_except_hop_by_hop_fields(server: Server) -> None:
    answer = ask(server, get("/own"))
    assert answer.status == 299
    assert answer.get("date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert answer.get("server") == "mine"
    assert answer.get("keep-alive") is None
    assert [value for name, value in answer.fields if name == "x-twice"] == ["a", "b"]


def test_the_first_piece_of_a_response_does_not_wait_for_the_second(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/half/pieces"))
        assert wire.head().get("transfer-encoding") == "chunked"
        assert wire.read_exactly(8) == b"3\r\nnow\r\n"
        open_gate(server, "pieces")
        assert wire.read_exactly(14) == b"4\r\nthen\r\n0\r\n\r\n"


# Bodies of requests.


@pytest.mark.parametrize("size", [1, 65536, 300_000, 4_000_000])
def test_a_body_is_echoed_as_it_was_sent(server: Server, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    pieces = [body[start : start + 50_000] for start in range(0, size, 50_000)]
    assert ask(server, post("/echo", body)).body == body
    request = get("/echo", CHUNKED, method="POST") + chunked(*pieces)
    assert ask(server, request).body == body


def test_a_body_is_echoed_while_it_is_being_sent(server: Server, kind: str) -> None:
    if kind != "asgi":
        pytest.skip("WSGI gets its body whole")
    with tcp(server) as wire:
        wire.send(get("/echo", CHUNKED, method="POST"))
        wire.send(b"3\r\none\r\n")
        assert wire.head().status == 200
        assert wire.read_exactly(8) == b"3\r\none\r\n"
        wire.send(b"3\r\ntwo\r\n")
        assert wire.read_exactly(8) == b"3\r\ntwo\r\n"
        wire.send(b"0\r\n\r\n")
        assert wire.read_exactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("framing", ["Content-Length: 5", CHUNKED])
def test_a_client_that_waits_for_100_continue_gets_it(server: Server, framing: str) -> None:
    body = b"hello" if "Length" in framing else chunked(b"hello")
    with tcp(server) as wire:
        for _ in range(2):
            wire.send(get("/echo", "Expect: 100-continue", framing, method="POST"))
            assert wire.read_exactly(len(CONTINUE)) == CONTINUE
            wire.send(body)
            assert wire.answer().body == b"hello"


def test_100_continue_waits_for_the_requests_before(server: Server) -> None:
    expecting = get("/echo", "Expect: 100-continue", "Content-Length: 5", method="POST")
    with tcp(server) as wire:
        wire.send(get("/told/first"), expecting)
        assert wire.answer().body == b"first"
        assert wire.read_exactly(len(CONTINUE)) == CONTINUE
        assert wire.send(b"hello").answer().body == b"hello"


def test_100_continue_is_not_sent_for_a_refused_request(server: Server) -> None:
    for status, fields in (
        (413, ("Expect: 100-continue", "Content-Length: 17000000")),
        (417, ("Expect: gold", "Content-Length: 5")),
    ):
        with tcp(server) as wire:
            wire.send(get("/echo", *fields, method="POST"))
            assert wire.head().status == status


def test_100_continue_is_not_sent_if_the_app_does_not_want_the_body(
    server: Server, kind: str
) -> None:
    if kind != "asgi":
        pytest.skip("WSGI gets its body whole")
    with tcp(server) as wire:
        wire.send(get("/ignore", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        answer = wire.head()
        assert (answer.status, answer.closes) == (200, True)
        assert wire.read_to_end() == b"ignored"


def test_a_response_survives_a_body_that_the_app_does_not_read(server: Server, kind: str) -> None:
    if kind != "asgi":
        pytest.skip("WSGI gets its body whole")
    with tcp(server) as wire:
        wire.send(post("/ignore", b"x" * 4_000_000))
        answer = wire.answer()
        assert (answer.body, answer.closes) == (b"ignored", True)
        assert wire.ends_cleanly()


def test_a_body_that_the_app_does_not_read_does_not_spoil_the_next_request(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(post("/hello", b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"))
        answer = wire.answer()
        assert answer.body == b"hello"
        if answer.closes:
            assert wire.ends_cleanly()
        else:
            assert wire.send(get("/told/next")).answer().body == b"next"


# Names.


def test_a_name_with_an_underscore_cannot_pose_as_one_with_a_dash(
    server: Server, kind: str
) -> None:
    if kind == "asgi":
        pytest.skip("ASGI has the names as they were sent")
    fields = ("X_User: evil", "X-User: good", "Content_Length: 5", "Content-Type: a/b")
    fields += ("X-Forwarded-Client_Cert: evil",)
    dump = ask(server, get("/dump", *fields)).body.decode()
    assert '"HTTP_X_USER": "good"' in dump
    assert '"CONTENT_TYPE": "a/b"' in dump
    assert "evil" not in dump
    assert "CONTENT_LENGTH" not in dump


# Clients that leave.


def test_a_half_closed_client_gets_its_responses(server: Server, kind: str) -> None:
    if kind == "asgi":
        pytest.skip("to an ASGI app it is a disconnect")
    with tcp(server) as wire:
        wire.send(get("/told/one"), get("/stream"), post("/echo", b"three")).shut_down_writing()
        assert [wire.answer().body for _ in range(3)] == [b"one", b"onetwothree", b"three"]
        assert wire.ends_cleanly()


def test_a_half_closed_client_gets_a_response_that_takes_time(server: Server, kind: str) -> None:
    if kind != "threads":
        pytest.skip("needs a second thread to be let go")
    with tcp(server) as wire:
        wire.send(get("/hold/half-closed")).shut_down_writing()
        open_gate(server, "half-closed")
        answer = wire.answer()
        assert (answer.body, answer.closes) == (b"half-closed", True)
        assert wire.ends_cleanly()


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"GET /told/x HT",
        get("/told/x")[:-2],
        post("/size", b"x" * 1000)[:-1],
        post("/size", b"x" * 400_000)[:-1],
        get("/size", CHUNKED, method="POST") + b"5\r\nhel",
        get("/hello") + b"GET /",
        get("/hello", method="HEAD") * 20,
    ],
    ids=["nothing", "line", "head", "body", "spooled", "chunk", "second", "answers"],
)
@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_a_client_may_leave_in_the_middle_of_anything(
    server: Server, part: bytes, how: str
) -> None:
    (worker,) = server.workers()
    assert (
        ask(server, get("/told/first")).body == b"first"
    )  # files that are opened once are open now
    before = worker.num_fds()
    with tcp(server) as wire:
        wire.send(part)
        if how == "reset":
            wire.reset()
        elif how == "half-close":
            wire.shut_down_writing()
            with contextlib.suppress(CutOffError):
                wire.read_to_end()
    assert ask(server, get("/told/next")).body == b"next"
    assert [each.pid for each in server.workers()] == [worker.pid]
    wait_for(lambda: worker.num_fds() <= before, "the worker has closed its side as well")


def test_an_app_stops_producing_for_a_client_that_left(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/endless/left"))
        wire.read_exactly(100_000)
        wire.reset()
    wait_for(lambda: "closed left" in events(server), "the app's response is closed")


def test_a_client_that_leaves_during_a_pause_closes_the_response(server: Server, kind: str) -> None:
    if kind == "asgi":
        pytest.skip("ASGI has http.disconnect")
    with tcp(server) as wire:
        wire.send(get("/half/never"))
        wire.head()
        wire.read_exactly(8)
        wire.reset()
    wait_for(lambda: "closed never" in events(server), "the app's response is closed")


def test_a_head_of_an_endless_response_ends_with_its_client(tmp_path: Path, kind: str) -> None:
    """The body is not sent, so no full buffer ever makes the app wait."""
    with serving_app(kind, tmp_path, "--timeout", "5s") as server:
        with tcp(server) as wire:
            head = wire.send(get("/endless/bodiless", method="HEAD")).answer("HEAD")
            assert head.status == 200
            assert ask(server, get("/hello")).body == b"hello"
            wire.reset()
        wait_for(lambda: "closed bodiless" in events(server), "the app's response is closed")


def test_a_client_that_leaves_is_not_logged_as_a_failure(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/endless/quiet"))
        wire.read_exactly(100_000)
        wire.reset()
    wait_for(lambda: "closed quiet" in events(server), "the app's response is closed")
    assert ask(server, get("/hello")).status == 200
    assert "the app failed on GET /endless" not in server.log


def test_a_response_to_a_client_that_left_is_not_logged_as_a_failure(
    server: Server, kind: str
) -> None:
    skip_inline_wsgi(kind)
    with tcp(server) as wire:
        wire.send(get("/hold/gone"), get("/told/never"), post("/echo", b"x" * 300_000))
        wire.reset()
    open_gate(server, "gone")
    assert ask(server, get("/hello")).body == b"hello"
    assert "failed on GET /hold" not in server.log


def test_a_client_that_reads_at_full_speed_does_not_starve_the_others(server: Server) -> None:
    with tcp(server) as greedy, tcp(server) as modest:
        greedy.send(get("/endless/greedy"))
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                greedy.read_and_discard(1 << 20)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for _ in range(20):
                assert modest.send(get("/hello")).answer().body == b"hello"
        finally:
            done.set()
            reader.join()


def test_small_responses_are_not_delayed(server: Server) -> None:
    """Nagle's algorithm and a delayed acknowledgement would delay each response by 40 ms."""
    with tcp(server) as wire:
        assert wire.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for _ in range(2):
            wire.send(get("/stream")).answer()
