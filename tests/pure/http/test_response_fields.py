"""Fields that the server sets, statuses without a body, names with underscores, chunk framing."""

import pytest

from prefork.http.limits import Limits
from prefork.http.response_head import STATUS_LINES
from tests.fuzz.memory import Client, MemoryServer

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
SPOOF = b"GET /a HTTP/1.1\r\nHost: a\r\nX_Real-IP: 1\r\nX-Real-IP: 2\r\n\r\n"


def served(client: Client, name: bytes) -> list[bytes]:
    """Return the values of a field in all responses; ``name`` in lower case."""
    lines = bytes(client.transport.out).split(b"\r\n")
    return [line.split(b": ")[1] for line in lines if line.lower().startswith(name + b": ")]


def answered(fields: tuple[tuple[bytes, bytes], ...], server: str, status: int = 200) -> Client:
    with MemoryServer(False, Limits(server=server)) as memory:
        memory.recorder.later = []
        client = memory.connect().send(GET)
        (exchange,) = memory.recorder.later
        exchange.respond(status, STATUS_LINES[status], fields, b"body")
        assert not client.closed
        return client


DATE = (b"Date", b"then")
SERVER = (b"Server", b"mine")


@pytest.mark.parametrize("server", ["", "prefork"])
@pytest.mark.parametrize("fields", [(), (DATE,), (SERVER,), (DATE, SERVER), (SERVER, DATE)])
def test_the_server_sets_date_and_server_unless_the_app_does(
    fields: tuple[tuple[bytes, bytes], ...], server: str
) -> None:
    client = answered(fields, server)
    (date,) = served(client, b"date")
    assert (date == b"then") is (DATE in fields)
    ours = [server.encode()] if server else []
    assert served(client, b"server") == ([b"mine"] if SERVER in fields else ours)


LENGTH = (b"Content-Length", b"4")


@pytest.mark.parametrize("fields", [(), (LENGTH,)])
@pytest.mark.parametrize(
    ("status", "length"), [(200, [b"4"]), (204, []), (205, [b"0"]), (304, None)]
)
def test_a_status_without_a_body_has_the_length_that_it_may_have(
    fields: tuple[tuple[bytes, bytes], ...], status: int, length: list[bytes] | None
) -> None:
    client = answered(fields, "", status)
    if length is None:
        length = [value for _, value in fields]  # the length that the body would have
    assert served(client, b"content-length") == length
    assert client.transport.out.endswith(b"body") is (status == 200)


@pytest.mark.parametrize(
    ("what", "status", "names"),
    [
        ("drop", 200, [b"host", b"x-real-ip"]),
        ("refuse", 400, None),
        ("allow", 200, [b"host", b"x_real-ip", b"x-real-ip"]),
    ],
)
def test_names_with_underscores_are_dropped_refused_or_allowed(
    what: str, status: int, names: list[bytes] | None
) -> None:
    with MemoryServer(False, Limits(underscores=what)) as server:
        for _ in range(3):
            assert server.connect().send(SPOOF).statuses == [status]
        for seen in server.take_seen():
            assert [name for name, _ in seen.fields] == names


@pytest.mark.parametrize(
    "name", [b"_", b"x_", b"X_Forwarded_For", b"X-Forwarded-Client_Cert", b"Content_Length"]
)
@pytest.mark.parametrize("what", ["drop", "refuse"])
def test_no_name_with_an_underscore_reaches_the_app(what: str, name: bytes) -> None:
    with MemoryServer(False, Limits(underscores=what)) as server:
        client = server.connect().send(GET[:-2] + name + b": evil\r\n\r\n")
        assert client.statuses == [200 if what == "drop" else 400]
        assert all(b"evil" not in field for seen in server.take_seen() for field in seen.fields)


def test_dropped_fields_count_for_the_limits() -> None:
    many = GET[:-2] + b"x_y: z\r\n" * 100 + b"\r\n"
    with MemoryServer(False) as server:
        assert server.connect().send(many).statuses == [431]
        assert server.connect().send(many.replace(b"x_y: z\r\n", b"", 1)).statuses == [200]


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("streams", [False, True])
def test_chunk_extensions_have_a_limit_in_total(streams: bool) -> None:
    with MemoryServer(streams) as server:
        client = server.connect().send(CHUNKED)
        sent = 0
        while not client.closed:
            client.send(b"1;" + b"a" * 1000 + b"\r\nx\r\n")
            sent += 1
            assert sent < 100
        assert client.statuses == [400]
        assert server.take_seen() == []


def test_chunks_of_one_byte_are_accepted() -> None:
    with MemoryServer(False) as server:
        client = server.connect().send(CHUNKED, *[b"1\r\nx\r\n"] * 20_000, b"0\r\n\r\n")
        assert client.statuses == [200]
        assert len(server.take_seen()[0].body) == 20_000
