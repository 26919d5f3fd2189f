"""HTTP over TLS: pipelining, bodies, slow readers, ends of connections, and the drain."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Keyring
from tests.live.harness import APPS, PATIENCE, Server, serving, wait_for
from tests.live.process_memory import PeakMemory
from tests.live.raw_client import CutOffError, get, post, tcp
from tests.live.tls_client import connect_plain, connect_tls, has_clean_log, serving_tls
from tests.live.web_apps import lazy_servers

MEGABYTE = 2**20
TIMES = (*("--keepalive", "700ms", "--send-timeout", "700ms"), *("--limit-body", "16m"))


@pytest.fixture(scope="module")
def servers(keys: Keyring, tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> Any:
        return serving_tls(kind, tmp_path_factory.mktemp(kind), keys, *TIMES)

    with lazy_servers(start) as made:
        yield made
        assert has_clean_log(made("wsgi"))
        assert has_clean_log(made("asgi"))


@pytest.fixture(params=["wsgi", "asgi"])
def server(servers: Callable[[str], Server], request: pytest.FixtureRequest) -> Server:
    return servers(request.param)


@pytest.fixture
def wsgi(servers: Callable[[str], Server]) -> Server:
    return servers("wsgi")


@pytest.fixture
def asgi(servers: Callable[[str], Server]) -> Server:
    return servers("asgi")


def events(server: Server) -> list[str]:
    with connect_plain(server) as wire:
        return list(json.loads(wire.send(get("/events")).answer().body))


def test_requests_follow_each_other_on_one_connection(server: Server, keys: Keyring) -> None:
    with connect_tls(server, keys.ca.trusting()) as wire:
        for _ in range(3):
            assert wire.send(get("/hello")).answer().body == b"hello"
        wire.send(*[get(f"/told/{at}") for at in range(20)])
        assert [wire.answer().body for _ in range(20)] == [b"%d" % at for at in range(20)]
        wire.send(get("/stream"), get("/close"))
        assert wire.answer().body == b"onetwothree"
        assert wire.answer().closes
        assert wire.ends_cleanly()


def test_bodies_of_megabytes_pass_in_both_directions(server: Server, keys: Keyring) -> None:
    body = bytes(range(256)) * (4 * MEGABYTE // 256)
    with connect_tls(server, keys.ca.trusting()) as wire:
        for _ in range(2):
            assert wire.send(post("/size", body)).answer().body == b"%d" % len(body)
            assert len(wire.send(get(f"/told/{'x' * 8000}")).answer().body) == 8000
        # An app that begins its response before the body has arrived closes the connection.
        assert wire.send(post("/echo", body[:100_000])).answer().body == body[:100_000]


def test_curl_gets_back_what_it_sends(server: Server, keys: Keyring) -> None:
    body = bytes(range(256)) * (2 * MEGABYTE // 256)
    words = ["--silent", "--cacert", str(keys.ca.file), "--data-binary", "@-"]
    found = subprocess.run(
        ["curl", *words, f"https://localhost:{server.port}/echo"],
        input=body,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert found.stdout == body


def test_a_refused_upload_is_answered_although_it_goes_on(server: Server, keys: Keyring) -> None:
    with connect_tls(server, keys.ca.trusting()) as wire:
        wire.send(get("/size", f"Content-Length: {17 * MEGABYTE}", method="POST"))
        wire.send(b"x" * MEGABYTE)
        answer = wire.answer()
        assert (answer.status, answer.closes) == (413, True)
        assert wire.ends_cleanly()


def test_a_refused_upload_may_go_on_for_a_moment(wsgi: Server, keys: Keyring) -> None:
    """If prefork closed at once, the client's send could fail before it reads the response."""
    with connect_tls(wsgi, keys.ca.trusting()) as wire:
        wire.send(get("/size", f"Content-Length: {17 * MEGABYTE}", method="POST"))
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            wire.send(b"x" * 1000)
            time.sleep(0.05)  # the pace of a slow client, not a wait for anything
        assert wire.answer().status == 413


def test_a_broken_response_does_not_look_complete(keys: Keyring, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '20')])\n"
        "    yield b'ten of 20.'\n"
        "    raise RuntimeError\n"
    )
    with (
        serving(tmp_path, "broken:app", "--tls-cert", str(keys.site.both)) as server,
        connect_tls(server, keys.ca.trusting()) as wire,
    ):
        wire.send(get("/"))
        with pytest.raises((CutOffError, OSError)):
            wire.answer()


def test_an_idle_connection_is_closed_without_the_clients_close_notify(
    server: Server, keys: Keyring
) -> None:
    with connect_tls(server, keys.ca.trusting()) as wire:
        assert wire.send(get("/hello")).answer().body == b"hello"
        # The keep-alive time passes, and close_notify arrives, which this client does not answer.
        assert wire.ends_cleanly()
        with socket.socket(fileno=wire.socket.detach()) as raw:
            raw.settimeout(PATIENCE)
            assert raw.recv(1) == b""


def test_a_close_notify_of_the_client_ends_the_connection(server: Server, keys: Keyring) -> None:
    with connect_tls(server, keys.ca.trusting()) as wire:
        wire.send(get("/half/ended"))
        assert wire.head().status == 200
        assert wire.read_exactly(8) == b"3\r\nnow\r\n"
        # Its close_notify is answered with a close_notify, not with the rest of the response.
        wire.socket.unwrap().close()  # type: ignore[attr-defined]
    with connect_plain(server) as other:
        assert other.send(get("/open/ended")).answer().body == b"open"
    assert has_clean_log(server)


def test_a_client_that_leaves_an_endless_response_is_noticed(server: Server, keys: Keyring) -> None:
    with connect_tls(server, keys.ca.trusting()) as wire:
        wire.send(get("/endless/left"))
        wire.read_exactly(200_000)
    wait_for(lambda: "closed left" in events(server), "the app knows")


# Slow readers.


def test_a_reader_that_stops_is_cut_off(asgi: Server, keys: Keyring) -> None:
    with connect_tls(asgi, keys.ca.trusting(), buffer=32768) as wire:
        wire.send(get("/endless/unread"))
        assert wire.head().status == 200
        wait_for(lambda: "closed unread" in events(asgi), "the app was told")
        with pytest.raises((CutOffError, OSError)):
            wire.read_to_end()


def test_a_reader_that_goes_on_is_not_cut_off(wsgi: Server, keys: Keyring) -> None:
    with connect_tls(wsgi, keys.ca.trusting(), buffer=16384) as wire:
        wire.send(get("/endless/slow"))
        wire.head()
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            wire.read_exactly(4096)
            time.sleep(0.05)  # the pace of a slow client, not a wait for anything
        assert "closed slow" not in events(wsgi)


BIG = """
def app(environ, start_response):
    start_response("200 OK", [("Connection", "close")])
    return [b"x" * 24_000_000]
"""


def test_the_end_of_a_response_waits_for_a_reader_that_goes_on(
    keys: Keyring, tmp_path: Path
) -> None:
    """The app has returned; the response is in the kernel and in a buffer of the TLS layer."""
    (tmp_path / "big.py").write_text(BIG)
    arguments = ("--tls-cert", str(keys.site.both), "--send-timeout", "1500ms")
    with (
        serving(tmp_path, "big:app", *arguments) as server,
        connect_tls(server, keys.ca.trusting(), buffer=16384) as wire,
    ):
        wire.send(get("/"))
        assert wire.head().closes
        left = 24_000_000
        while left > 23_300_000:
            left -= len(wire.read_exactly(8192))
            time.sleep(0.05)  # the pace of a slow client, not a wait for anything
        wire.read_and_discard(left)
        assert wire.ends_cleanly()
        # A reader that stops is cut off.
        with connect_tls(server, keys.ca.trusting(), buffer=16384) as stuck:
            stuck.send(get("/")).head()
            (worker,) = server.workers()
            wait_for(lambda: not [c for c in worker.net_connections("tcp") if c.raddr], "it is cut")


@pytest.mark.parametrize(("kind", "megabytes"), [("wsgi", 200), ("asgi", 1024)])
def test_a_gigabyte_comes_whole_and_costs_no_memory(
    kind: str, megabytes: int, keys: Keyring, tmp_path: Path
) -> None:
    size = megabytes * MEGABYTE
    arguments = ("--pythonpath", str(APPS), "--tls-cert", str(keys.site.both))
    with serving(tmp_path, f"flow:{kind}", *arguments) as server:
        (worker,) = server.workers()
        with connect_tls(server, keys.ca.trusting(), buffer=262144) as wire:
            wire.send(get("/produce/1")).answer()
            peak = PeakMemory(worker.pid)
            wire.send(get(f"/produce/{size}", version="1.0"))
            assert wire.head().closes
            wire.read_and_discard(size)
            assert wire.ends_cleanly()
        assert peak.grown() < 16 * MEGABYTE


# The drain.


def test_a_drain_answers_requests_and_closes_idle_connections(
    keys: Keyring, tmp_path: Path
) -> None:
    words = ("--linger", "300ms", "--handshake-timeout", "1m")
    with (
        serving_tls("asgi", tmp_path, keys, *words) as server,
        connect_tls(server, keys.ca.trusting()) as busy,
        connect_tls(server, keys.ca.trusting()) as idle,
        connect_tls(server, keys.ca.trusting()) as pooled,
        tcp(server) as half,
    ):
        half.send(b"\x16\x03\x01")
        assert idle.send(get("/hello")).answer().closes is False
        assert pooled.send(get("/hello")).answer().closes is False
        busy.send(get("/size", "Content-Length: 3", method="POST"), b"1")
        server.send(signal.SIGTERM)
        server.wait_log("drains")
        assert idle.ends_cleanly()
        assert half.read_to_end() == b""
        answer = busy.send(b"23").answer()
        assert (answer.body, answer.closes) == (b"3", True)
        assert busy.ends_cleanly()
        # ``pooled`` has not read the close_notify, and does not delay the exit.
        assert server.wait_exit() == 0
        assert has_clean_log(server)
