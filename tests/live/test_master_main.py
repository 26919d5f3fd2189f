"""``main(listener)`` in a worker: it stops without losing a client, however it is written."""

import signal
import socket
from pathlib import Path

import pytest

from tests.live.client_load import BODY_WORDS, client_load
from tests.live.harness import Server, serving
from tests.live.held_requests import Gate, read_response, send_request

_ANSWER = f"""\
import asyncio, os, prefork
BODY = f"0001 {{os.getpid()}} ".encode() * {BODY_WORDS}
HEAD = b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
ANSWER = HEAD % len(BODY) + BODY
"""

MAINS = {
    "plain": """
def app(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(ANSWER)
""",
    "plain that asks": """
def app(listener):
    listener.settimeout(0.02)
    while not prefork.stopping():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(10)
            connection.recv(65536)
            connection.sendall(ANSWER)
""",
    "async on the socket": """
async def app(listener):
    loop = asyncio.get_running_loop()
    tasks = set()
    async def talk(connection):
        with connection:
            await loop.sock_recv(connection, 65536)
            await loop.sock_sendall(connection, ANSWER)
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setblocking(False)
        tasks.add(task := loop.create_task(talk(connection)))
        task.add_done_callback(tasks.discard)
""",
    "async with streams": """
async def talk(reader, writer):
    await reader.read(65536)
    writer.write(ANSWER)
    await writer.drain()
    writer.close()
async def app(listener):
    async with await asyncio.start_server(talk, sock=listener) as server:
        await server.serve_forever()
""",
    "async that asks": """
async def talk(reader, writer):
    await reader.read(65536)
    writer.write(ANSWER)
    await writer.drain()
    writer.close()
async def app(listener):
    server = await asyncio.start_server(talk, sock=listener)
    await prefork.stopping()
    server.close()
""",
}


def write_main(folder: Path, kind: str) -> None:
    (folder / "app.py").write_text(_ANSWER + MAINS[kind])


@pytest.mark.parametrize("kind", MAINS)
def test_reloads_lose_no_client(tmp_path: Path, kind: str) -> None:
    write_main(tmp_path, kind)
    with serving(tmp_path, "app:app") as server, client_load(server.port, 0, 4, pause=0) as clients:
        for n in range(2, 32):
            server.send(signal.SIGHUP)
            server.wait_log(rf"reloaded to gen {n} ")
            server.wait_log(rf"gen {n - 1}\) gone: reload")
        report = clients.stop()
        assert not report.failures, report
        assert server.stop() == 0
        assert not server.count("killed|Traceback")


@pytest.mark.parametrize("kind", MAINS)
def test_a_stop_is_clean_while_nothing_happens(tmp_path: Path, kind: str) -> None:
    write_main(tmp_path, kind)
    with serving(tmp_path, "app:app", workers=2) as server:
        assert read_response(send_request(server.port))[0] == 200
        assert server.stop() == 0
        assert server.count("gone: stop$") == 2
        assert not server.count("killed|Traceback")


TALKATIVE = """
import asyncio, os
async def app(listener):
    loop = asyncio.get_running_loop()
    tasks = set()
    async def talk(connection):
        with connection:
            while data := await loop.sock_recv(connection, 100):
                await loop.sock_sendall(connection, str(os.getpid()).encode())
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setblocking(False)
        tasks.add(task := loop.create_task(talk(connection)))
        task.add_done_callback(tasks.discard)
"""


def test_an_async_main_goes_on_when_a_sibling_took_the_connection(tmp_path: Path) -> None:
    """A connection wakes both workers, and one of them finds nothing to accept."""
    (tmp_path / "app.py").write_text(TALKATIVE)
    with serving(tmp_path, "app:app", workers=2) as server:
        workers = server.workers()
        connections: list[socket.socket] = []
        try:
            for _ in range(30):
                # Both are stopped, so that both see the connection when they go on.
                for worker in workers:
                    worker.suspend()
                connections.append(socket.create_connection(("127.0.0.1", server.port), 5))
                for worker in workers:
                    worker.resume()
                for connection in connections:
                    connection.sendall(b"who?")
                    assert connection.recv(100)
        finally:
            for connection in connections:
                connection.close()


@pytest.mark.parametrize("how", ["a main that returns", "a main that raises"])
def test_a_main_that_ends_by_itself_is_a_failure_and_is_replaced(tmp_path: Path, how: str) -> None:
    end = "return" if how == "a main that returns" else "raise LookupError('no such luck')"
    source = f"def app(listener):\n    listener.accept()\n    {end}\n"
    (tmp_path / "app.py").write_text(source)
    with serving(tmp_path, "app:app") as server:
        send_request(server.port).close()
        server.wait_log(r"gone: exited by itself \(exit code 102\); a new one")
        server.wait_log(
            "returned before the worker was told to stop" if "returns" in how else "no such luck"
        )
        server.wait_all_ready(1, 1)


def test_a_main_with_manual_ready_is_ready_when_it_calls_ready(tmp_path: Path) -> None:
    source = (
        "import prefork\n"
        "def app(listener):\n"
        "    open('gate').read()\n"
        "    prefork.ready()\n"
        "    prefork.stopping().wait()\n"
    )
    (tmp_path / "app.py").write_text(source)

    gate = Gate(tmp_path / "gate")
    server = Server("-b", "127.0.0.1:0", "--ready", "manual", "app:app", cwd=tmp_path)
    try:
        gate.wait_entered()
        assert "ready in" not in server.log
        gate.open()
        server.ready()
        assert server.stop() == 0
    finally:
        server.destroy()
