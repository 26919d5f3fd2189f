"""WebSockets with slow or silent clients: flow control, pings, drain and reload."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.live.harness import APPS, PATIENCE, Server, serving, wait_for
from tests.live.process_memory import PeakMemory
from tests.live.raw_client import CutOffError, RawConnection, get, tcp, unix
from tests.live.web_apps import events, lazy_servers, open_gate
from tests.live.websocket_client import (
    BINARY,
    CLOSE,
    HANDSHAKE,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketConnection,
    close_frame,
    connect_websocket,
)

MEBI = 1 << 20
BOUND = 16 * MEBI
"""Bytes of memory that one client may cost an idle worker."""

KINDS = {
    "calm": ("--ws-ping-interval", "off", "--send-timeout", "600ms"),
    "pinging": (
        *("--ws-ping-interval", "300ms", "--ws-ping-timeout", "500ms"),
        *("--ws-close-timeout", "500ms"),
    ),
}


def sockets(folder: Any, *arguments: str, workers: int = 1) -> Any:
    return serving(folder, "sockets:app", "--pythonpath", str(APPS), *arguments, workers=workers)


def wait_for_event(server: Server, what: str) -> None:
    wait_for(lambda: what in events(server), f"the app tells {what!r}")


def connect_unix(server: Server) -> RawConnection:
    """Connect to the unix socket in the server's folder."""
    return unix(server.cwd / "socket")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> Any:
        folder = tmp_path_factory.mktemp(kind)
        return sockets(folder, "-b", f"unix:{folder}/socket", *KINDS[kind])

    with lazy_servers(start) as made:
        yield made


@pytest.fixture
def calm(servers: Callable[[str], Server]) -> Server:
    return servers("calm")


@pytest.fixture
def pinging(servers: Callable[[str], Server]) -> Server:
    return servers("pinging")


def measure_peak(server: Server) -> PeakMemory:
    """Measure the memory of a worker after its first WebSocket, when the library is loaded."""
    with connect_websocket(server) as wire:
        assert wire.send_frames(Frame(TEXT)).read_frame() == Frame(TEXT)
    return PeakMemory(server.workers()[0].pid)


# An app that does not take its messages stops its client.


def send_until_full(wire: WebSocketConnection, data: memoryview) -> int:
    """Send until the server stops reading; return the number of bytes."""
    wire.socket.settimeout(0.3)
    stalled_paths = 0
    try:
        while stalled_paths < len(data):
            stalled_paths += wire.socket.send(data[stalled_paths : stalled_paths + 65536])
    except TimeoutError:
        pass
    wire.socket.settimeout(PATIENCE)
    return stalled_paths


@pytest.mark.parametrize(
    ("size", "number"), [(0, 100_000), (10, 100_000), (60_000, 1000), (2 * MEBI, 16)]
)
def test_messages_that_the_app_does_not_take_stay_with_the_client(
    calm: Server, size: int, number: int
) -> None:
    name = f"take-{size}"
    data = memoryview(Frame(BINARY, b"x" * size).encode() * number)
    peak = measure_peak(calm)
    with WebSocketConnection(unix(calm.cwd / "socket").socket) as wire:
        assert wire.request_handshake(f"/listens_late/{name}").status == 101
        stalled_paths = send_until_full(wire, data)
        assert stalled_paths < len(data)
        assert peak.grown() < BOUND
        open_gate(calm, name)
        wire.send(data[stalled_paths:], Frame(TEXT, b"end").encode())
        assert wire.read_frame().payload == b"%d %d" % (number, number * size)
        assert wire.read_close() == (1000, b"")


# A client that does not read stops its app.


def stalled_paths(server: Server) -> set[str]:
    """Return the paths of the calls that stopped sending."""
    return {event.split()[-1] for event in events(server) if event.startswith("sent ")}


def send_for_ever(wire: WebSocketConnection, data: bytes) -> NoReturn:
    while True:
        wire.send(data)


@pytest.mark.parametrize("size", [1000, MEBI])
def test_an_app_waits_for_a_client_that_does_not_read_until_it_is_cut_off(
    calm: Server, size: int
) -> None:
    path = f"/floods/{size}"
    peak = measure_peak(calm)
    with WebSocketConnection(tcp(calm, receive_buffer=32768).socket) as wire:
        assert wire.request_handshake(path).status == 101
        wait_for(lambda: path in stalled_paths(calm), "the app can send no more")
        with pytest.raises(CutOffError):
            wire.read_to_end()
    assert peak.grown() < BOUND


def test_a_client_that_reads_late_gets_all_messages(tmp_path: Path) -> None:
    with (
        sockets(tmp_path, "--ws-ping-interval", "off") as server,
        WebSocketConnection(tcp(server, receive_buffer=32768).socket) as wire,
    ):
        assert wire.request_handshake("/pushes/100000").status == 101
        open_gate(server, "meanwhile")
        assert [int(wire.read_frame().payload) for _ in range(100_000)] == list(range(100_000))
        assert wire.read_close() == (1000, b"")


def test_a_client_that_wants_pongs_and_does_not_read_them_is_cut_off(calm: Server) -> None:
    peak = measure_peak(calm)
    pings = Frame(PING, b"x" * 125).encode() * 8000
    with WebSocketConnection(tcp(calm, receive_buffer=32768).socket) as wire:
        assert wire.request_handshake("/echo").status == 101
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_for_ever(wire, pings)
    assert peak.grown() < BOUND


def test_a_message_of_endless_fragments_stays_within_the_limit(calm: Server) -> None:
    peak = measure_peak(calm)
    with connect_websocket(calm) as wire:
        wire.send_frames(Frame(TEXT, b"", fin=False))
        for size in (0, 1):
            wire.send(Frame(0, b"x" * size, fin=False).encode() * 100_000)
        wire.send_frames(Frame(0, b"x"))
        assert wire.read_frame() == Frame(TEXT, b"x" * 100_001)
    assert peak.grown() < BOUND


# Pings.


def test_a_client_is_pinged_again_and_again(pinging: Server) -> None:
    with connect_websocket(pinging) as wire:
        for _ in range(3):
            assert wire.read_frame() == Frame(PING)
            wire.send_frames(Frame(PONG))
        assert wire.send_frames(Frame(TEXT, b"still here")).read_frame().payload == b"still here"


def test_any_byte_of_a_client_is_a_sign_of_life(pinging: Server) -> None:
    """A client in the middle of a long message cannot send a pong."""
    with connect_websocket(pinging) as wire:
        wire.send_frames(Frame(TEXT, b"", fin=False))
        for _ in range(3):
            assert wire.read_frame() == Frame(PING)
            wire.send_frames(Frame(0, b"more", fin=False))


def expect_close_of_silent_client(server: Server, target: str) -> None:
    """Connect a client that answers no ping, and check that it is closed with 1011."""
    with connect_websocket(server, target) as wire:
        while (frame := wire.read_frame()).opcode == PING:
            pass
        assert (frame.opcode, frame.payload[:2]) == (CLOSE, b"\x03\xf3")
        assert wire.ends_cleanly()


def test_a_silent_client_is_closed(pinging: Server) -> None:
    expect_close_of_silent_client(pinging, "/echo/silent")
    wait_for(
        lambda: "1011 no sign of life after a ping /echo/silent" in events(pinging), "the app knows"
    )


def test_a_client_that_waits_for_the_app_is_not_closed(pinging: Server) -> None:
    with connect_websocket(pinging, "/listens_late/busy") as wire:
        wire.send_frames(*[Frame(TEXT, b"x" * 10_000)] * 40)
        # Meanwhile another client, which is silent, is closed.
        expect_close_of_silent_client(pinging, "/echo/other")
        open_gate(pinging, "busy")
        wire.send_frames(Frame(TEXT, b"end"))
        while (frame := wire.read_frame()).opcode == PING:
            wire.send_frames(Frame(PONG))
        assert frame.payload == b"40 400000"


def test_a_client_that_does_not_take_part_in_closing_is_cut_off(pinging: Server) -> None:
    with connect_websocket(pinging, "/closes/1000") as wire:
        assert wire.read_close()[0] == 1000
        with pytest.raises(CutOffError):
            wire.read_to_end()


# Leaving.


def test_a_stop_closes_with_1001_and_waits_for_the_client(tmp_path: Any) -> None:
    with sockets(tmp_path, "--ws-close-timeout", "1s") as server, connect_websocket(server) as mute:
        wires = [connect_websocket(server, f"/echo/{number}") for number in range(5)]
        server.send(signal.SIGTERM)
        for wire in wires:
            assert wire.read_close() == (1001, b"")
        assert server.process.poll() is None
        for wire in wires:
            # A message after the server's close frame is ignored.
            wire.send_frames(Frame(TEXT, b"too late"), close_frame(1001))
            assert wire.ends_cleanly()
            wire.socket.close()
        assert mute.read_close() == (1001, b"")
        # ``mute`` does not answer; the worker waits for it no longer than --ws-close-timeout.
        assert server.wait_exit() == 0
        with pytest.raises(CutOffError):
            mute.read_to_end()
    assert not server.count("Traceback|ERROR")


def test_an_app_that_ignores_the_close_does_not_delay_the_worker(
    tmp_path: Any,
) -> None:
    with sockets(tmp_path, "--ws-close-timeout", "300ms", "--kill-timeout", "1h") as server:
        with connect_websocket(server, "/waits_elsewhere") as wire:
            server.send(signal.SIGTERM)
            assert wire.read_close() == (1001, b"")
            wire.send_frames(close_frame(1001))
            assert wire.ends_cleanly()
        assert server.wait_exit() == 0
    assert not server.count("Traceback|ERROR")


@pytest.mark.parametrize("how", ["reset", "shut_down_writing"])
def test_a_client_that_leaves_before_it_is_accepted_is_noticed_at_once(
    calm: Server, how: str
) -> None:
    with WebSocketConnection(connect_unix(calm).socket) as wire:
        wire.send(get(f"/undecided/{how}", *HANDSHAKE))
        wait_for_event(calm, f"begun /undecided/{how}")
        getattr(wire, how)()
    wait_for_event(calm, f"websocket.disconnect 1006 /undecided/{how}")
    wait_for_event(calm, f"OSError /undecided/{how}")
    assert not calm.count("ERROR|Traceback")


@pytest.mark.parametrize("size", [5, 40_000, 200_000])
def test_frames_that_arrive_while_the_app_decides_are_not_lost(calm: Server, size: int) -> None:
    message, name = b"x" * size, f"early-{size}"
    with WebSocketConnection(connect_unix(calm).socket) as wire:
        wire.send(get(f"/accepts_late/{name}", *HANDSHAKE))
        sender = threading.Thread(target=wire.send_frames, args=[Frame(TEXT, message)])
        sender.start()
        open_gate(calm, name)
        assert wire.head().status == 101
        assert wire.read_frame().payload == message
        sender.join(PATIENCE)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGHUP, 1012), (signal.SIGTERM, 1001)], ids=["reload", "stop"]
)
def test_a_drain_answers_pending_handshakes(
    tmp_path: Any, signum: signal.Signals, code: int
) -> None:
    with (
        sockets(tmp_path, "--linger", "10s", "--kill-timeout", "1h") as server,
        WebSocketConnection(tcp(server).socket) as late,
        ExitStack() as stack,
    ):
        late.send(get("/undecided/drain", *HANDSHAKE))
        wait_for_event(server, "begun /undecided/drain")
        probes = [stack.enter_context(tcp(server)) for _ in range(10)]
        for probe in probes:
            assert probe.send(get("/hello")).answer().status == 200
        server.send(signum)
        answer = late.answer()
        assert (answer.status, answer.get("retry-after")) == (503, "1")
        assert late.ends_cleanly()
        # The app gets the event some loop turns later; each connection may send one more request.
        expected = f"websocket.disconnect {code} /undecided/drain"
        asked = (json.loads(probe.send(get("/events")).answer().body) for probe in probes)
        assert any(expected in each for each in asked)
        server.wait_log("gen 1.* gone:" if code == 1012 else "stopped")
    assert not server.count("ERROR|Traceback|killed")


def test_a_draining_worker_answers_a_new_handshake_with_503(tmp_path: Any) -> None:
    with (
        sockets(tmp_path, "--linger", "10s") as server,
        WebSocketConnection(tcp(server).socket) as late,
        tcp(server) as probe,
    ):
        assert late.send(get("/hello")).answer().status == 200
        server.send(signal.SIGHUP)
        while not probe.send(get("/hello")).answer().closes:
            pass  # the worker has not handled the signal yet
        assert late.send(get("/echo", *HANDSHAKE)).answer().status == 503
        assert late.ends_cleanly()


def test_a_reload_closes_all_with_1012_and_the_new_generation_takes_over(tmp_path: Any) -> None:
    # A client that answered the close does not delay the exit if it keeps its socket open.
    with sockets(tmp_path, "--ws-close-timeout", "60s", workers=2) as server:
        wires = [connect_websocket(server, "/generation") for _ in range(50)]
        assert {wire.read_frame().payload for wire in wires} == {b"1"}
        codes = []

        def follow(wire: WebSocketConnection) -> None:
            """Answer the close and wait for the end of the connection."""
            codes.append(wire.read_close())
            assert wire.send_frames(close_frame(1012)).ends_cleanly()

        threads = [threading.Thread(target=follow, args=[wire]) for wire in wires]
        for thread in threads:
            thread.start()
        server.send(signal.SIGHUP)
        for thread in threads:
            thread.join(20)
        assert codes == [(1012, b"")] * 50
        server.wait_log(r"gen 1\) gone: reload", 2)
        again = [connect_websocket(server, "/generation") for _ in range(10)]
        assert {wire.read_frame().payload for wire in again} == {b"2"}
        for wire in [*wires, *again]:
            wire.socket.close()
        assert server.stop() == 0
        assert not server.count("Traceback|ERROR|killed")
