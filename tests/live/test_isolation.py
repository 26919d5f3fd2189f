"""Requests are isolated from each other: neither context variables nor anything else that an app
may change passes from one to the next."""

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.certificates import Keyring
from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import get, post, tcp
from tests.live.tls_client import connect_tls
from tests.live.websocket_client import connect_websocket

KINDS = {
    "wsgi": ("isolation:wsgi",),
    "threads": ("isolation:wsgi", "--threads", "2"),
    "asgi": ("isolation:asgi",),
}
PAGES = {
    "wsgi": ("plain", "generator", "written", "file"),
    "threads": ("plain", "generator", "written"),
    "asgi": ("plain", "streams"),
}


def isolated(kind: str, cwd: Path, *arguments: str) -> AbstractContextManager[Server]:
    app, *words = KINDS[kind]
    return serving(cwd, app, "--pythonpath", str(APPS), *words, *arguments)


@pytest.mark.parametrize(
    ("kind", "page"), [(kind, page) for kind, pages in PAGES.items() for page in pages]
)
def test_a_pipelined_request_finds_no_variable_of_the_one_before(
    kind: str, page: str, tmp_path: Path
) -> None:
    with isolated(kind, tmp_path) as server, tcp(server) as wire:
        for _ in range(3):  # later ones may go another way, because their heads are known
            wire.send(*[get(f"/{page}/{number}") for number in range(3)], get("/plain"))
            for _ in range(3):
                wire.answer()
            assert wire.answer().body == b"nothing"
        for number in range(3):
            wire.send(get(f"/{page}/{number}")).answer()
            assert wire.send(get("/plain")).answer().body == b"nothing"


def test_a_request_that_comes_while_another_waits_finds_no_variable_of_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with isolated("asgi", tmp_path) as server, tcp(server) as wire, tcp(server) as other:
        wire.send(get(f"/waits{gate}"))
        wait_for(gate.with_suffix(".begun").exists, "the app has the request")
        wire.send(get("/plain"))
        # When this is answered, the worker has read what was sent before.
        other.send(get("/plain")).answer()
        gate.touch()
        assert wire.answer().body == b"nothing"
        assert wire.answer().body == b"nothing"


def test_a_client_that_is_accepted_when_a_request_ends_finds_no_variable_of_it(
    tmp_path: Path,
) -> None:
    """The worker accepts the next connection from within the end of the request that was in its
    way. All requests of that connection run in the context in which its transport was made."""
    gate = tmp_path / "gate"
    with isolated("asgi", tmp_path, "--accept-limit", "1") as server, tcp(server) as wire:
        wire.send(get(f"/waits{gate}"))
        wait_for(gate.with_suffix(".begun").exists, "the app has the request")
        with tcp(server) as other:
            other.send(get("/plain"))
            gate.touch()
            assert wire.answer().body == b"nothing"
            assert other.answer().body == b"nothing"


def test_a_file_is_closed_in_the_context_of_its_call(tmp_path: Path) -> None:
    with isolated("wsgi", tmp_path) as server, tcp(server) as wire:
        wire.send(get("/file")).answer()
        assert json.loads(wire.send(get("/closed")).answer().body) == ["nothing"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_nothing_that_an_app_changes_reaches_another_request(kind: str, tmp_path: Path) -> None:
    with isolated(kind, tmp_path) as server:
        for _ in range(2):
            with tcp(server) as wire:
                for fields in (("X-Same: 1",),) * 5 + (("X-Other: 2",),) * 3:
                    assert wire.send(get("/spoil", *fields)).answer().body == b"false"
                assert wire.send(post("/spoil", b"x")).answer().body == b"false"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_nothing_that_an_app_changes_reaches_another_request_of_a_tls_client(
    kind: str, tmp_path: Path, keys: Keyring
) -> None:
    client = keys.ca.trusting(keys.ann)
    arguments = ("--tls-cert", keys.site.pair, "--tls-client", "optional")
    with isolated(kind, tmp_path, *arguments, "--tls-ca", str(keys.ca.file)) as server:
        for _ in range(2):
            with connect_tls(server, client) as wire:
                for _ in range(5):
                    assert wire.send(get("/spoil")).answer().body == b"false"


def test_nothing_that_an_app_changes_reaches_another_websocket(tmp_path: Path) -> None:
    with isolated("asgi", tmp_path) as server:
        for _ in range(3):
            with connect_websocket(server, "/spoil") as wire:
                assert wire.read_frame().payload == b"false"
