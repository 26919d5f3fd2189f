"""ASGI responses without an end in a draining worker: disconnect, cancellation, lifespan shutdown.

And WebSockets, which a reload closes once.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import CutOffError, RawConnection, get, tcp
from tests.live.websocket_client import close_frame, connect_websocket

Events = Callable[[], list[str]]


@contextmanager
def streaming(cwd: Path, *arguments: str, workers: int = 1) -> Iterator[tuple[Server, Events]]:
    """Serve the app; yield the server and a function that returns the app's events."""
    file = cwd / "told"
    file.touch()
    words = ("--pythonpath", str(APPS), "-e", f"TOLD={file}")
    with serving(cwd, "streams:app", *words, *arguments, workers=workers) as server:
        yield server, lambda: file.read_text().split("\n")[:-1]


def open_stream(server: Server, kind: str) -> RawConnection:
    """Open a stream of this kind and read its first piece."""
    wire = tcp(server).send(get(f"/{kind}"))
    wire.head()
    assert b"begun;" in wire.read_exactly(6 if kind == "sized" else 9)
    return wire


def test_an_app_that_receives_gets_a_disconnect_and_ends_its_response(tmp_path: Path) -> None:
    with streaming(tmp_path, "--stream-timeout", "200ms") as (server, events):
        with open_stream(server, "listens") as wire:
            server.send(signal.SIGTERM)
            assert wire.read_to_end() == b"\r\n6\r\nended;\r\n0\r\n\r\n"
        assert server.wait_exit() == 0
        assert events() == ["http.disconnect", "finally listens", "lifespan.shutdown"]
    assert server.count("1 unfinished responses were told to end") == 1
    assert not server.count("ERROR|Traceback|killed|cancelled")


def test_an_app_that_never_receives_is_cancelled(tmp_path: Path) -> None:
    with streaming(tmp_path, "--stream-timeout", "0s", "--kill-timeout", "4s") as (server, events):
        with open_stream(server, "deaf") as wire:
            server.send(signal.SIGTERM)
            with pytest.raises(CutOffError):
                wire.read_to_end()  # not an end that the client could take for the whole
        assert server.wait_exit() == 0
        assert events() == ["finally deaf", "lifespan.shutdown"]
    assert server.count("cancelled 1 calls") == 1
    assert not server.count("ERROR|Traceback|killed")


def test_an_app_that_cannot_be_cancelled_shuts_down_before_it_is_killed(tmp_path: Path) -> None:
    with streaming(tmp_path, "--kill-timeout", "4s") as (server, events):
        with open_stream(server, "stubborn"):
            server.send(signal.SIGTERM)
            server.wait_log("killed, it did not leave")
        server.wait_exit()
        assert events() == ["cancelled", "lifespan.shutdown"]


def test_all_calls_end_before_the_kill_timeout_whatever_the_stream_timeout(tmp_path: Path) -> None:
    arguments = ("--stream-timeout", "1h", "--kill-timeout", "4s")
    with streaming(tmp_path, *arguments) as (server, events):
        with (
            open_stream(server, "listens"),
            open_stream(server, "deaf"),
            open_stream(server, "sized"),
        ):
            server.send(signal.SIGTERM)
            assert server.wait_exit() == 0
        assert sorted(events()) == sorted(
            ["http.disconnect"] * 2
            + ["finally listens", "finally deaf", "finally sized", "lifespan.shutdown"]
        )
        assert events()[-1] == "lifespan.shutdown"
    assert not server.count("ERROR|Traceback|killed")


@pytest.mark.parametrize("kind", ["sized", "silent"])
def test_a_response_of_known_length_has_more_time(kind: str, tmp_path: Path) -> None:
    arguments = ("--stream-timeout", "0s", "--kill-timeout", "6s")
    with streaming(tmp_path, *arguments) as (server, events), ExitStack() as stack:
        if kind == "sized":
            wire = stack.enter_context(open_stream(server, "sized"))
        else:
            wire = stack.enter_context(tcp(server)).send(get("/silent"))
        with open_stream(server, "listens") as other:
            server.send(signal.SIGTERM)
            other.read_to_end()
            assert events() == ["http.disconnect", "finally listens"]
        if kind == "sized":
            assert wire.read_exactly(6) == b"ended;"
        else:
            assert wire.answer().body == b"late"
        assert server.wait_exit() == 0
        assert events()[-1] == "lifespan.shutdown"
    assert not server.count("ERROR|Traceback|killed")


def test_a_reload_does_not_wait_for_streams(tmp_path: Path) -> None:
    with (
        streaming(tmp_path, "--stream-timeout", "100ms", "--kill-timeout", "1h", workers=2) as (
            server,
            events,
        ),
        ExitStack() as stack,
    ):
        for _ in range(10):
            stack.enter_context(open_stream(server, "listens"))
        server.send(signal.SIGHUP)
        server.wait_log(r"gen 1\) gone: reload", 2)
        assert events().count("http.disconnect") == 10
        assert events().count("lifespan.shutdown") == 2
        assert server.stop() == 0


def test_one_ctrl_c_ends_a_watching_server_within_two_seconds(tmp_path: Path) -> None:
    with streaming(tmp_path, "--watch") as (server, events), open_stream(server, "deaf"):
        server.wait_log("INFO watching /")
        began = time.monotonic()
        server.send_group(signal.SIGINT)
        assert server.wait_exit() == 0
        took = time.monotonic() - began
        assert events() == ["finally deaf", "lifespan.shutdown"]
    assert took < 10, "two seconds, and more for a machine that is busy; it was thirty"


def test_200_websockets_are_closed_once_in_a_reload(tmp_path: Path) -> None:
    """They come back while workers of the old generation still accept."""
    closes = [0] * 200
    with serving(tmp_path, "sockets:app", "--pythonpath", str(APPS), workers=4) as server:
        open_ones = threading.Barrier(201)

        def follow(number: int) -> None:
            """Act as a client: answer the close and connect anew, until the reload is over."""
            arrived = False
            while True:
                with connect_websocket(server, "/generation") as wire:
                    if wire.read_frame().payload == b"2":
                        return
                    if not arrived:
                        arrived = True
                        open_ones.wait(60)
                    assert wire.read_close() == (1012, b"")
                    closes[number] += 1
                    wire.send_frames(close_frame(1012))

        clients = [threading.Thread(target=follow, args=[number]) for number in range(200)]
        for client in clients:
            client.start()
        open_ones.wait(60)
        server.send(signal.SIGHUP)
        for client in clients:
            client.join(60)
        wait_for(lambda: not any(client.is_alive() for client in clients), "all came back")
        assert closes == [1] * 200
        assert server.stop() == 0
