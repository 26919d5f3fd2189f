"""Mains of every form. Each connection sends a line and gets one back, and says goodbye.

The answer tells who answered. ``hold`` instead of an answer waits for a second line, so that a test
can have a connection in the middle of its work.
"""

import asyncio
import json
import os
import select
import socket
import threading

import uvloop

import prefork


def _answer(line: bytes) -> bytes:
    me = prefork.worker()
    return (
        json.dumps(
            {
                "line": line.decode().strip(),
                "worker": [me.slot, me.generation, me.name],
                "environ": {k: v for k, v in os.environ.items() if k.startswith("PREFORK_")},
                "pid": os.getpid(),
            }
        ).encode()
        + b"\n"
    )


def talk(connection: socket.socket) -> None:
    """Serve one connection."""
    with connection, connection.makefile("rwb") as file:
        line = file.readline()
        if line == b"hold\n":
            file.write(b"held\n")
            file.flush()
            line = file.readline()
        file.write(_answer(line))


async def talk_async(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    line = await reader.readline()
    if line == b"hold\n":
        writer.write(b"held\n")
        line = await reader.readline()
    writer.write(_answer(line))
    writer.close()


def plain(listener: socket.socket) -> None:
    """Does not use prefork; SystemExit out of accept ends it."""
    try:
        while True:
            talk(listener.accept()[0])
    except SystemExit:
        print("left by SystemExit", file=open("goodbye", "w"))  # noqa: SIM115
        raise


def plain_flag(listener: socket.socket) -> None:
    """Checks the stop flag between two connections."""
    listener.settimeout(0.02)
    while not prefork.stopping():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        connection.settimeout(None)
        talk(connection)


def plain_select(listener: socket.socket) -> None:
    """Selects on the listener and on the stop flag."""
    listener.setblocking(False)
    while True:
        ready, _, _ = select.select([listener, prefork.stopping()], [], [])
        if prefork.stopping() in ready:
            break
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        connection.setblocking(True)
        talk(connection)


def plain_wait(listener: socket.socket) -> None:
    """Threads serve, the main thread waits."""
    threads: list[threading.Thread] = []

    def accept() -> None:
        listener.settimeout(0.02)
        while not prefork.stopping():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(None)
            threads.append(threading.Thread(target=talk, args=[connection]))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    assert prefork.stopping().wait(0.001) in (False, True)
    assert prefork.stopping().wait() is True
    for thread in (acceptor, *threads):
        thread.join()


async def async_await(listener: socket.socket) -> None:
    """Serves streams, and awaits the stop flag."""
    server = await asyncio.start_server(talk_async, sock=listener)
    await prefork.stopping()
    server.close()


async def async_forever(listener: socket.socket) -> None:
    """Does not use prefork; it is cancelled, its connections are not."""
    server = await asyncio.start_server(talk_async, sock=listener)
    async with server:
        await server.serve_forever()


async def async_accept(listener: socket.socket) -> None:
    """Accepts by the loop's own method."""
    loop = asyncio.get_running_loop()
    talks = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        talks.add(loop.create_task(_adopt(connection)))


async def _adopt(connection: socket.socket) -> None:
    await talk_async(*await asyncio.open_connection(sock=connection))


def own_asyncio(listener: socket.socket) -> None:
    """A plain main with asyncio's loop; SystemExit ends it."""
    asyncio.run(async_forever(listener))


def own_uvloop(listener: socket.socket) -> None:
    """A plain main with a uvloop of its own; SystemExit ends it."""
    uvloop.run(async_forever(listener))


def own_accept(listener: socket.socket) -> None:
    """A plain main whose loop accepts, and which checks the stop flag."""

    async def until_asked() -> None:
        accepting = asyncio.create_task(async_accept(listener))
        await prefork.stopping()
        accepting.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task(), accepting}
        await asyncio.gather(*others)

    asyncio.run(until_asked())


def two(first: socket.socket, *others: socket.socket) -> None:
    """One listener for each --bind."""
    everyone = {sock.fileno(): sock for sock in (first, *others)}
    while not prefork.stopping():
        ready, _, _ = select.select([*everyone, prefork.stopping()], [], [], 0.02)
        for fd in ready:
            if fd in everyone:
                talk(everyone[fd].accept()[0])


def manual(listener: socket.socket) -> None:
    """Is ready when the test lets it."""
    print("main begins", file=open("begun", "w"))  # noqa: SIM115
    while not os.path.exists("go"):
        prefork.stopping().wait(0.005)
    prefork.ready()
    prefork.ready()
    plain_select(listener)
