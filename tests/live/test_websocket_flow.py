"""WebSockets that are slow, silent or in the way: back-pressure, pings, drain and reload."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.live.frames import (
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
from tests.live.harness import APPS, PATIENCE, Server, serving, wait_for
from tests.live.memory import PeakMemory
from tests.live.web import events, lazy_servers, open_gate
from tests.live.wire import CutOffError, RawConnection, get, tcp, unix

MEBI = 1 << 20
BOUND = 16 * MEBI
"""What a client may cost a worker that was idle."""

KINDS = {
    "calm": ("--ws-ping-interval", "off", "--send-timeout", "600ms"),
    "pinging": (
        *("--ws-ping-interval", "300ms", "--ws-ping-timeout", "500ms"),
        *("--ws-close-timeout", "500ms"),
    ),
}


def sockets(folder: Any, *arguments: str, workers: int = 1) -> Any:
    return serving(folder, "sockets:app", "--pythonpath", str(APPS), *arguments, workers=workers)


def told(server: Server, what: str) -> None:
    wait_for(lambda: what in events(server), f"the app tells {what!r}")


def unix_of(server: Server) -> RawConnection:
    """The first client of a server with a socket in its folder."""
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


def peak_of(server: Server) -> PeakMemory:
    """Of a worker that has had its first WebSocket, and with it the library."""
    with connect_websocket(server) as wire:
        assert wire.send_frames(Frame(TEXT)).read_frame() == Frame(TEXT)
    return PeakMemory(server.workers()[0].pid)


# An app that does not take its messages stops its client.


def send_until_full(wire: WebSocketConnection, data: memoryview) -> int:
    """How much could be sent until the server read nothing for a while."""
    wire.socket.settimeout(0.3)
    sent = 0
    try:
        while sent < len(data):
            sent += wire.socket.send(data[sent : sent + 65536])
    except TimeoutError:
        pass
    wire.socket.settimeout(PATIENCE)
    return sent


@pytest.mark.parametrize(
    ("size", "number"), [(0, 100_000), (10, 100_000), (60_000, 1000), (2 * MEBI, 16)]
)
def test_messages_that_nobody_takes_stay_with_the_client(
    calm: Server, size: int, number: int
) -> None:
    name = f"take-{size}"
    data = memoryview(Frame(BINARY, b"x" * size).encode() * number)
    peak = peak_of(calm)
    with WebSocketConnection(unix(calm.cwd / "socket").socket) as wire:
        assert wire.request_handshake(f"/listens_late/{name}").status == 101
        sent = send_until_full(wire, data)
        assert sent < len(data)
        assert peak.grown() < BOUND
        open_gate(calm, name)
        wire.send(data[sent:], Frame(TEXT, b"end").encode())
        assert wire.read_frame().payload == b"%d %d" % (number, number * size)
        assert wire.read_close() == (1000, b"")


# A client that does not read stops its app.


def sent(server: Server) -> set[str]:
    """Paths of the apps that could send no more."""
    return {event.split()[-1] for event in events(server) if event.startswith("sent ")}


def send_for_ever(wire: WebSocketConnection, data: bytes) -> NoReturn:
    while True:
        wire.send(data)


@pytest.mark.parametrize("size", [1000, MEBI])
def test_an_app_waits_for_a_client_that_does_not_read_until_it_is_cut_off(
    calm: Server, size: int
) -> None:
    path = f"/floods/{size}"
    peak = peak_of(calm)
    with WebSocketConnection(tcp(calm, receive_buffer=32768).socket) as wire:
        assert wire.request_handshake(path).status == 101
        wait_for(lambda: path in sent(calm), "the app can send no more")
        with pytest.raises(CutOffError):
            wire.read_to_end()
    assert peak.grown() < BOUND


def test_a_client_that_reads_at_last_gets_all(tmp_path: Path) -> None:
    with (
        sockets(tmp_path, "--ws-ping-interval", "off") as server,
        WebSocketConnection(tcp(server, receive_buffer=32768).socket) as wire,
    ):
        assert wire.request_handshake("/pushes/100000").status == 101
        open_gate(server, "meanwhile")
        assert [int(wire.read_frame().payload) for _ in range(100_000)] == list(range(100_000))
        assert wire.read_close() == (1000, b"")


def test_a_client_that_wants_pongs_and_does_not_read_them_is_cut_off(calm: Server) -> None:
    peak = peak_of(calm)
    pings = Frame(PING, b"x" * 125).encode() * 8000
    with WebSocketConnection(tcp(calm, receive_buffer=32768).socket) as wire:
        assert wire.request_handshake("/echo").status == 101
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_for_ever(wire, pings)
    assert peak.grown() < BOUND


def test_a_message_of_endless_fragments_stays_within_the_limit(calm: Server) -> None:
    peak = peak_of(calm)
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


def test_whatever_a_client_sends_is_a_sign_of_life(pinging: Server) -> None:
    """A client in the middle of a long message cannot send a pong."""
    with connect_websocket(pinging) as wire:
        wire.send_frames(Frame(TEXT, b"", fin=False))
        for _ in range(3):
            assert wire.read_frame() == Frame(PING)
            wire.send_frames(Frame(0, b"more", fin=False))


def silent(server: Server, target: str) -> None:
    """A client that only reads, and is closed for it."""
    with connect_websocket(server, target) as wire:
        while (frame := wire.read_frame()).opcode == PING:
            pass
        assert (frame.opcode, frame.payload[:2]) == (CLOSE, b"\x03\xf3")
        assert wire.ends_cleanly()


def test_a_silent_client_is_closed(pinging: Server) -> None:
    silent(pinging, "/echo/silent")
    wait_for(
        lambda: "1011 no sign of life after a ping /echo/silent" in events(pinging), "the app knows"
    )


def test_a_client_that_waits_for_the_app_is_not_taken_for_dead(pinging: Server) -> None:
    with connect_websocket(pinging, "/listens_late/busy") as wire:
        wire.send_frames(*[Frame(TEXT, b"x" * 10_000)] * 40)
        # In that time another is found dead.
        silent(pinging, "/echo/other")
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
            # Nobody hears this any more, but it breaks nothing.
            wire.send_frames(Frame(TEXT, b"too late"), close_frame(1001))
            assert wire.ends_cleanly()
            wire.socket.close()
        assert mute.read_close() == (1001, b"")
        # It does not answer, and is not waited for any longer than that.
        assert server.wait_exit() == 0
        with pytest.raises(CutOffError):
            mute.read_to_end()
    assert not server.count("Traceback|ERROR")


def test_an_app_that_waits_for_anything_but_the_end_does_not_hold_the_worker(
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
    with WebSocketConnection(unix_of(calm).socket) as wire:
        wire.send(get(f"/undecided/{how}", *HANDSHAKE))
        told(calm, f"begun /undecided/{how}")
        getattr(wire, how)()
    told(calm, f"websocket.disconnect 1006 /undecided/{how}")
    told(calm, f"OSError /undecided/{how}")
    assert not calm.count("ERROR|Traceback")


@pytest.mark.parametrize("size", [5, 40_000, 200_000])
def test_what_comes_while_the_app_decides_is_not_lost(calm: Server, size: int) -> None:
    message, name = b"x" * size, f"early-{size}"
    with WebSocketConnection(unix_of(calm).socket) as wire:
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
def test_a_drain_answers_handshakes_that_the_app_has_not(
    tmp_path: Any, signum: signal.Signals, code: int
) -> None:
    with (
        sockets(tmp_path, "--linger", "10s", "--kill-timeout", "1h") as server,
        WebSocketConnection(tcp(server).socket) as late,
        ExitStack() as stack,
    ):
        late.send(get("/undecided/drain", *HANDSHAKE))
        told(server, "begun /undecided/drain")
        probes = [stack.enter_context(tcp(server)) for _ in range(10)]
        for probe in probes:
            assert probe.send(get("/hello")).answer().status == 200
        server.send(signum)
        answer = late.answer()
        assert (answer.status, answer.get("retry-after")) == (503, "1")
        assert late.ends_cleanly()
        # The app hears of it some turns of the loop later; each connection has one more request.
        expected = f"websocket.disconnect {code} /undecided/drain"
        asked = (json.loads(probe.send(get("/events")).answer().body) for probe in probes)
        assert any(expected in each for each in asked)
        server.wait_log("gen 1.* gone:" if code == 1012 else "stopped")
    assert not server.count("ERROR|Traceback|killed")


def test_a_handshake_that_a_draining_worker_is_sent_is_answered_with_503(tmp_path: Any) -> None:
    with (
        sockets(tmp_path, "--linger", "10s") as server,
        WebSocketConnection(tcp(server).socket) as late,
        tcp(server) as probe,
    ):
        assert late.send(get("/hello")).answer().status == 200
        server.send(signal.SIGHUP)
        while not probe.send(get("/hello")).answer().closes:
            pass  # it has not heard yet
        assert late.send(get("/echo", *HANDSHAKE)).answer().status == 503
        assert late.ends_cleanly()


def test_a_reload_closes_all_with_1012_and_the_new_generation_takes_over(tmp_path: Any) -> None:
    # Who answers the close is not waited for, however long it takes to let go of its end.
    with sockets(tmp_path, "--ws-close-timeout", "60s", workers=2) as server:
        wires = [connect_websocket(server, "/generation") for _ in range(50)]
        assert {wire.read_frame().payload for wire in wires} == {b"1"}
        codes = []

        def follow(wire: WebSocketConnection) -> None:
            """What a client does: answer the close, connect anew."""
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
