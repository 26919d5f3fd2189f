"""Servers of the apps web_wsgi and web_asgi, and what these apps report."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from tests.live.harness import APPS, Server, serving
from tests.live.raw_client import ask, get

KINDS = {
    "wsgi": ("web_wsgi:app",),
    "threads": ("web_wsgi:app", "--threads", "2"),
    "asgi": ("web_asgi:app",),
}
"""The app and its options: in the loop's thread, in a pool of threads, asynchronous."""


def serving_app(
    kind: str, cwd: Path, *arguments: str, stdout: IO[bytes] | None = None, **options: Any
) -> AbstractContextManager[Server]:
    """Serve the app of this kind, with one worker unless ``options`` say otherwise."""
    app, *threads = KINDS[kind]
    return serving(
        cwd, app, "--pythonpath", str(APPS), *threads, *arguments, stdout=stdout, **options
    )


def events(server: Server) -> list[str]:
    """Return the events that the app has recorded."""
    happened: list[str] = json.loads(ask(server, get("/events")).body)
    return happened


def open_gate(server: Server, name: str) -> None:
    """Let the app go on that waits for this gate."""
    assert ask(server, get(f"/open/{name}")).body == b"open"


@contextmanager
def lazy_servers(
    start: Callable[[str], AbstractContextManager[Server]],
) -> Iterator[Callable[[str], Server]]:
    """Servers by kind, each started at its first use and kept to the end.

    For a fixture of a module whose tests need kinds in any order: a fixture with parameters would
    start and stop a server at each change.
    """
    servers: dict[str, Server] = {}
    with ExitStack() as stack:

        def server(kind: str) -> Server:
            if kind not in servers:
                servers[kind] = stack.enter_context(start(kind))
            return servers[kind]

        yield server
