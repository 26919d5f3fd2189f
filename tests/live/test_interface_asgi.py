"""ASGI: the http scope and its events, and lifespan."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import CutOffError, ask, get, post, tcp, unix
from tests.live.web_apps import events, open_gate, serving_app


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[Server]:
    with serving_app("asgi", tmp_path_factory.mktemp("asgi")) as server:
        yield server


# The scope.


def test_a_scope_describes_the_request(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/dump/caf%C3%A9%2F/%ff?a=%20b", "X-One: 1", "x-one: 2", "X_Under: 3"))
        scope = json.loads(wire.answer().body)
        client = list(wire.socket.getsockname())
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": scope["asgi"]["spec_version"]},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/dump/café//\ufffd",
        "raw_path": "/dump/caf%C3%A9%2F/%ff",
        "query_string": "a=%20b",
        "root_path": "",
        "headers": [["host", "test"], ["x-one", "1"], ["x-one", "2"]],
        "client": client,
        "server": ["127.0.0.1", server.port],
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
        },
    }
    assert scope["asgi"]["spec_version"] == "2.5"


def test_a_scope_tells_the_version_of_http(server: Server) -> None:
    with tcp(server) as wire:
        for version in ("1.0", "1.1"):
            request = get("/dump", "Connection: keep-alive", version=version)
            assert json.loads(wire.send(request).answer().body)["http_version"] == version


def test_changes_to_a_scope_do_not_reach_the_next_request(server: Server) -> None:
    with tcp(server) as wire:
        for _ in range(2):
            assert json.loads(wire.send(get("/scribble")).answer().body) is False


def test_a_unix_socket_is_a_server_with_a_path(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving_app("asgi", tmp_path, "-b", f"unix:{path}"), unix(path) as wire:
        scope = json.loads(wire.send(get("/dump")).answer().body)
    assert (scope["server"], scope["client"]) == ([str(path), None], None)


# Events of a request.


def test_a_client_that_leaves_causes_a_disconnect_and_sending_raises_oserror(
    server: Server,
) -> None:
    with tcp(server) as wire:
        wire.send(get("/left/one"))
        wait_for(lambda: "http.request one" in events(server), "the app has begun")
        wire.reset()
    expected = ["http.request one", "http.disconnect one", "OSError one"]
    wait_for(lambda: events_of(server, "one") == expected, "the app has noticed")


def test_a_client_that_half_closes_causes_a_disconnect(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/left/two"))
        wait_for(lambda: "http.request two" in events(server), "the app has begun")
        wire.shut_down_writing()
        wait_for(lambda: "http.disconnect two" in events(server), "the app has noticed")


def test_a_client_that_leaves_in_its_body_causes_a_disconnect(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(post("/left/three", b"hello")[:-1])
        wait_for(lambda: "http.request three" in events(server), "the app has begun")
        wire.reset()
    wait_for(lambda: events_of(server, "three")[-1] == "OSError three", "the app has noticed")
    assert events_of(server, "three")[-2] == "http.disconnect three"


def test_after_the_answer_receive_returns_a_disconnect(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/twice/four")).answer().body == b"done"
        wait_for(lambda: len(events_of(server, "four")) == 3, "the app has got its events")
        assert events_of(server, "four") == ["http.disconnect four"] * 3
        assert wire.send(get("/hello")).answer().status == 200


def test_after_the_answer_an_unread_body_is_replaced_by_a_disconnect(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(post("/twice/read", b"hello")).answer().body == b"done"
        wait_for(lambda: len(events_of(server, "read")) == 3, "the app has got its events")
        assert events_of(server, "read") == ["http.disconnect read"] * 3
        # And of one that has not all come.
        wire.send(post("/twice/half", b"hello" * 4000)[:-1])
        assert wire.answer().body == b"done"
        wait_for(lambda: len(events_of(server, "half")) == 3, "the app has got its events")
        assert events_of(server, "half") == ["http.disconnect half"] * 3


def test_a_task_that_reads_the_body_gets_a_disconnect_after_the_answer(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(post("/reads_beside/beside", b"hello")[:-1])
        assert wire.answer().body == b"done"
        assert wire.ends_cleanly()
    expected = ["http.request beside", "http.disconnect beside"]
    wait_for(lambda: events_of(server, "beside") == expected, "the other task has got its events")


def events_of(server: Server, name: str) -> list[str]:
    return [event for event in events(server) if event.endswith(f" {name}")]


def test_an_app_whose_client_left_has_not_failed(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/left/five"))
        wait_for(lambda: "http.request five" in events(server), "the app has begun")
        wire.reset()
    wait_for(lambda: "OSError five" in events(server), "the app has noticed")
    assert ask(server, get("/hello")).status == 200
    assert "failed on GET /left" not in server.log


def test_a_broken_body_is_a_disconnect_for_its_app_and_a_400_for_its_client(
    server: Server,
) -> None:
    chunked = get("/left/six", "Transfer-Encoding: chunked", method="POST")
    with tcp(server) as wire:
        wire.send(chunked + b"5\r\nhello\r\n")
        wait_for(lambda: "http.request six" in events(server), "the app has begun")
        answer = wire.send(b"nonsense\r\n").answer()
        assert (answer.status, answer.closes) == (400, True)
    wait_for(lambda: "http.disconnect six" in events(server), "the app has noticed")


def test_a_broken_body_cuts_off_a_response_that_has_begun(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/echo", "Transfer-Encoding: chunked", method="POST"), b"5\r\nhello\r\n")
        assert wire.head().status == 200
        assert wire.read_exactly(10) == b"5\r\nhello\r\n"
        wire.send(b"nonsense\r\n")
        with pytest.raises(CutOffError):
            wire.read_exactly(1)


def test_headers_may_come_in_any_kind_of_iterable(server: Server) -> None:
    answer = ask(server, get("/iterables"))
    assert (answer.get("x-list"), answer.get("x-tuple")) == ("a", "b")


def test_many_requests_wait_at_once(server: Server) -> None:
    wires = [tcp(server) for _ in range(100)]
    try:
        for wire in wires:
            wire.send(get("/hold/many"))
        open_gate(server, "many")
        assert [wire.answer().body for wire in wires] == [b"many"] * 100
    finally:
        for wire in wires:
            wire.socket.close()


def test_names_of_headers_are_sent_in_small_letters(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/own", "Connection: close"))
        assert b"\r\nserver: mine\r\n" in wire.read_to_end()


def test_events_after_the_end_are_ignored(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/after_all/seven")).answer().body == b"all"
        wait_for(lambda: "sent seven" in events(server), "the app has gone on")
        assert wire.send(get("/hello")).answer().body == b"hello"
    assert "failed on GET /after_all" not in server.log


# Extensions.


def test_early_hints_come_before_the_answer(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/hints"))
        first, second = wire.head(), wire.head()
        assert (first.status, second.status) == (103, 103)
        assert first.fields == [("link", "</a.css>; rel=preload"), ("link", "</b>")]
        assert second.fields == [("link", "</c>")]
        assert wire.answer().body == b"body"
        assert wire.send(get("/hints", version="1.0")).head().status == 200


@pytest.mark.parametrize("kind", ["bytes", "text"])
def test_hints_cannot_be_forged(server: Server, kind: str) -> None:
    assert ask(server, get(f"/bad_hints/{kind}")).status == 500


@pytest.mark.parametrize("name", ["plain", "sized"])
def test_trailers_follow_the_body(server: Server, name: str) -> None:
    with tcp(server) as wire:
        answer = wire.send(get(f"/trailers/{name}", "TE: deflate, Trailers")).answer()
        assert answer.get("transfer-encoding") == "chunked"
        assert answer.body == (b"one" if name == "sized" else b"onetwo")
        # Those that were announced, and that do not frame the message.
        assert answer.trailers == [("x-sum", "6"), ("x-more", "yes")]
        assert wire.send(get("/hello")).answer().status == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_did_not_ask_for_trailers_gets_none(server: Server, version: str) -> None:
    fields = ("TE: trailers" if version == "1.0" else "TE: deflate", "Connection: keep-alive")
    with tcp(server) as wire:
        answer = wire.send(get("/trailers/sized", *fields, version=version)).answer()
        assert (answer.get("content-length"), answer.body, answer.trailers) == ("3", b"one", [])
        answer = wire.send(get("/trailers/x", "TE: trailers", method="HEAD")).answer("HEAD")
        assert answer.trailers == []
        assert wire.send(get("/hello")).answer().status == 200
    wait_for(lambda: "sent sized" in events(server), "its trailers are ignored")


@pytest.mark.parametrize("name", ["missing", "unannounced"])
def test_trailers_are_announced_and_sent_or_the_answer_is_cut_off(
    server: Server, name: str
) -> None:
    with tcp(server) as wire:
        assert wire.send(get(f"/no_trailers/{name}", "TE: trailers")).is_cut()


# Lifespan.


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


def lifespan(app: str, record: Path, *more: str) -> tuple[str, ...]:
    """The arguments to serve one of the apps in lifespans."""
    return (f"lifespans:{app}", "--pythonpath", str(APPS), "-e", f"RECORD={record}", *more)


def notes(record: Path) -> list[str]:
    return record.read_text().split() if record.exists() else []


def test_an_app_starts_up_before_and_shuts_down_after_all_requests(
    tmp_path: Path, record: Path
) -> None:
    with serving(tmp_path, *lifespan("app", record)) as server:
        assert notes(record) == ["startup"]
        assert ask(server, get("/")).status == 200
        assert notes(record) == ["startup"]
        assert server.stop() == 0
        assert notes(record) == ["startup", "shutdown", "end"]


def test_each_request_has_a_copy_of_the_state_that_shares_what_is_in_it(
    tmp_path: Path, record: Path
) -> None:
    with serving(tmp_path, *lifespan("app", record)) as server, tcp(server) as wire:
        for number in (1, 2, 3):
            answer = wire.send(get(f"/{number}")).answer()
            assert answer.body == b"['made at startup'] {'shared': %d}" % number


def test_a_worker_is_ready_when_its_app_has_started_up(tmp_path: Path, record: Path) -> None:
    arguments = lifespan("slow", record)
    server = Server("-b", "127.0.0.1:0", *arguments, cwd=tmp_path)
    try:
        wait_for(lambda: notes(record) == ["starting"], "the app starts up")
        with tcp(server) as wire:
            wire.send(get("/"))
            assert "ready in" not in server.log
            record.with_suffix(".go").touch()
            # The connection waited in the kernel's queue until the worker was ready.
            assert wire.answer().body == b"slow"
        server.ready()
        assert notes(record) == ["starting", "started"]
    finally:
        server.destroy()


def test_background_work_ends_before_the_app_shuts_down(tmp_path: Path, record: Path) -> None:
    with serving(tmp_path, *lifespan("app", record)) as server:
        assert ask(server, get("/background")).status == 200
        server.send(signal.SIGTERM)
        server.wait_log("stopping")
        record.with_suffix(".go").touch()
        assert server.wait_exit() == 0
        assert notes(record) == ["startup", "background", "shutdown", "end"]


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("fails", "the database is away"),
        ("fails_silently", "the app gave no reason"),
        ("raises", "LookupError: the database is away"),
        ("exits", "SystemExit: the database is away"),
        ("talks_nonsense", "lifespan.startup.whatever"),
    ],
)
def test_an_app_that_cannot_start_up_ends_the_server_with_102(
    tmp_path: Path, record: Path, app: str, words: str
) -> None:
    server = Server("-b", "127.0.0.1:0", *lifespan(app, record), cwd=tmp_path)
    try:
        assert server.wait_exit() == 102
        assert words in server.log
        assert "lifespan" in server.log
        if app == "raises":
            assert "Traceback (most recent call last):" in server.log
            assert f'lifespans.py", line {line_of("raise LookupError")}, in raises' in server.log
    finally:
        server.destroy()


def line_of(text: str) -> int:
    lines = (APPS / "lifespans.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize(("app", "body"), [("refuses", b"False"), ("ignores", b"ignored")])
def test_an_app_without_lifespan_is_served_without_complaint(
    tmp_path: Path, record: Path, app: str, body: bytes
) -> None:
    with serving(tmp_path, *lifespan(app, record)) as server:
        assert ask(server, get("/")).body == body
        assert server.stop() == 0
        assert not server.count("Traceback|ERROR|WARNING")


def test_an_app_whose_lifespan_ends_early_stays_in_service(tmp_path: Path, record: Path) -> None:
    with serving(tmp_path, *lifespan("dies_later", record)) as server:
        assert ask(server, get("/")).body == b"alive"
        server.wait_log("LookupError: died later")
        assert server.stop() == 0


@pytest.mark.parametrize("app", ["shutdown_raises", "shutdown_fails"])
def test_a_failed_lifespan_shutdown_is_logged(tmp_path: Path, record: Path, app: str) -> None:
    with serving(tmp_path, *lifespan(app, record)) as server:
        assert server.stop() == 0
        server.wait_log("lifespan shutdown failed")
        server.wait_log("cannot say goodbye")
