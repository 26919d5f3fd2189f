"""Apps whose workers note each term of leadership in the file ``terms`` of their folder.

A leader holds a lock (flock(2)) for its term. A second leader, which does not get it, notes "two".
A thread of each worker asks ``prefork.leader()`` a hundred times a second, and writes the first and
the last moment at which it was true into a file for each term.
"""

import asyncio
import fcntl
import os
import threading
import time
from pathlib import Path

import prefork

FOLDER = Path(os.environ.get("TERMS", "."))
KIND = os.environ.get("CALLBACK", "function")


def note(*words: object) -> None:
    """Append a line; several processes may do so at a time."""
    line = " ".join(map(str, (*words, os.getpid())))
    fd = os.open(FOLDER / "terms", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)


def begin(leadership: prefork.Leadership) -> int:
    lock = os.open(FOLDER / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("two")
    note("begin", leadership.token, prefork.leader(), prefork.leader_token() == leadership.token)
    return lock


def end(leadership: prefork.Leadership, lock: int) -> None:
    note("end", leadership.token, prefork.leader(), prefork.leader_token())
    os.close(lock)


def lead(leadership: prefork.Leadership) -> None:
    lock = begin(leadership)
    leadership.lost.wait()
    while (FOLDER / "hold").exists():
        time.sleep(0.01)
    end(leadership, lock)


async def lead_in_loop(leadership: prefork.Leadership) -> None:
    lock = begin(leadership)
    try:
        await asyncio.Event().wait()  # until it is cancelled
    finally:
        end(leadership, lock)


async def lead_until_lost(leadership: prefork.Leadership) -> None:
    lock = begin(leadership)
    await leadership.lost
    end(leadership, lock)


def lead_and_fork(leadership: prefork.Leadership) -> None:
    """Fork: neither does the child lead, nor does it go on with what its parent does. It comes
    before the lock: a child that inherits it would hold it after the death of its parent."""
    if os.fork() == 0:
        note("child", prefork.leader(), prefork.leader_token())
        return
    os.wait()
    lock = begin(leadership)
    leadership.lost.wait()
    end(leadership, lock)


prefork.on_leader(
    {
        "function": lead,
        "coroutine": lead_in_loop,
        "asking": lead_until_lost,
        "forking": lead_and_fork,
    }[KIND]
)


def watch() -> None:
    last, first, fd = 0, 0.0, -1
    while True:
        before = time.monotonic()
        token = prefork.leader_token()
        if token is not None and token != last:
            last, first = token, time.monotonic()
            fd = os.open(FOLDER / f"led-{token}-{os.getpid()}", os.O_WRONLY | os.O_CREAT)
        if token is not None:
            os.pwrite(fd, f"{first!r} {before!r} ".encode(), 0)
        time.sleep(0.01)


if os.environ.get("WATCH"):
    threading.Thread(target=watch, daemon=True).start()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def main(listener):
    while True:
        connection, _ = listener.accept()
        connection.close()


async def async_main(listener):
    def close(_reader, writer):
        writer.close()

    server = await asyncio.start_server(close, sock=listener)
    await server.serve_forever()
