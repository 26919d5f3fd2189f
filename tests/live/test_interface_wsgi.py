"""WSGI as PEP 3333 specifies it, in the loop's thread and in a pool of threads."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import APPS, PATIENCE, Server, serving, wait_for
from tests.live.raw_client import RawConnection, ask, chunked, get, post, tcp, unix
from tests.live.web_apps import lazy_servers, open_gate, serving_app

THREADS = {"inline": (), "threads": ("--threads", "2")}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(name: str) -> AbstractContextManager[Server]:
        app, kind = name.split()
        arguments = ("--pythonpath", str(APPS), "--interface", "wsgi", *THREADS[kind])
        return serving(tmp_path_factory.mktemp("wsgi"), app, *arguments)

    with lazy_servers(start) as made:
        yield made


@pytest.fixture(params=list(THREADS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(servers: Callable[[str], Server], kind: str) -> Server:
    return servers(f"pep3333:app {kind}")


@pytest.fixture
def validated(servers: Callable[[str], Server], kind: str) -> Server:
    return servers(f"pep3333:valid {kind}")


def body(server: Server, target: str) -> bytes:
    return ask(server, get(target)).body


def closings(server: Server, name: str) -> int:
    return int(json.loads(body(server, "/what_was_closed")).count(name))


WAITS_AT_IMPORT = """\
import asyncio, os, sys, time
print("imports", file=sys.stderr, flush=True)
while not os.path.exists("gate"):
    time.sleep(0.01)
def app(environ, start_response):
    start_response("200 OK", [])
    try:
        return [str(asyncio.get_running_loop()).encode()]
    except RuntimeError:
        return [b"hidden"]
"""


def test_no_request_sees_the_running_loop_of_the_worker(tmp_path: Path) -> None:
    """Not even those that waited while the worker started: it looks for them in its first step."""
    (tmp_path / "waits.py").write_text(WAITS_AT_IMPORT)
    server = Server("-b", "127.0.0.1:0", "-w", "1", "waits:app", cwd=tmp_path)
    try:
        server.wait_log("^imports$")
        with ExitStack() as open_until_end:
            wires = [open_until_end.enter_context(tcp(server)).send(get("/")) for _ in range(8)]
            (tmp_path / "gate").touch()
            assert {wire.answer().body for wire in wires} == {b"hidden"}
    finally:
        server.destroy()


def test_the_validator_of_the_standard_library_finds_nothing(validated: Server) -> None:
    with tcp(validated) as wire:
        assert wire.send(get("/?a=b")).answer().body == b"valid"
        assert wire.send(get("/", version="1.0")).answer().body == b"valid"
    with tcp(validated) as wire:
        assert wire.send(post("/", b"and body")).answer().body == b"validand body"
        upload = get("/", "Transfer-Encoding: chunked", method="POST") + chunked(b"in", b"chunks")
        assert wire.send(upload).answer().body == b"validinchunks"
        assert wire.send(post("/", b"x" * 500_000)).answer().body == b"valid" + b"x" * 500_000
        assert wire.send(get("/", method="HEAD")).answer("HEAD").get("content-length") == "5"
        assert wire.send(get("/stream")).answer().body == b"onetwo"
        assert wire.send(get("/stream", method="HEAD")).answer("HEAD").status == 200
        assert wire.send(get("/nothing")).answer().status == 204
        assert wire.send(get("/write")).answer().body == b"written and returned"
    assert "AssertionError" not in validated.log
    assert "garbage collected" not in validated.log


def test_written_data_comes_before_returned_data(server: Server) -> None:
    assert body(server, "/writes") == b"one two three"
    assert body(server, "/writes_then_yields") == b"one two three four"
    answer = ask(server, get("/only_writes"))
    assert (answer.get("content-length"), answer.body) == ("3", b"all")


def test_an_app_may_be_a_generator(server: Server) -> None:
    answer = ask(server, get("/generator"))
    assert (answer.status, answer.get("x-lazy"), answer.body) == (202, "yes", b"one two")


def test_empty_pieces_do_not_end_a_response(server: Server) -> None:
    assert body(server, "/empty_pieces") == b"one two"
    assert body(server, "/a_tuple") == b"one two"


def test_a_response_may_be_empty(server: Server) -> None:
    with tcp(server) as wire:
        for target in ("/no_pieces", "/only_empty_pieces"):
            answer = wire.send(get(target)).answer()
            assert (answer.status, answer.get("content-length")) == (200, "0")


def test_a_response_can_be_replaced_until_its_first_byte_is_sent(server: Server) -> None:
    answer = ask(server, get("/second_thoughts"))
    assert (answer.status, answer.reason, answer.body) == (503, "Sorry", b"sorry")
    assert (answer.get("x-first"), answer.get("x-second")) == (None, "yes")
    assert ask(server, get("/late_second_thoughts")).status == 503


@pytest.mark.parametrize("query", ["", "?header"])
def test_a_response_that_could_not_begin_can_be_replaced(
    server: Server, kind: str, query: str
) -> None:
    answer = ask(server, get(f"/replaced_after_a_bad_write{query}"))
    # In a thread the error is found when the app has already gone on.
    body = b"500 Internal Server Error\n" if kind == "threads" else b"sorry"
    assert (answer.status, answer.body) == (500 if kind == "threads" else 503, body)
    assert answer.get("x-bad") is None


def test_a_response_cannot_be_replaced_when_bytes_were_sent(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/replaced_too_late")).is_cut()
    server.wait_log("ValueError: too late")


def test_a_response_of_known_length_may_come_in_pieces(server: Server) -> None:
    with tcp(server) as wire:
        for number in range(3):
            answer = wire.send(get(f"/several?several-{number}")).answer()
            assert (answer.get("content-length"), answer.body) == ("7", b"one two")
            wait_for(lambda n=number: closings(server, f"several-{n}") == 1, "it is closed")


def test_a_call_has_a_context_of_its_own_from_beginning_to_end(server: Server) -> None:
    with tcp(server) as wire:
        for _ in range(3):
            assert wire.send(get("/in_one_context")).answer().body == b"nowhere here"
            assert wire.send(get("/sets_a_context")).answer().body == b"nowhere"


def test_early_hints_come_before_the_answer(server: Server) -> None:
    with tcp(server) as wire:
        # Twice, because the second request of a connection finds much prepared.
        for _ in range(2):
            wire.send(get("/hints"))
            first, second = wire.head(), wire.head()
            assert (first.status, second.status) == (103, 103)
            assert first.fields == [
                ("link", "</a.css>; rel=preload"),
                ("link", "</b.js>; rel=preload"),
            ]
            assert second.fields == [("x-hint", "a list")]
            assert wire.answer().body == b"body and more"


def test_an_http_1_0_client_gets_no_hints(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/hints", version="1.0")).head().status == 200


def test_hints_cannot_be_forged(server: Server) -> None:
    assert b"characters that HTTP does not allow" in body(server, "/bad_hints")


def test_the_app_chooses_the_reason_phrase(server: Server) -> None:
    assert ask(server, get("/reason")).reason == "Tr\xe8s bien"
    assert ask(server, get("/no_reason")).reason == ""


@pytest.mark.parametrize("target", ["/closing", "/closing_sized"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_iterable_is_closed_once_when_it_is_over(
    server: Server, target: str, method: str
) -> None:
    name = f"{target}-{method}"
    with tcp(server) as wire:
        wire.send(get(f"{target}?{name}", method=method))
        assert wire.answer(method).body == (b"one two" if method == "GET" else b"")
    wait_for(lambda: closings(server, name), "it is closed")
    assert closings(server, name) == 1


def test_a_list_that_can_be_closed_is_closed(server: Server) -> None:
    assert body(server, "/closing_list") == b"one"
    wait_for(lambda: closings(server, "closing_list"), "it is closed")


def test_an_iterable_is_closed_when_the_client_leaves(server: Server) -> None:
    with tcp(server) as wire:
        wire.send(get("/closing_endless?left"))
        wire.read_exactly(100_000)
        wire.reset()
    wait_for(lambda: closings(server, "left"), "it is closed")
    assert closings(server, "left") == 1


@pytest.mark.parametrize("size", ["small", "spooled"])
def test_a_body_can_be_read_in_every_way(server: Server, size: str) -> None:
    tail = "x" * 300_000 if size == "spooled" else "end"
    lines = f"123456\nlonger line\n3\n4\n\nlast\n{tail}"
    # Three bytes, the rest of the line, four bytes, the rest of that line by iterating, …
    expected = ["123", "456\n", "long", "er line\n", "3\n", "", "4\n", "\n", "last\n", tail]
    expected += ["", "", ""]
    upload = get("/reads", "Transfer-Encoding: chunked", method="POST")
    for request in (post("/reads", lines.encode()), upload + chunked(lines.encode())):
        assert json.loads(ask(server, request).body) == expected


def test_a_missing_body_reads_as_empty(server: Server) -> None:
    upload = get("/reads_nothing", "Transfer-Encoding: chunked", method="POST")
    for request in (get("/reads_nothing"), post("/reads_nothing", b""), upload + chunked()):
        assert json.loads(ask(server, request).body) == ["", "", "", ""]


def test_wsgi_errors_writes_to_the_log(server: Server) -> None:
    assert body(server, "/errors") == b"done"
    server.wait_log("^a line for the log$")
    server.wait_log("^and another$")


def test_environ_describes_the_request(server: Server, kind: str) -> None:
    with tcp(server) as wire:
        wire.send(get("/describes?a=%20b", "X-A: b", "Content-Type: t/x"))
        environ = json.loads(wire.answer().body)
        host, port = wire.socket.getsockname()
    assert environ == {
        **environ,
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/describes",
        "QUERY_STRING": "a=%20b",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.port),
        "REMOTE_ADDR": host,
        "REMOTE_PORT": str(port),
        "HTTP_HOST": "test",
        "HTTP_X_A": "b",
        "CONTENT_TYPE": "t/x",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.multithread": kind == "threads",
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "type": "dict",
    }
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "CONTENT_LENGTH" not in environ


def test_environ_of_one_request_does_not_leak_into_the_next(server: Server) -> None:
    with tcp(server) as wire:
        for _ in range(3):
            environ = json.loads(wire.send(get("/describes")).answer().body)
            assert "HTTP_X_LEFT_BEHIND" not in environ
            assert environ["SCRIPT_NAME"] == ""


def test_a_path_is_bytes_in_latin_1(server: Server) -> None:
    environ = json.loads(body(server, "/describes/caf%C3%A9/%ff/%2F"))
    assert environ["PATH_INFO"] == "/describes/caf\xc3\xa9/\xff//"


def test_several_workers_are_multiprocess(tmp_path: Any) -> None:
    with serving(tmp_path, "pep3333:app", "--pythonpath", str(APPS), workers=2) as server:
        assert json.loads(body(server, "/describes"))["wsgi.multiprocess"] is True


def test_a_unix_socket_has_no_addresses(tmp_path: Any) -> None:
    path = tmp_path / "socket"
    arguments = ("-b", f"unix:{path}", "--pythonpath", str(APPS))
    with serving(tmp_path, "pep3333:app", *arguments), unix(path) as wire:
        environ = json.loads(wire.send(get("/describes")).answer().body)
    assert environ["REMOTE_ADDR"] == ""
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"]


def test_ipv6_addresses_are_told_without_brackets(tmp_path: Any) -> None:
    arguments = ("-b", "[::1]:0", "--pythonpath", str(APPS))
    with serving(tmp_path, "pep3333:app", *arguments) as server:
        port = int(server.wait_log(r"listening on .*\[::1\]:(\d+)")[1])
        with RawConnection(socket.create_connection(("::1", port), PATIENCE)) as wire:
            environ = json.loads(wire.send(get("/describes")).answer().body)
            client = str(wire.socket.getsockname()[1])
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("::1", str(port))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("::1", client)


def test_threads_run_at_once(tmp_path: Any) -> None:
    with (
        serving_app("threads", tmp_path, "--threads", "3") as server,
        tcp(server) as one,
        tcp(server) as two,
    ):
        one.send(get("/hold/one"))
        two.send(get("/hold/two"))
        open_gate(server, "two")
        assert two.answer().body == b"two"
        open_gate(server, "one")
        assert one.answer().body == b"one"
