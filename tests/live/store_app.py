"""An app whose requests use the store, and what tests of it ask."""

import subprocess
from pathlib import Path

from tests.live.harness import Server, command

OTHER, THIRD = 65534, 65533

APP = """\
import os
import sys
from urllib.parse import parse_qsl

import prefork


def app(environ, start_response):
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    try:
        body = str(ACTIONS[environ["PATH_INFO"]](**query))
    except Exception as error:
        body = f"{type(error).__name__}: {error}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]


ACTIONS = {
    "/plain": lambda: sorted(name for name in sys.modules if name.startswith("prefork.store")),
    "/incr": lambda key: prefork.store().incr(key),
    "/get": lambda key: prefork.store().get(key),
    "/secret": lambda: prefork.secret("key"),
    "/lock": lambda: prefork.lock("job", timeout=30).__enter__(),
    "/read": lambda path: open(path, "rb").read(),
    "/pid": os.getpid,
}
"""


def body(server: Server, path: str) -> str:
    status, content = server.get(path)
    assert status == 200
    return content.decode()


def store_of(server: Server) -> Path:
    return home_of(server) / "web" / "store"


def home_of(server: Server) -> Path:
    return server.cwd / "home"


def verb(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """Carry out ``prefork store web`` on the app of a server."""
    env = {"PREFORK_HOME": str(home_of(server))}
    return command("store", "web", *words, cwd=Path("/"), env=env)
