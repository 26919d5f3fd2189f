"""An app behind gevent or eventlet, which replace modules of the standard library at its import.

The variable GREEN names the library. WSGI, ASGI and ``main`` serve the same paths.
"""

import os

LIBRARY = os.environ["GREEN"]

if LIBRARY == "gevent":
    from gevent import monkey

    monkey.patch_all()
else:
    import eventlet

    eventlet.monkey_patch()

import socket  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402


def _sleep():
    """Sleep in two green threads at a time."""
    began = time.monotonic()
    threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "together" if time.monotonic() - began < 0.4 else "one after the other"


def _talk():
    """Talk to itself by sockets, in two green threads."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        connection.sendall(connection.recv(100).upper())
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"hello")
        text = client.recv(100)
    thread.join()
    listener.close()
    return text.decode()


def _run():
    return subprocess.check_output(["echo", "ran"], text=True).strip()


def _hang():
    while True:
        sum(range(1000))


def _fork():
    """gevent does not notice the death of its first child before it has begun to watch it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        sys.exit(3)
    os.write(writer, b".")
    _, status = os.waitpid(pid, 0)
    return str(os.waitstatus_to_exitcode(status))


PATHS = {
    "/": lambda: "hello",
    "/hang": _hang,
    "/fork": _fork,
    "/sleep": _sleep,
    "/talk": _talk,
    "/run": _run,
}


def wsgi(environ, start_response):
    body = PATHS[environ["PATH_INFO"]]().encode()
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    body = PATHS[scope["path"]]().encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


def main(listener):
    while True:
        connection, _ = listener.accept()
        path = connection.recv(65536).split(b" ")[1].decode()
        body = PATHS[path]().encode()
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        connection.close()
