"""A connection that has ended is freed at once, and not by the garbage collector.

The collector would have to look at its objects again and again, and busy workers would keep
hundreds of them.
"""

from pathlib import Path

import pytest

from tests.live.app_sources import write_version
from tests.live.harness import Server, serving
from tests.live.raw_client import ask, chunked, get, post, tcp

CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = chunked(b"bo", b"dy")

COLLECT = """
import gc
def begin():
    gc.collect()
    gc.disable()
    return b"begun"
def collect():
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    kinds = [kind for kind in map(type, gc.garbage) if kind.__module__.startswith("prefork")]
    gc.garbage.clear()
    return " ".join(kind.__name__ for kind in kinds).encode()
"""

OPTIONS = {
    "wsgi": ("wsgi", COLLECT),
    "threads": ("wsgi", COLLECT, "--threads", "2"),
    "asgi": ("asgi", COLLECT.replace("def ", "async def ")),
}


def connect_in_all_ways(server: Server) -> None:
    """Open connections that end in different ways, and wait for the end of each."""
    for _ in range(5):
        with tcp(server) as wire:  # the server closes
            wire.send(get("/", "Connection: close")).answer()
            assert wire.ends_cleanly()
        with tcp(server) as wire:  # the client closes
            requests = (post("/", b"body"), get("/", CHUNKED, method="POST") + CHUNKS)
            assert [wire.send(each).answer().status for each in requests] == [200] * 2
        with tcp(server) as wire:  # in the middle of a request
            wire.send(get("/").removesuffix(b"\r\n"))
        with tcp(server) as wire:  # without a request
            pass
        with tcp(server) as wire:  # by a mistake
            assert wire.send(b"GET / HTTP/1.1\r\n\r\n").answer().status == 400
            assert wire.ends_cleanly()


@pytest.mark.parametrize("kind", list(OPTIONS))
def test_a_connection_that_has_ended_leaves_no_garbage(tmp_path: Path, kind: str) -> None:
    interface, code, *options = OPTIONS[kind]
    write_version(tmp_path, 1, interface, code)
    with serving(tmp_path, "app:app", *options) as server:
        connect_in_all_ways(server)
        assert ask(server, get("/begin")).body == b"begun"
        connect_in_all_ways(server)
        assert ask(server, get("/collect")).body.decode().split() == []
