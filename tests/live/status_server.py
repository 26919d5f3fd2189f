"""A server with a status server, and requests to it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any

import psutil

from tests.live.harness import PATIENCE, Server, command_line, serving, wait_for

APP = """\
import os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/blocks":
        os.write(2, b"blocked\\n")
        while not os.path.exists("gate"):
            time.sleep(0.01)
    elif path == "/dies":
        os._exit(3)
    elif path == "/says":
        print("<b>bold</b> words", flush=True)
    start_response("200 OK", [])
    return [b"hello"]

if os.path.exists("slow"):
    while not os.path.exists("gate"):
        time.sleep(0.01)
if os.path.exists("broken"):
    raise RuntimeError("the secret is 42")
"""
TOKEN = "open-sesame"
STATUS = ("--status", "127.0.0.1:0", "--timeout", "off")


@contextmanager
def watched(folder: Path, *options: str, workers: int = 1, **more: Any) -> Iterator[Server]:
    """Serve APP with a status server."""
    with serving(folder, "web:app", *STATUS, *options, workers=workers, **more) as server:
        yield server


def status_port(server: Server) -> int:
    """Return the port of the status server."""
    return int(server.wait_log(r"status on 127\.0\.0\.1:(\d+)")[1])


def fetch(
    server: Server, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, bytes, HTTPMessage]:
    """Request a path; return status, body and header fields."""
    client = HTTPConnection("127.0.0.1", status_port(server), timeout=2 * PATIENCE)
    try:
        client.request(method, path, body, headers)
        answer = client.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        client.close()


def fetch_json(server: Server, path: str, **headers: str) -> Any:
    """Request a path, check that the status is 200, and return the parsed body."""
    status, body, _ = fetch(server, path, **headers)
    assert status == 200, body
    return json.loads(body)


def with_token(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def find_status_server(server: Server) -> psutil.Process | None:
    """Return the process of the status server; None: it is being replaced."""
    for child in psutil.Process(server.pid).children():
        try:
            if "prefork: status [web]" in command_line(child):
                return child
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            pass
    return None


def status_server_process(server: Server) -> psutil.Process:
    """Wait for the process of the status server, and return it."""
    return wait_for(lambda: find_status_server(server), "a status server")


def readiness(server: Server) -> tuple[int, str]:
    """Return status and text of /readyz."""
    status, body, _ = fetch(server, "/readyz")
    return status, body.decode().strip()


def wait_readiness(server: Server, status: int, text: str) -> None:
    wait_for(
        lambda: (r := readiness(server))[0] == status and re.search(text, r[1]),
        f"/readyz says {status} {text}",
    )
