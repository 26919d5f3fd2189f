"""An app that leaves threads and other work behind; served by every interface.

``GET /NAME`` calls the function of that name. Whatever is left behind ends when the fifo
``gate`` is closed, and then writes its name into the file ``done``.
"""

import asyncio
import atexit
import concurrent.futures
import threading

import prefork

_POOL = concurrent.futures.ThreadPoolExecutor(1)


def _note(name):
    with open("done", "a") as done:
        done.write(f"{name}\n")


def _work(name):
    with open("gate") as gate:
        gate.read()
    _note(name)


def thread():
    threading.Thread(target=_work, args=("thread",), name="leftover").start()


def timer():
    threading.Timer(0.001, _work, args=("timer",)).start()


def executor():
    _POOL.submit(_work, "executor")


def daemon():
    threading.Thread(target=_work, args=("daemon",), daemon=True).start()


def busy():
    threading.Thread(target=_busy, daemon=True).start()


def _busy():
    with prefork.busy():
        _work("busy")


def nothing():
    pass


def endless():
    threading.Thread(target=threading.Event().wait).start()


atexit.register(_note, "atexit")


def wsgi(environ, start_response):
    globals()[environ["PATH_INFO"][1:]]()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    globals()[scope["path"][1:]]()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})


async def asgi_with_lifespan(scope, receive, send):
    if scope["type"] != "lifespan":
        await asgi(scope, receive, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    _note("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


_TASKS = []


def task():
    async def work():
        with prefork.busy():
            await asyncio.to_thread(_work, "task")

    _TASKS.append(asyncio.create_task(work()))


def main(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            globals()[connection.recv(65536).split(b" ")[1].decode()[1:]]()
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
            connection.sendall(head)
