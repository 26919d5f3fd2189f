"""Which protocol is spoken on a connection: the table of protocols, and the choice by ALPN."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from prefork.http.http1.connection import Connection
from prefork.http.peer import Addresses
from prefork.http.protocols import ALPN_NAMES, DEFAULT_PROTOCOL, PROTOCOLS
from prefork.http.served_protocols import IMPLEMENTATIONS, ServedProtocols
from tests.fuzz.memory import MemoryServer, MemoryTransport
from tests.pure.http.asgi_server import request
from tests.toy_protocol import ToyConnection, ToyProtocol

ADDRESSES = Addresses(("198.51.100.7", 5000), ("203.0.113.1", 443))


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False) as server:
        yield server


def connect_tls(server: MemoryServer, chosen: str | None) -> MemoryTransport:
    """Return the transport of a client whose TLS handshake ended with this choice."""
    protocols = ServedProtocols(server.state, {**IMPLEMENTATIONS, "toy/1": ToyProtocol})
    tls = SimpleNamespace(selected_alpn_protocol=lambda: chosen)
    transport = MemoryTransport(server.loop, None, tls)
    transport.protocol = protocols.connect_tls(ADDRESSES)
    server.state.load.add_connection()
    transport.protocol.connection_made(transport)
    return transport


def test_each_protocol_of_the_table_has_an_implementation() -> None:
    assert set(IMPLEMENTATIONS) == set(ALPN_NAMES)
    assert len(ALPN_NAMES) == len(PROTOCOLS)
    assert DEFAULT_PROTOCOL in ALPN_NAMES


def test_a_client_that_chose_a_protocol_is_served_by_it(server: MemoryServer) -> None:
    transport = connect_tls(server, "toy/1")
    assert isinstance(transport.protocol, ToyConnection)
    assert transport.protocol.peer.client == ADDRESSES.client
    transport.put(b"7 GET /\n")
    assert bytes(transport.out).startswith(b"7 head ")


@pytest.mark.parametrize("chosen", ["http/1.1", None, "unknown"])
def test_any_other_client_is_served_by_the_default_protocol(
    server: MemoryServer, chosen: str | None
) -> None:
    transport = connect_tls(server, chosen)
    assert isinstance(transport.protocol, Connection)
    assert transport.protocol.peer.client == ADDRESSES.client
    transport.put(request())
    assert bytes(transport.out).startswith(b"HTTP/1.1 200 ")


def test_a_client_without_tls_is_served_by_the_default_protocol(server: MemoryServer) -> None:
    assert isinstance(ServedProtocols(server.state).connect(), Connection)


def test_a_connection_that_cannot_be_moved_is_offered_to_no_sibling(server: MemoryServer) -> None:
    offered: list[object] = []
    server.state.call_after_each_response(offered.append)
    toy, http1 = connect_tls(server, "toy/1"), connect_tls(server, "http/1.1")
    toy.put(b"1 GET /\n")
    http1.put(request())
    server.settle()
    assert server.state.counters.requests == 2
    assert offered == [http1.protocol]
