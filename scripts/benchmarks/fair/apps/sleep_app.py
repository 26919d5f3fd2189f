"""An app that blocks its worker: `GET /500` sleeps for 500 ms and answers the pid of the worker."""

import asyncio
import os
import time


def answer(path):
    """Sleep for the milliseconds in the path, and return the body of the answer."""
    time.sleep(int(path[1:] or 0) / 1000)
    return b"%d" % os.getpid()


def wsgi(environ, start_response):
    """Serve one request (WSGI)."""
    body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, _receive, send):
    """Serve one request (ASGI), without lifespan."""
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    body = answer(scope["path"])
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def respond(head, *fields):
    """Return the complete response to a request head, with these additional header fields."""
    body = answer(head.split(b" ", 2)[1].decode())
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields, b"", body]
    return b"\r\n".join(lines)


def plain(listener):
    """Serve one connection at a time, with one request on each (`main` interface)."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.setblocking(True)
            if head := connection.recv(65536):
                connection.sendall(respond(head, b"Connection: close"))


async def loop(listener):
    """Serve with asyncio and keep-alive (`main` interface)."""

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(respond(head))
                if b"close" in head:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, sock=listener)
    await server.serve_forever()
