"""Whatever the compiled reader accepts, the parser accepts, and understands in the same way."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork._speed import IS_COMPILED
from tests.fuzz.__main__ import stream
from tests.fuzz.memory import MemoryServer
from tests.fuzz.plain_requests import check, make_reader, run
from tests.live.corpus import load_cases

if IS_COMPILED:
    pass

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="this is the pure build")

MAX_CONTENT = 16 * 1024
CASES = [*load_cases("valid"), *load_cases("invalid")]


@pytest.fixture(scope="module")
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False) as server:
        yield server


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_corpus(server: MemoryServer, case: Any) -> None:
    check(server, make_reader(), case.raw)


def test_generated_requests(server: MemoryServer) -> None:
    """A bounded part of what ``scripts/fuzz --reader`` tries."""
    corpus = [case.raw for case in CASES]
    for seed in range(1000):
        data, _ = stream(random.Random(seed), corpus)
        check(server, make_reader(), data)
    assert run(0, 4000) > 1000


PLAIN = (
    b"GET /a/b?c=d&e HTTP/1.1",
    b"Host: example.org:8000",
    b"User-Agent: x/1.0 (y)",
    b"Cookie: a=b; c=d",
    b"X-Unknown: some value",
    b"Connection: keep-alive",
)


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_at_every_place(server: MemoryServer, byte: int) -> None:
    data = b"\r\n".join([*PLAIN, b"", b""])
    piece = bytes([byte])
    for place in range(len(data)):
        check(server, make_reader(), data[:place] + piece + data[place + 1 :])
        check(server, make_reader(), data[:place] + piece + data[place:])


def test_every_byte_left_out(server: MemoryServer) -> None:
    data = b"\r\n".join([*PLAIN, b"", b""])
    assert check(server, make_reader(), data)
    for place in range(len(data)):
        check(server, make_reader(), data[:place] + data[place + 1 :])
        assert make_reader().read(data[:place]) is None
    assert make_reader().read(data + b"x") is None


FIELD = st.sampled_from(
    [
        *(
            b"Accept: */*",
            b"Cookie: a",
            b"cookie: b",
            b"X: y",
            b"x: z",
            b"X-Forwarded-For: 1.2.3.4",
        ),
        *(b"Content-Length: 3", b"Content-Length: 0", b"content-length: 03", b"Content-Length: 4"),
        *(b"Host: a", b"host: b:1", b"Host:", b"Host: [::1]", b"Connection: close", b"Expect: x"),
        *(
            b"Connection: Keep-Alive",
            b"Transfer-Encoding: chunked",
            b"Upgrade: websocket",
            b"X_Y: z",
        ),
        *(
            b"Connection: keep-alive, close",
            b"Forwarded: for=1.2.3.4",
            b"X-Forwarded-Odd: y",
            b"X:",
        ),
        *(
            b"Content-Type: text/plain",
            b"Proxy-Connection: close",
            b"TE: trailers",
            b"A" * 70 + b": b",
        ),
    ]
)
TARGET = st.sampled_from(
    [b"/", b"/%41%zz%2", b"/?", b"/a?b?c", b"/%e2%82%ac/%ff", b"*", b"//a", b"/%"]
)


@given(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"M-SEARCH", b"CONNECT", b"FOO"]),
    TARGET,
    st.lists(FIELD, max_size=8),
    st.sampled_from([b"", b"abc", b"abcd"]),
)
def test_any_fields(method: bytes, target: bytes, fields: list[bytes], body: bytes) -> None:
    with MemoryServer(False) as server:
        lines = [method + b" " + target + b" HTTP/1.1", b"Host: a", *fields, b"", b""]
        check(server, make_reader(), b"\r\n".join(lines) + body)


def plain(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: a", *fields, b"", b""])


def test_limits() -> None:
    data = plain(b"X: y", b"X: z")
    assert make_reader(max_size=len(data)).read(data) is not None
    assert make_reader(max_size=len(data) - 1).read(data) is None
    assert make_reader(max_fields=3).read(data) is not None
    assert make_reader(max_fields=2).read(data) is None
    large = plain(b"Content-Length: 5") + b"hello"
    assert make_reader(max_content=5).read(large).content == b"hello"
    assert make_reader(max_content=4).read(large) is None
    assert not make_reader(keeps_alive=False).read(data).keep_alive
    # Beyond what the reader itself can hold.
    assert make_reader(max_size=10**9, max_fields=10**9).read(plain(*[b"X: y"] * 64)) is None
    assert make_reader(max_size=10**9).read(plain(b"X: " + b"y" * 70_000)) is None


@pytest.mark.parametrize("value", [b"For", b"PROTO", b"anything"])
def test_fields_of_proxies_are_known_and_can_be_dropped(value: bytes) -> None:
    head = make_reader().read(plain(b"X-Forwarded-" + value + b": x", b"X-Other: y"))
    assert head.has_forwarding_fields
    name = b"x-forwarded-" + value.lower()
    assert head.find_fields((name, b"x-other")) == [b"x", b"y"]
    head.drop_forwarding_fields()
    assert head.find_fields((name, b"x-other")) == [None, b"y"]
    assert head.headers == [(b"host", b"a"), (b"x-other", b"y")]
    environ: dict[str, str] = {}
    head.add_to_environ(environ)
    assert {name for name in environ if name.startswith("HTTP_")} == {"HTTP_HOST", "HTTP_X_OTHER"}


@given(st.binary(max_size=12).map(lambda data: b"/" + data.replace(b"%", b"%e2%82%ac%")))
def test_paths_are_decoded_as_urllib_does(path: bytes) -> None:
    from urllib.parse import unquote_to_bytes

    head = make_reader().read(plain(line=b"GET " + path + b" HTTP/1.1"))
    if head is not None:
        environ: dict[str, str] = {}
        head.add_to_environ(environ)
        assert environ["PATH_INFO"] == unquote_to_bytes(head.path).decode("latin-1")


def test_only_bytes_are_read() -> None:
    for data in (None, "GET", bytearray(b"GET"), memoryview(b"GET")):
        with pytest.raises(TypeError):
            make_reader().read(data)


PLAIN_FIELDS = [
    *(
        b"Connection: close",
        b"connection: Keep-ALIVE",
        b"X:",
        b"X: ",
        b"X:\ty\t z \t",
        b"N" * 64 + b": y",
    ),
    *(b"X: \xe9\xff", b"Content-Length: 0", b"Cookie: a\tb", b"X: 12345678\t", b"Te: trailers"),
]


@pytest.mark.parametrize("field", PLAIN_FIELDS, ids=str)
def test_what_is_plain_is_read(server: MemoryServer, field: bytes) -> None:
    assert check(server, make_reader(), plain(field))


def headed(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


UNUSUAL = [
    *(
        plain(b"Host: a"),
        plain(b"Connection: close", b"Connection: close"),
        plain(b"Connection: x"),
    ),
    *(plain(b"Content-Length: 0", b"Content-Length: 0"), plain(b"Content-Length: 00")),
    *(plain(b"Content-Length:"), plain(b"Content-Length: +0"), plain(b"Content-Length: 0" * 10)),
    *(plain(b"Content-Length: 0000000000"), plain(b"Content-Length: 2") + b"abc"),
    *(plain(b"Content-Length: 4") + b"abc", plain(b"Content-Length: 1000000000")),
    *(plain(b"Transfer-Encoding: chunked"), plain(b"Expect: 100-continue"), plain(b"Upgrade: x")),
    *(
        plain(b"Proxy-Connection: close"),
        plain(b"N" * 65 + b": y"),
        plain(b"X_Y: z"),
        plain(b"X y: z"),
    ),
    *(
        plain(b": y"),
        plain(b"X"),
        plain(b"X: a\x7f"),
        plain(b"X: 1234567\x7f"),
        plain(b"X: 1234567\x1f"),
    ),
    *(
        plain(b"X: y\n z"),
        plain(b"X: y\r z"),
        plain(b"X: y\r\n z"),
        plain(b" X: y"),
        plain(b"X: a\0b"),
    ),
    *(
        plain(line=line)
        for line in (b"GET /#a HTTP/1.1", b"GET * HTTP/1.1", b"GET http://a/ HTTP/1.1")
    ),
    *(
        plain(line=line)
        for line in (b"GET / HTTP/1.0", b"GET / HTTP/1.2", b"GET / http/1.1", b"GET /")
    ),
    *(plain(line=line) for line in (b"get / HTTP/1.1", b"FOO / HTTP/1.1", b"GET  / HTTP/1.1")),
    *(
        headed(b"GET / HTTP/1.1", b"Host:" + host)
        for host in (b"", b" ", b"a b", b"a:b", b"[::1]", b"/")
    ),
    *(
        headed(b"GET / HTTP/1.1", b"Host: a:1x"),
        headed(b"GET / HTTP/1.1"),
        headed(b"GET / HTTP/1.1", b"X: y"),
    ),
    *(
        plain()[:-1] + b"x",
        plain()[:-2] + b"x\n",
        plain().replace(b"\r\n", b"\n"),
        plain(b"X: y")[:-3] + b"x\r\n",
    ),
]


@pytest.mark.parametrize("data", UNUSUAL, ids=map(str, range(len(UNUSUAL))))
def test_everything_else_is_left_to_the_parser(data: bytes) -> None:
    assert make_reader().read(data) is None
