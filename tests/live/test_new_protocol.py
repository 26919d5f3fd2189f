"""A protocol that is one entry of the table, in a copy of the package, is served over TLS."""

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import toy_protocol
from tests.certificates import Keyring, keyring
from tests.live.harness import Server, wait_for
from tests.live.raw_client import RawConnection, get
from tests.live.tls_client import connect_plain, connect_tls
from tests.package_copy import copy_package, insert_before
from tests.toy_protocol import parse_frames

ENTRY = """\
    ProtocolEntry("toy/1", "prefork.http.toy_protocol:ToyProtocol"),
"""

APP = """
import asyncio
import threading

gate = threading.Event()
opened = asyncio.Event()

def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/wait":
        gate.wait(60)
    elif path == "/open":
        gate.set()
    start_response("200 OK", [("X-Scheme", environ["wsgi.url_scheme"])])
    return [path.encode()]

async def asgi(scope, receive, send):
    path = scope["path"]
    if path == "/wait":
        await opened.wait()
    elif path == "/open":
        opened.set()
    fields = [(b"X-Scheme", scope["scheme"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": path.encode()})
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the toy protocol, and its entry in the table."""
    copied = copy_package(tmp_path_factory.mktemp("copy"))
    shutil.copy(toy_protocol.__file__, copied / "http")
    insert_before(copied / "http" / "protocols.py", '    ProtocolEntry("http/1.1"', ENTRY)
    return copied


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return keyring(tmp_path_factory.mktemp("keys"))


@pytest.fixture(params=["wsgi", "asgi"])
def server(
    request: pytest.FixtureRequest, package: Path, keys: Keyring, tmp_path: Path
) -> Iterator[Server]:
    """Yield a server of one worker, with TLS on the first port and without on the second."""
    (tmp_path / "toy_app.py").write_text(APP)
    server = Server(
        *(f"toy_app:{request.param}", "-b", "127.0.0.1:0", "-b", "http://127.0.0.1:0", "-w", "1"),
        *(("--threads", "2") if request.param == "wsgi" else ()),
        *("--tls-cert", keys.site.pair, "--access-log", "access"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(package.parent)},
    )
    try:
        yield server.ready()
    finally:
        server.destroy()


def connect_with(server: Server, keys: Keyring, *names: str) -> tuple[RawConnection, str | None]:
    """Connect with these ALPN names; return the connection, and the name that the server chose."""
    context = keys.ca.trusting()
    if names:
        context.set_alpn_protocols(names)
    wire = connect_tls(server, context)
    assert isinstance(wire.socket, ssl.SSLSocket)
    return wire, wire.socket.selected_alpn_protocol()


def read_answers(wire: RawConnection, count: int) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Read ``count`` answers; return their numbers in the order of their ends, and the bodies."""
    data = b""
    while data.count(b" end 0\n") < count:
        piece = wire.socket.recv(65536)
        assert piece, data
        data += piece
    ended, frames = parse_frames(data)
    for each in frames.values():
        (head,) = (piece.lower() for kind, piece in each if kind == b"head")
        assert head.startswith(b"200\r\nx-scheme: https\r\n")
    return ended, {
        number: b"".join(piece for kind, piece in each if kind == b"data")
        for number, each in frames.items()
    }


def test_a_client_that_chooses_the_new_protocol_is_served_by_it(
    server: Server, keys: Keyring
) -> None:
    wire, chosen = connect_with(server, keys, "http/1.1", "toy/1")
    assert chosen == "toy/1", "the order of the table counts"
    with wire:
        wire.send(b"1 GET /wait\n2 GET /two\n")
        assert read_answers(wire, 1) == ([b"2"], {b"2": b"/two"})
        wire.send(b"3 GET /open\n")
        ended, bodies = read_answers(wire, 2)
        assert sorted(ended) == [b"1", b"3"]
        assert bodies == {b"1": b"/wait", b"3": b"/open"}
    for names in (("http/1.1",), (), ("unknown",)):
        wire, chosen = connect_with(server, keys, *names)
        assert chosen == (names[0] if names == ("http/1.1",) else None)
        with wire:
            assert wire.send(get("/one")).answer().body == b"/one"
    with connect_plain(server) as wire:
        assert wire.send(get("/plain")).answer().body == b"/plain"
    access = server.cwd / "access"
    wait_for(lambda: access.read_text().count("\n") == 7, "each request has its line in the log")
    assert access.read_text().count("GET /wait") == 1
    assert server.stop() == 0
    assert server.count("Traceback") == 0
