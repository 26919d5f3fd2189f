"""The PROXY protocol over real connections: which address counts, and no byte behind is lost."""

import json
import signal
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Keyring
from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.raw_client import RawConnection, get, post, tcp, unix
from tests.live.web_apps import lazy_servers, serving_app

LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"


def binary(command: int, family: int, body: bytes) -> bytes:
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", command, family, len(body)) + body


V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "::1")
BINARY = binary(0x21, 0x21, V6 + struct.pack("!HH", 4711, 443) + b"\x01\0\x02h2")
WITHOUT_ADDRESSES = {
    "unknown": b"PROXY UNKNOWN ffff::1 whatever\r\n",
    "local": binary(0x20, 0x00, b""),
    "unspecified": binary(0x21, 0x00, b"\0" * 5),
}
ADDRESSES = {
    LINE: ("192.0.2.7", 4711, "198.51.100.1", 443),
    BINARY: ("2001:db8::7", 4711, "::1", 443),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: Any) -> Iterator[Callable[[str], Server]]:
    def start(kind: str) -> Any:
        folder = tmp_path_factory.mktemp(kind)
        words = ("--proxy-protocol", "--log-level", "debug")
        return serving_app(
            kind, folder, "-b", "unix:app.sock", *words, "--access-log", "access.log"
        )

    with lazy_servers(start) as made:
        yield made


@pytest.fixture(params=["wsgi", "asgi"])
def server(servers: Callable[[str], Server], request: pytest.FixtureRequest) -> Server:
    return servers(request.param)


def addresses_seen(wire: RawConnection) -> tuple[str, int, str, int]:
    """Return the addresses of client and server as the app sees them."""
    account = json.loads(wire.answer().body)
    if "client" in account:
        return (*account["client"], *account["server"])
    client, server = ("REMOTE_ADDR", "REMOTE_PORT"), ("SERVER_NAME", "SERVER_PORT")
    return tuple(  # type: ignore[return-value]
        int(account[key]) if key.endswith("PORT") else account[key] for key in (*client, *server)
    )


@pytest.mark.parametrize("header", list(ADDRESSES), ids=["v1", "v2"])
def test_the_app_and_the_log_see_the_client_of_the_proxy(server: Server, header: bytes) -> None:
    with tcp(server) as wire:
        # All at once, and for all requests of the connection.
        wire.send(header, get("/dump"), get("/dump"))
        assert addresses_seen(wire) == addresses_seen(wire) == ADDRESSES[header]
    log = server.cwd / "access.log"
    wait_for(lambda: f"{ADDRESSES[header][0]} - - [" in log.read_text(), "the line in the log")


@pytest.mark.parametrize("header", list(ADDRESSES), ids=["v1", "v2"])
def test_no_byte_is_lost_whatever_the_pieces(server: Server, header: bytes) -> None:
    with unix(server.cwd / "app.sock") as wire:
        wire.send_bytewise(header + get("/dump"))
        assert addresses_seen(wire) == ADDRESSES[header]
    body = bytes(range(256)) * 40
    for cut in (1, 5, 12, 16, len(header) - 1, len(header)):
        with unix(server.cwd / "app.sock") as wire:
            data = header + post("/echo", body)
            wire.send_bytewise(data[:cut]).send(data[cut:])
            assert wire.answer().body == body


@pytest.mark.parametrize("header", WITHOUT_ADDRESSES.values(), ids=WITHOUT_ADDRESSES)
def test_a_proxy_without_a_client_is_the_client(server: Server, header: bytes) -> None:
    with tcp(server) as wire:
        name, port = wire.socket.getsockname()
        wire.send(header, get("/dump"))
        assert addresses_seen(wire) == (name, port, "127.0.0.1", server.port)


@pytest.mark.parametrize(
    "sent",
    [
        get("/hello"),
        LINE[1:],
        b"PROXY TCP4 192.0.2.7\r\n" + get("/hello"),
        binary(0x31, 0x11, b"x" * 12),
        b"PROXY UNKNOWN " + b"x" * 200,
    ],
)
def test_a_connection_without_a_valid_header_gets_no_answer(server: Server, sent: bytes) -> None:
    with tcp(server) as wire:
        wire.send(sent)
        try:
            assert wire.socket.recv(1) == b""
        except ConnectionResetError:
            pass  # as unread bytes were left behind
    server.wait_log("--proxy-protocol: turned away 127.0.0.1: ")
    # Logged once as a warning, then at level debug.
    assert server.count("WARNING --proxy-protocol") == 1


@pytest.mark.parametrize("sent", [b"", LINE[:-1], BINARY[:20]])
def test_a_header_that_does_not_arrive_in_time_ends_the_connection(
    tmp_path: Path, sent: bytes
) -> None:
    words = ("--proxy-protocol", "--handshake-timeout", "500ms", "--log-level", "debug")
    with serving_app("wsgi", tmp_path, *words) as server, tcp(server) as wire:
        assert wire.send(sent).ends_cleanly()
        server.wait_log("did not get in: the PROXY header took too long")


def test_a_client_that_disconnects_within_the_header_is_not_an_error(server: Server) -> None:
    before = server.count("did not get in: the client left before")
    with tcp(server) as wire:
        assert wire.send(LINE[:9]).shut_down_writing().ends_cleanly()
    server.wait_log("did not get in: the client left before", before + 1)
    assert "Traceback" not in server.log


def test_only_allowed_proxies_are_accepted(tmp_path: Path) -> None:
    words = ("--proxy-protocol", "--proxy-allow", "192.0.2.0/24", "--proxy-allow", "unix")
    with serving_app("wsgi", tmp_path, "-b", "unix:app.sock", *words) as server:
        for sent in (LINE + get("/hello"), get("/hello")):
            with tcp(server) as wire:
                wire.send(sent)
                try:
                    assert wire.socket.recv(1) == b""
                except ConnectionResetError:
                    pass
        server.wait_log("turned away 127.0.0.1: its address is not in --proxy-allow")
        with unix(tmp_path / "app.sock") as wire:
            assert addresses_seen(wire.send(LINE, get("/dump"))) == ADDRESSES[LINE]


def test_a_header_without_the_option_is_a_bad_request(tmp_path: Path) -> None:
    with serving_app("wsgi", tmp_path) as server, tcp(server) as wire:
        assert wire.send(LINE, get("/hello")).answer().status in (400, 501)


def test_the_header_comes_before_tls_and_a_drain_waits_for_neither(
    tmp_path: Path, keys: Keyring
) -> None:
    words = ("--proxy-protocol", "--linger", "300ms", "--handshake-timeout", "1m")
    arguments = ("--pythonpath", str(APPS), *words, "--tls-cert", str(keys.site.both))
    with (
        serving(tmp_path, "web_asgi:app", *arguments) as server,
        tcp(server) as wire,
        tcp(server) as late,
    ):
        late.send(LINE[:10])
        wire.send(LINE)
        wire.socket = keys.ca.trusting().wrap_socket(wire.socket, server_hostname="site.test")
        assert isinstance(wire.socket, ssl.SSLSocket)
        assert addresses_seen(wire.send(get("/dump"))) == ADDRESSES[LINE]
        server.send(signal.SIGTERM)
        assert late.read_to_end() == b""
        assert server.wait_exit() == 0
        assert "Traceback" not in server.log
