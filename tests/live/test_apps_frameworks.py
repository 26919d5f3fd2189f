"""Applications of real frameworks, as their authors write them."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import ask, chunked, get, post, tcp
from tests.live.web_apps import lazy_servers

APPLICATIONS = {
    "flask": ("flask_hello:app",),
    "flask-threads": ("flask_hello:app", "--threads", "2"),
    "django-wsgi": ("django_hello:wsgi",),
    "django-threads": ("django_hello:wsgi", "--threads", "2"),
    "django-asgi": ("django_hello:asgi",),
    "fastapi": ("fastapi_hello:app",),
    "starlette": ("starlette_hello:app",),
    "quart": ("quart_hello:app",),
}
NO_HEAD = ("fastapi",)
"""Frameworks that do not answer HEAD by themselves."""

FILE = bytes(range(256)) * 8192


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> AbstractContextManager[Server]:
        app, *more = APPLICATIONS[kind]
        folder = tmp_path_factory.mktemp(kind)
        (folder / "file").write_bytes(FILE)
        arguments = ("--pythonpath", str(APPS), "-e", f"FILE={folder / 'file'}")
        return serving(folder, app, *arguments, *more)

    with lazy_servers(start) as made:
        yield made


@pytest.fixture(params=list(APPLICATIONS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(servers: Callable[[str], Server], kind: str) -> Server:
    return servers(kind)


def test_a_get_with_a_name_and_a_query(server: Server) -> None:
    with tcp(server) as wire:
        for name, escaped in (("World", "World"), ("Zoë & co", "Zo%C3%AB%20%26%20co")):
            answer = wire.send(get(f"/hello/{escaped}?greeting=how+are+y%C3%B6u")).answer()
            assert answer.status == 200
            assert answer.body.decode().strip('"') == f"Hello {name}, how are yöu!"


def test_a_post_of_json_of_known_and_of_unknown_length(server: Server, kind: str) -> None:
    body = json.dumps({"numbers": [1, 2, 3]} if kind == "fastapi" else [1, 2, 3]).encode()
    kind_of_body = "Content-Type: application/json"
    upload = get("/sum", kind_of_body, "Transfer-Encoding: chunked", method="POST")
    with tcp(server) as wire:
        for request in (post("/sum", body, kind_of_body), upload + chunked(body[:5], body[5:])):
            answer = wire.send(request).answer()
            assert (answer.status, json.loads(answer.body)) == (200, {"sum": 6})


def test_a_large_file_in_a_form(server: Server) -> None:
    start = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    body = start + b"x" * 5_000_000 + b"\r\n--XX--\r\n"
    request = post("/upload", body, "Content-Type: multipart/form-data; boundary=XX")
    assert ask(server, request).body == b"5000000"


def test_head_and_not_found(server: Server, kind: str) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/nowhere")).answer().status == 404
        answer = wire.send(get("/hello/x", method="HEAD")).answer("HEAD")
        assert answer.status == (405 if kind in NO_HEAD else 200)


def test_a_file_is_sent_whole_in_part_and_not_at_all(server: Server, kind: str) -> None:
    with tcp(server) as wire:
        answer = wire.send(get("/file")).answer()
        assert (answer.get("content-length"), answer.body) == (str(len(FILE)), FILE)
        if kind not in NO_HEAD:
            answer = wire.send(get("/file", method="HEAD")).answer("HEAD")
            assert answer.get("content-length") == str(len(FILE))
        if not kind.startswith(("django", "quart")):
            answer = wire.send(get("/file", "Range: bytes=5-9")).answer()
            assert (answer.status, answer.body) == (206, FILE[5:10])
            etag = answer.get("etag")
        if kind.startswith("flask"):
            assert wire.send(get("/file", f"If-None-Match: {etag}")).answer().status == 304
        assert wire.send(get("/file")).answer().body == FILE


def test_a_stream_of_unknown_length(server: Server) -> None:
    with tcp(server) as wire:
        answer = wire.send(get("/stream")).answer()
        assert (answer.get("transfer-encoding"), answer.body) == ("chunked", b"0 1 2 ")
        # Without chunks the end of the connection ends the body.
        assert wire.send(get("/stream", version="1.0")).answer().body == b"0 1 2 "


def test_a_bug_in_the_app_is_a_500_with_a_traceback(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/fails")).answer().status == 500
        assert wire.send(get("/hello/x")).answer().status == 200
    server.wait_log("LookupError: a bug in the app")


def test_background_tasks_run_after_the_response(servers: Callable[[str], Server]) -> None:
    for kind in ("fastapi", "starlette", "quart"):
        server = servers(kind)
        assert ask(server, post("/later/task", b"")).status == 200
        done = lambda s=server: b"task" in ask(s, get("/done")).body  # noqa: E731
        wait_for(done, f"the background task of {kind} is done")


def test_features_of_single_frameworks(servers: Callable[[str], Server]) -> None:
    for kind in ("django-wsgi", "django-threads", "django-asgi"):
        assert ask(servers(kind), get("/async")).body == b"async view"
    assert ask(servers("fastapi"), get("/plain")).body == b'"plain"'
    assert b"Swagger" in ask(servers("fastapi"), get("/docs")).body
    echo = get("/echo", "Transfer-Encoding: chunked", method="POST")
    assert ask(servers("starlette"), echo + chunked(b"a", b"b")).body == b"ab"
    assert b"startup" in ask(servers("quart"), get("/done")).body


def test_starlette_notices_that_its_client_left(servers: Callable[[str], Server]) -> None:
    server = servers("starlette")
    with tcp(server) as streaming, tcp(server) as uploading:
        streaming.send(get("/endless")).read_exactly(100_000)
        streaming.reset()
        uploading.send(post("/listen", b"all but the last byte")[:-1])
        wait_for(lambda: b"listening" in ask(server, get("/done")).body, "it listens")
        uploading.reset()

    def noticed() -> bool:
        done = ask(server, get("/done")).body
        return b"endless is closed" in done and b"disconnected" in done

    wait_for(noticed, "it has noticed")
    assert not server.count("the app failed on (GET /endless|POST /listen)")


def test_the_server_logged_no_warning(server: Server) -> None:
    assert not server.count("gone:|WARNING")
