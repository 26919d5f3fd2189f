"""Applications of real frameworks, as their authors write them."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.web import kept
from tests.live.wire import ask, chunked, get, post, tcp

APPLICATIONS = {
    "flask": ("flask_hello:app",),
    "flask-threads": ("flask_hello:app", "--threads", "2"),
    "django-wsgi": ("django_hello:wsgi",),
    "django-asgi": ("django_hello:asgi",),
    "fastapi": ("fastapi_hello:app",),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> AbstractContextManager[Server]:
        app, *more = APPLICATIONS[kind]
        return serving(tmp_path_factory.mktemp(kind), app, "--pythonpath", str(APPS), *more)

    with kept(start) as made:
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


def test_a_large_file_in_a_form(server: Server, kind: str) -> None:
    if kind == "fastapi":
        pytest.skip("it needs another package for forms")
    start = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    body = start + b"x" * 5_000_000 + b"\r\n--XX--\r\n"
    request = post("/upload", body, "Content-Type: multipart/form-data; boundary=XX")
    assert ask(server, request).body == b"5000000"


def test_head_and_not_found(server: Server, kind: str) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/nowhere")).answer().status == 404
        answer = wire.send(get("/hello/x", method="HEAD")).answer("HEAD")
        assert answer.status == (405 if kind == "fastapi" else 200)


def test_a_bug_in_the_app_is_a_500_with_a_traceback(server: Server) -> None:
    with tcp(server) as wire:
        assert wire.send(get("/fails")).answer().status == 500
        assert wire.send(get("/hello/x")).answer().status == 200
    server.wait_log("LookupError: a bug in the app")


def test_what_only_some_frameworks_have(server: Server, kind: str) -> None:
    if kind.startswith("django"):
        assert ask(server, get("/async")).body == b"async view"
    elif kind == "fastapi":
        assert ask(server, get("/plain")).body == b'"plain"'
        assert ask(server, get("/stream")).body == b"0 1 2 "
        assert ask(server, post("/later/task", b"")).status == 200
        wait_for(lambda: b"task" in ask(server, get("/done")).body, "the background task is done")
        assert b"Swagger" in ask(server, get("/docs")).body


def test_the_server_had_nothing_to_complain_about(server: Server) -> None:
    assert not server.count("gone:|WARNING")
