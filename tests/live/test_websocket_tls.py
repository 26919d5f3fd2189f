"""WebSockets over TLS, which has no half-closed connections and has buffers of its own."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Keyring
from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.process_memory import PeakMemory
from tests.live.raw_client import CutOffError
from tests.live.tls_client import connect_tls, has_clean_log
from tests.live.websocket_client import (
    ACCEPT,
    BINARY,
    TEXT,
    Frame,
    WebSocketConnection,
    close_frame,
)


def sockets(folder: Path, keys: Keyring, *arguments: str) -> Any:
    tls = ("--tls-cert", keys.site.pair, "--pythonpath", str(APPS))
    return serving(folder, "sockets:app", *tls, *arguments)


@pytest.fixture(scope="module")
def server(keys: Keyring, tmp_path_factory: Any) -> Iterator[Server]:
    times = ("--send-timeout", "600ms", "--ws-close-timeout", "500ms")
    with sockets(tmp_path_factory.mktemp("tls"), keys, *times) as server:
        yield server
        assert has_clean_log(server)


def websocket(
    server: Server, keys: Keyring, target: str = "/echo", buffer: int = 0
) -> WebSocketConnection:
    wire = WebSocketConnection(connect_tls(server, keys.ca.trusting(), buffer=buffer).socket)
    answer = wire.request_handshake(target)
    assert (answer.status, answer.get("sec-websocket-accept")) == (101, ACCEPT)
    return wire


def test_messages_of_all_sizes_and_a_proper_end(server: Server, keys: Keyring) -> None:
    with websocket(server, keys) as wire:
        for size in (0, 125, 126, 65536, 3_000_000):
            message = Frame(BINARY, b"x" * size)
            assert wire.send_frames(message).read_frame() == message
        wire.send_frames(close_frame(1000))
        assert wire.read_close() == (1000, b"")
        assert wire.ends_cleanly()


def test_an_app_is_told_that_it_is_secure(server: Server, keys: Keyring) -> None:
    with websocket(server, keys, "/scope") as wire:
        scope = json.loads(wire.read_frame().payload)
        assert scope["scheme"] == "wss"
        assert set(scope["extensions"]) == {"tls", "websocket.http.response"}


def test_a_mistake_is_answered_before_the_end(server: Server, keys: Keyring) -> None:
    with websocket(server, keys) as wire:
        wire.send_frames(Frame(TEXT, b"\xff"), *[Frame(TEXT, b"more")] * 1000)
        assert wire.read_close()[0] == 1007


def test_a_client_that_does_not_take_part_in_closing_is_cut_off(
    server: Server, keys: Keyring
) -> None:
    with websocket(server, keys, "/closes/1000") as wire:
        assert wire.read_close()[0] == 1000
        with pytest.raises((CutOffError, OSError)):
            wire.read_to_end()


def test_an_app_waits_for_a_client_that_does_not_read_until_it_is_cut_off(
    server: Server, keys: Keyring
) -> None:
    with websocket(server, keys) as wire:
        assert wire.send_frames(Frame(TEXT)).read_frame() == Frame(TEXT)
    peak = PeakMemory(server.workers()[0].pid)
    with websocket(server, keys, "/floods/50000", buffer=32768):
        wait_for(lambda: has_no_connection(server), "the app can send no more")
    assert peak.grown() < 16 << 20


def has_no_connection(server: Server) -> bool:
    """Return whether the worker has no open connection."""
    return not [c for c in server.workers()[0].net_connections() if c.status == "ESTABLISHED"]


def test_a_drain_does_not_wait_for_the_end_of_tls(keys: Keyring, tmp_path: Path) -> None:
    slow = ("--ws-close-timeout", "1h", "--kill-timeout", "1h")
    with sockets(tmp_path, keys, *slow) as server, websocket(server, keys) as wire:
        server.send(signal.SIGTERM)
        assert wire.read_close() == (1001, b"")
        wire.send_frames(close_frame(1001))
        # The client reads nothing more and sends no close_notify.
        assert server.wait_exit() == 0
        assert has_clean_log(server)
