"""Overloaded workers hand open connections off, and any worker with time continues with them."""

import json
import os
import random
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.live.app_sources import HOLD, write_version
from tests.live.client_load import Report, client_load
from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.held_requests import Gate
from tests.live.raw_client import CutOffError, RawConnection, get, tcp, unix
from tests.live.websocket_client import Frame, connect_websocket

CLIENTS = 12
WORTH_SHARING = 0.002
"""Seconds that a request has to keep its worker before that hands connections off."""
LONG = get("/0.03")
FOLDER = f"--pythonpath={APPS}"


@contextmanager
def clients(connect: Callable[[], RawConnection]) -> Iterator[list[RawConnection]]:
    with ExitStack() as all_of_them:
        yield [all_of_them.enter_context(connect()) for _ in range(CLIENTS)]


def ask_all(wires: list[RawConnection], request: bytes = LONG) -> list[bytes]:
    """Send a request on each connection and return the bodies; no connection ends."""
    for wire in wires:
        wire.send(request)
    answers = [wire.answer() for wire in wires]
    assert not any(answer.closes for answer in answers)
    return [answer.body for answer in answers]


def meet_others(wires: list[RawConnection]) -> None:
    """Send requests until each client was answered by two workers on the same connection."""
    met: list[set[bytes]] = [set() for _ in wires]

    def all_did() -> bool:
        for seen, pid in zip(met, ask_all(wires), strict=True):
            seen.add(pid)
        return all(len(seen) > 1 for seen in met)

    wait_for(all_did, "every client was answered by two workers")


def test_clients_of_an_overloaded_worker_continue_with_others(tmp_path: Path) -> None:
    with serving(tmp_path, "fair:wsgi", FOLDER, workers=2) as server:
        with clients(lambda: tcp(server)) as wires:
            meet_others(wires)
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_over_a_unix_socket_too(tmp_path: Path) -> None:
    options = ("-b", "unix:app.sock", FOLDER)
    with (
        serving(tmp_path, "fair:wsgi", *options, workers=2),
        clients(lambda: unix(tmp_path / "app.sock")) as wires,
    ):
        meet_others(wires)


def test_a_client_that_pauses_is_answered_wherever_it_is(tmp_path: Path) -> None:
    """Its connection is not forgotten in the queue."""
    with (
        serving(tmp_path, "fair:wsgi", FOLDER, "--keepalive=1h", workers=2) as server,
        clients(lambda: tcp(server)) as wires,
    ):
        meet_others(wires)
        for wire in reversed(wires):
            assert wire.send(get("/")).answer().status == 200


def test_the_addresses_from_a_proxy_move_along(tmp_path: Path) -> None:
    write_app(tmp_path)
    line = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
    with (
        serving(tmp_path, "addresses:app", "--proxy-protocol", workers=2) as server,
        clients(lambda: tcp(server)) as wires,
    ):
        for wire in wires:
            wire.send(line)
        pids = Counter[int]()

        def two_workers_have_answered_the_first() -> bool:
            reports = [json.loads(body) for body in ask_all(wires)]
            assert all(each[1:] == ["192.0.2.7", "4711"] for each in reports)
            pids[reports[0][0]] += 1
            return len(pids) > 1

        wait_for(two_workers_have_answered_the_first, "another worker continued with it")


def test_a_websocket_stays_with_its_app(tmp_path: Path) -> None:
    (tmp_path / "sockets_too.py").write_text(
        "import os, time\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        time.sleep(0.03)\n"
        "        await send({'type': 'http.response.start', 'status': 200})\n"
        "        await send({'type': 'http.response.body', 'body': b'%d' % os.getpid()})\n"
        "    elif scope['type'] == 'websocket':\n"
        "        await receive()\n"
        "        await send({'type': 'websocket.accept'})\n"
        "        while (event := await receive())['type'] == 'websocket.receive':\n"
        "            await send({'type': 'websocket.send', 'text': event['text'] + '!'})\n"
        "    else:\n"
        "        raise NotImplementedError\n"
    )
    with (
        serving(tmp_path, "sockets_too:app", workers=2) as server,
        load_of(server) as stop,
        ExitStack() as all_of_them,
    ):
        for _ in range(8):
            wire = connect_websocket(server, "/")
            all_of_them.enter_context(wire)
            for word in (b"one", b"two"):
                wire.send_frames(Frame(1, word))
                assert wire.read_frame().payload == word + b"!"
        stop()


@contextmanager
def load_of(server: Server) -> Iterator[Callable[[], None]]:
    """Clients that send requests until they are told to stop. A client that failed raises its error
    then."""
    going = threading.Event()
    failed: list[BaseException] = []

    def go_on(wire: RawConnection) -> None:
        try:
            while not going.is_set():
                assert wire.send(get("/")).answer().status == 200
        except BaseException as error:
            failed.append(error)

    def stop() -> None:
        going.set()
        for thread in threads:
            thread.join()
        assert not failed

    with clients(lambda: tcp(server)) as wires:
        meet_others(wires)
        threads = [threading.Thread(target=go_on, args=(wire,)) for wire in wires]
        for thread in threads:
            thread.start()
        try:
            yield stop
        finally:
            going.set()
            for thread in threads:
                thread.join()


def write_app(folder: Path) -> None:
    (folder / "addresses.py").write_text(
        "import json, os, time\n"
        "def app(environ, start_response):\n"
        "    time.sleep(0.01)\n"
        "    start_response('200 OK', [])\n"
        "    report = [os.getpid(), environ['REMOTE_ADDR'], environ['REMOTE_PORT']]\n"
        "    return [json.dumps(report).encode()]\n"
    )


def stay(wires: list[RawConnection], rounds: int = 20) -> None:
    """Check that each client is answered by its first worker only, however long that is
    overloaded."""
    first = ask_all(wires)
    for _ in range(rounds):
        assert ask_all(wires) == first


def test_tls_stays_where_its_keys_are(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    site = ca.issue("site", "site.test")

    def connect() -> RawConnection:
        wire = tcp(server)
        wire.socket = ca.trusting().wrap_socket(wire.socket, server_hostname="site.test")
        assert isinstance(wire.socket, ssl.SSLSocket)
        return wire

    options = (FOLDER, "--tls-cert", str(site.both))
    with serving(tmp_path, "fair:wsgi", *options, workers=2) as server, clients(connect) as wires:
        stay(wires)


@pytest.mark.parametrize(
    "option", ["--accept=any", "--limit-requests-per-connection=1000", "--threads=1"]
)
def test_options_that_exclude_the_handoff(tmp_path: Path, option: str) -> None:
    """With ``--accept any`` there is no handoff, a worker that counts requests keeps the
    connections that it counts, and threads have read the next request before a sibling could."""
    with (
        serving(tmp_path, "fair:wsgi", FOLDER, option, workers=2) as server,
        clients(lambda: tcp(server)) as wires,
    ):
        stay(wires)


def test_short_calls_cause_no_handoff(tmp_path: Path) -> None:
    """A worker that gets no processor time takes long for any call, and may hand off then. So only
    rounds count in which no call can have been long."""
    with (
        serving(tmp_path, "fair:wsgi", FOLDER, workers=2) as server,
        clients(lambda: tcp(server)) as wires,
    ):
        first = ask_all(wires, get("/"))
        for _ in range(500):
            started_at = time.monotonic()
            answers = ask_all(wires, get("/"))
            if time.monotonic() - started_at > WORTH_SHARING * len(wires):
                break
            assert answers == first


def test_the_only_client_of_a_worker_stays(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "fair:wsgi", FOLDER, workers=2) as server,
        tcp(server) as wire,
    ):
        assert len({wire.send(LONG).answer().body for _ in range(40)}) == 1


# While workers come and go.


def write_slow_version(folder: Path, version: int) -> None:
    """Write the app of the clients in client_load.py, with calls of 10 ms."""
    write_version(folder, version, code="import time")
    with (folder / "app.py").open("a") as source:
        source.write(
            "\ndef slow(environ, start_response):\n"
            "    time.sleep(0.01)\n"
            "    return app(environ, start_response)\n"
        )


def lost_nothing(report: Report) -> None:
    print(report)
    assert not report.failures


def test_reloads_and_scaling_lose_nothing(tmp_path: Path) -> None:
    write_slow_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:slow", workers=3) as server,
        client_load(server.port, 24, 0, pause=0) as crowd,
    ):
        crowd.run_phase("overloaded", 400)
        for number in range(2, 5):
            write_slow_version(tmp_path, number)
            server.send(signal.SIGHUP)
            crowd.run_phase(f"reload {number}", 200)
            server.wait_log(rf"reloaded to gen {number} ")
        server.send(signal.SIGTTIN)
        crowd.run_phase("more", 200)
        server.send(signal.SIGTTOU)
        crowd.run_phase("fewer", 200)
        lost_nothing(crowd.stop())


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_at_the_end_of_the_master_all_requests_are_answered(
    tmp_path: Path, end: signal.Signals
) -> None:
    with (
        serving(tmp_path, "fair:wsgi", FOLDER, workers=2) as server,
        clients(lambda: tcp(server)) as wires,
    ):
        meet_others(wires)
        for wire in wires:
            wire.send(get("/0.05"))
        os.kill(server.pid, end)
        assert all(wire.answer().status == 200 for wire in wires)


@pytest.mark.load
def test_a_killed_worker_loses_its_own_requests_and_no_connection_in_the_queue(
    tmp_path: Path,
) -> None:
    write_slow_version(tmp_path, 1)
    with (
        serving(tmp_path, "app:slow", workers=3) as server,
        client_load(server.port, 24, 0, pause=0) as crowd,
    ):
        crowd.run_phase("overloaded", 400)
        random.choice(server.workers()).kill()
        server.wait_log("a new one")
        crowd.run_phase("after", 200)
        report = crowd.stop()
    print(report)
    # The worker had one request in flight, and perhaps others on their way; not the eight that
    # would be its share.
    assert len(report.failures) <= 3


def test_a_stop_answers_all_requests_however_long_they_take_together(tmp_path: Path) -> None:
    """Together they take longer than --linger. How workers that leave divide what is in the handoff
    queue is in test_handoff_queue.py."""
    with (
        serving(tmp_path, "fair:wsgi", FOLDER, "--linger=300ms", workers=4) as server,
        clients(lambda: tcp(server)) as wires,
    ):
        meet_others(wires)
        for wire in wires:
            wire.send(get("/0.4"))
        server.send(signal.SIGTERM)
        assert all(wire.answer().status == 200 for wire in wires)
        assert server.wait_exit() == 0


@pytest.mark.parametrize("killed", [False, True])
def test_a_roll_to_another_interface_strands_no_client(tmp_path: Path, killed: bool) -> None:
    """A main(listener) does not take connections from the handoff queue."""
    (tmp_path / "app.py").write_text((APPS / "fair.py").read_text() + "\napp = wsgi\n")
    options = ("--interface=auto", "--kill-timeout=2s")
    with (
        serving(tmp_path, "app:app", *options, workers=2) as server,
        clients(lambda: tcp(server)) as wires,
    ):
        meet_others(wires)
        for wire in wires:
            wire.send(get("/8" if killed else "/0.1"))
        (tmp_path / "app.py").write_text((APPS / "fair.py").read_text() + "\napp = main\n")
        server.send(signal.SIGHUP)
        for wire in wires:
            try:
                assert wire.answer().status == 200
            except (CutOffError, ConnectionResetError):
                assert killed


def test_new_clients_do_not_displace_open_connections(tmp_path: Path) -> None:
    """A worker that hands a connection off has room for a new one, and at its limit takes none
    back."""
    options = (FOLDER, "--limit-connections=8", "--header-timeout=1h", "--keepalive=1h")
    with (
        serving(tmp_path, "fair:wsgi", *options, workers=2) as server,
        clients(lambda: tcp(server)) as wires,
        ExitStack() as all_of_them,
    ):
        ask_all(wires)
        for _ in range(20):
            ask_all(wires)
        silent = [all_of_them.enter_context(tcp(server)) for _ in range(8)]
        for _ in range(20):
            ask_all(wires)
        assert not any(wire.is_readable(0) for wire in silent)


def test_a_worker_that_was_full_accepts_again(tmp_path: Path) -> None:
    """This also holds when the connection that filled the worker ended before its handshake, and so
    was never answered."""
    options = ("--proxy-protocol", "--limit-connections=1", "--handshake-timeout=1h")
    line = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
    with (
        serving(tmp_path, "fair:wsgi", FOLDER, *options, workers=2) as server,
        tcp(server) as one,
        tcp(server) as two,
        tcp(server) as three,
    ):
        server.wait_log("at the limit of its connections", 2)
        one.socket.close()
        two.socket.close()
        with tcp(server) as wire:
            assert wire.send(line, get("/", "Connection: close")).answer().status == 200
        assert three.send(line, get("/")).answer().status == 200


@pytest.mark.parametrize("tls", [False, True])
def test_a_request_that_was_not_read_yet_is_answered_before_the_worker_exits(
    tmp_path: Path, tls: bool
) -> None:
    """Its connection is idle and --linger has passed, but a call kept the worker from reading."""
    write_version(tmp_path, 1, code=HOLD)
    ca = Authority(tmp_path)
    options = ("--tls-cert", str(ca.issue("site", "site.test").both)) if tls else ()
    gate = Gate(tmp_path / "gate")

    def connect() -> RawConnection:
        wire = tcp(server)
        if tls:
            wire.socket = ca.trusting().wrap_socket(wire.socket, server_hostname="site.test")
        return wire

    with (
        serving(tmp_path, "app:app", "--linger=600ms", "--keepalive=1h", *options) as server,
        clients(connect) as wires,
    ):
        ask_all(wires, get("/"))
        first, second, third, *_ = wires
        first.send(get("/hold"))
        gate.wait_entered()
        second.send(get("/hold"))
        server.send(signal.SIGTERM)
        wait_for(lambda: any("draining" in title for title in server.titles()), "the worker drains")
        gate.open()
        assert first.answer().status == 200
        gate.wait_entered()
        asked = time.monotonic()
        third.send(get("/"))
        wait_for(lambda: time.monotonic() > asked + 1, "the linger time has passed")
        gate.open()
        assert second.answer().status == third.answer().status == 200
        assert server.wait_exit() == 0
