"""Connections that wait in the handoff queue when a worker is almost full, or leaves.

An overloaded worker puts connections there at moments that no test can choose. So the app of these
tests accepts connections itself, puts them into the queue, and keeps its worker until the gate
opens.
"""

import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.harness import PATIENCE, Server, serving, wait_for
from tests.live.held_requests import Gate
from tests.live.raw_client import RawConnection, get, tcp

QUEUED = 6
"""Connections that a test puts into the queue."""

APP = """
import gc, os, socket, time
from prefork.http.peer import Addresses
from prefork.unix.shared_queue import SharedQueue

gc.unfreeze()  # else the collector does not know the objects of the master
[queue] = [each for each in gc.get_objects() if isinstance(each, SharedQueue)]

def queue_connections(count):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with open("port.new", "w") as file:
            file.write(str(listener.getsockname()[1]))
        os.rename("port.new", "port")
        for _ in range(count):
            connection, client = listener.accept()
            with connection:
                addresses = Addresses(client, connection.getsockname())
                assert queue.put(connection.fileno(), connection.family, addresses)

def app(environ, start_response):
    verb, _, value = environ["PATH_INFO"][1:].partition("/")
    if verb == "queue":
        queue_connections(int(value))
    if verb in ("queue", "hold"):
        open(f"{verb}-gate").read()
    if verb == "sleep":
        time.sleep(float(value))
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
"""


def fill_queue(stack: ExitStack, folder: Path, wire: RawConnection) -> list[RawConnection]:
    """Have the worker of ``wire`` put connections into the queue, and return their clients' ends.
    The worker stays busy until its gate opens."""
    wire.send(get(f"/queue/{QUEUED}"))
    wait_for((folder / "port").exists, "the app listens")
    address = ("127.0.0.1", int((folder / "port").read_text()))
    return [
        stack.enter_context(RawConnection(socket.create_connection(address, PATIENCE)))
        for _ in range(QUEUED)
    ]


def hold_other_worker(stack: ExitStack, folder: Path, server: Server) -> tuple[RawConnection, Gate]:
    """Keep a worker busy until the gate that is returned opens."""
    gate = Gate(folder / "hold-gate")
    wire = stack.enter_context(tcp(server))
    wire.send(get("/hold"))
    gate.wait_entered()
    return wire, gate


@pytest.mark.parametrize("workers", [1, 2])
def test_new_connections_take_no_place_of_one_that_waits_in_the_queue(
    tmp_path: Path, workers: int
) -> None:
    (tmp_path / "app.py").write_text(APP)
    options = (f"--limit-connections={QUEUED + 1}", "--header-timeout=1h", "--keepalive=1h")
    gate = Gate(tmp_path / "queue-gate")
    with serving(tmp_path, "app:app", *options, workers=workers) as server, ExitStack() as stack:
        if workers > 1:
            held, other_gate = hold_other_worker(stack, tmp_path, server)
        wire = stack.enter_context(tcp(server))
        queued = fill_queue(stack, tmp_path, wire)
        gate.wait_entered()
        new = [stack.enter_context(tcp(server)) for _ in range(QUEUED)]
        gate.open()
        [pid] = {client.send(get("/")).answer().body for client in (*queued, wire)}
        assert not any(client.is_readable(0) for client in new)
        if workers > 1:
            other_gate.open()
            assert held.answer().body != pid


def test_workers_that_leave_together_divide_the_queue(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    gate = Gate(tmp_path / "queue-gate")
    with serving(tmp_path, "app:app", workers=2) as server, ExitStack() as stack:
        held, other_gate = hold_other_worker(stack, tmp_path, server)
        wire = stack.enter_context(tcp(server))
        queued = fill_queue(stack, tmp_path, wire)
        gate.wait_entered()
        for client in queued:
            client.send(get("/sleep/0.2"))
        server.send(signal.SIGTERM)
        wait_for(
            lambda: sum("draining" in title for title in server.titles()) == 2, "both workers drain"
        )
        gate.open()
        wait_for(lambda: any(client.is_readable(0) for client in queued), "one took from the queue")
        other_gate.open()
        answers = [client.answer() for client in queued]
        assert all(answer.closes for answer in answers)
        assert {answer.body for answer in answers} == {wire.answer().body, held.answer().body}
        assert server.wait_exit() == 0
