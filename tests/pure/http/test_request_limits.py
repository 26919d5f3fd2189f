"""Limits on the head of a request, and the bytes at which they are noticed."""

from collections.abc import Iterator

import pytest

from prefork.config.networks import Networks
from prefork.http.forwarded import TrustedProxies
from prefork.http.limits import Limits
from prefork.http.peer import Addresses
from tests.fuzz.memory import MemoryServer
from tests.fuzz.trial import Nibbling
from tests.pure.http.asgi_server import (
    AsgiServer,
    Event,
    Receive,
    Send,
    body,
    read_response,
    request,
    sending,
    serving,
    start,
)

LIMITS = Limits(line=100, header_size=200, headers=5)
HELLO = sending(start(), body(b"hello"))
CHUNKED = request(b"/", b"Transfer-Encoding: chunked", method=b"POST")


@pytest.fixture(params=[False, True], ids=["spooled", "streamed"])
def server(request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    with MemoryServer(request.param, LIMITS) as server:
        yield server


@pytest.mark.parametrize("end", [b"", b" HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["part", "whole"])
def test_a_target_that_is_too_long_is_a_414(server: MemoryServer, end: bytes) -> None:
    assert server.connect().send(b"GET /" + b"x" * 99 + end).statuses == ([200] if end else [])
    client = server.connect().send(b"GET /" + b"x" * 100 + end)
    assert client.statuses == [414]
    assert client.closed


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["part", "whole"])
def test_fields_that_are_too_large_are_a_431(server: MemoryServer, end: bytes) -> None:
    client = server.connect().send(request()[:-2] + b"X: " + b"x" * 300 + end)
    assert client.statuses == [431]
    assert client.closed


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", request(b"/", b"Host: b")])
def test_a_request_has_exactly_one_host(server: MemoryServer, data: bytes) -> None:
    assert server.connect().send(data).statuses == [400]


@pytest.mark.parametrize("host", [b"a b", b"a:b", b"[::1", b"a/b", b"\xff"])
def test_a_host_is_a_host_with_an_optional_port(server: MemoryServer, host: bytes) -> None:
    assert server.connect().send(request().replace(b"Host: a", b"Host: " + host)).statuses == [400]


def test_hosts_that_never_repeat_are_validated_all_the_same(server: MemoryServer) -> None:
    for number in range(300):
        data = request().replace(b"Host: a", b"Host: a%d.example" % number)
        assert server.connect().send(data).statuses == [200]
    assert server.connect().send(request().replace(b"Host: a", b"Host: a b")).statuses == [400]


@pytest.mark.parametrize("version", [b"2.0", b"1.2", b"0.9", b"3.0"])
def test_another_version_is_a_505(server: MemoryServer, version: bytes) -> None:
    client = server.connect().send(request(version=version))
    assert client.statuses in ([505], [400])
    assert client.closed


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(method=b"BREW"), 501),
        (request(b"a:80", method=b"CONNECT"), 501),
        (request(b"/a#b"), 400),
        (request(b"*"), 400),
        (request(b"ftp://a/"), 400),
        (request(b"/", b"Expect: a-miracle"), 417),
        (request(b"/", b"Transfer-Encoding: gzip", method=b"POST"), 501),
    ],
)
def test_what_is_not_supported_is_refused(server: MemoryServer, data: bytes, status: int) -> None:
    client = server.connect().send(data)
    assert client.statuses == [status]
    assert client.closed


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://b:80/x?q=1", "/x"),
        (b"HTTPS://b", "/"),
        (b"http://b?q=1", "/"),
    ],
)
def test_the_authority_of_an_absolute_target_is_the_host(target: bytes, path: str) -> None:
    """RFC 9112 section 3.2.2."""
    scopes: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await HELLO(scope, receive, send)

    with serving(app, request(target)) as client:
        assert client.statuses == [200]
    (scope,) = scopes
    assert scope["path"] == path
    assert dict(scope["headers"])[b"host"] in (b"b", b"b:80")


@pytest.mark.parametrize("target", [b"*", b"http://b"])
def test_options_may_ask_about_the_whole_server(target: bytes) -> None:
    with serving(HELLO, request(target, method=b"OPTIONS")) as client:
        assert client.statuses == [200]


@pytest.mark.parametrize("length", [10, 11])
def test_a_body_that_announces_too_many_bytes_is_a_413(length: int) -> None:
    data = request(b"/", b"Content-Length: %d" % length, b"Expect: 100-continue", method=b"POST")
    for streams in (False, True):
        with MemoryServer(streams, Limits(body=10)) as server:
            assert server.connect().send(data).statuses == ([100] if length == 10 else [413])


def test_a_body_that_breaks_while_it_waits_in_a_pipeline_is_refused_in_its_turn() -> None:
    with AsgiServer(HELLO) as server:
        server.protocol.kind = Nibbling
        client = server.connect().send(request() + CHUNKED + b"nonsense\r\n" * 3)
        assert b"".join(client.out.split(b"hello")).count(b"HTTP/1.1 ") == 2
        assert b"HTTP/1.1 400 " in client.out
        assert client.closed


@pytest.mark.parametrize("cut", [20, 1000])
def test_a_body_that_is_mostly_framing_is_refused(server: MemoryServer, cut: int) -> None:
    data = b"1;" + b"x" * 100 + b"\r\ny\r\n"
    client = server.connect().send(CHUNKED, *[data[:cut], data[cut:]] * 50)
    assert client.statuses in ([400], [431])
    assert client.closed


def test_a_body_of_a_long_piece_that_is_mostly_framing_is_refused(server: MemoryServer) -> None:
    client = server.connect().send(CHUNKED + (b"1;" + b"x" * 100 + b"\r\ny\r\n") * 500)
    assert client.statuses in ([400], [431])
    assert client.closed


def test_a_trailer_that_closes_the_connection_closes_it(server: MemoryServer) -> None:
    """It does not belong there (RFC 9110 section 6.5.1), but llhttp reads no further."""
    client = server.connect().send(CHUNKED + b"0\r\nConnection: close\r\n\r\n" + request())
    assert client.statuses == [200]
    assert client.closed


# The client behind proxies, as the access log has it.


class Proxied(AsgiServer):
    """A server that believes the proxies of the clients' network."""

    proxies = TrustedProxies(Networks(["192.0.2.0/24"]), frozenset({"x-forwarded-for"}), True)


@pytest.mark.parametrize(("kind", "host"), [(AsgiServer, "192.0.2.1"), (Proxied, "198.51.100.7")])
def test_the_client_is_the_one_that_a_trusted_proxy_names(
    kind: type[AsgiServer], host: str
) -> None:
    with kind(HELLO) as server:
        clients: list[object] = []
        server.state.log_access = lambda exchange: clients.append(exchange.client)
        for fields in ((), (b"X-Forwarded-For: 198.51.100.7",)):
            server.connect().send(request(b"/", *fields))
        assert [client[0] for client in clients] == ["192.0.2.1", host]  # type: ignore[index]


def test_the_client_is_the_one_that_a_proxy_header_names() -> None:
    """The PROXY protocol, in front of HTTP."""
    addresses = Addresses(("198.51.100.7", 5000), ("203.0.113.1", 80))
    scopes: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await HELLO(scope, receive, send)

    with AsgiServer(app) as server:
        server.connect(addresses=addresses).send(request())
    assert (scopes[0]["client"], scopes[0]["server"]) == (
        ("198.51.100.7", 5000),
        ("203.0.113.1", 80),
    )


class Stripping(AsgiServer):
    """A server that believes no proxy, and drops what they write."""

    proxies = TrustedProxies(Networks([]), frozenset(), True)


def test_forwarding_fields_of_strangers_can_be_dropped() -> None:
    names: list[list[bytes]] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        names.append([name for name, _ in scope["headers"]])
        await HELLO(scope, receive, send)

    with Stripping(app) as server:
        fields = (b"X-Forwarded-For: 198.51.100.7", b"Forwarded: for=x", b"X-One: 1")
        assert read_response(server.connect().send(request(b"/", *fields))).status == 200
        assert names == [[b"host", b"x-one"]]
