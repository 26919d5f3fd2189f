"""The compiled composer makes of a response what Python makes of it, or nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork._speed import IS_COMPILED
from prefork.errors import AppError
from prefork.http.response_head import DefaultFields, encode_asgi_field, encode_field
from tests.fuzz.memory import MemoryServer, Recorder

if IS_COMPILED:
    from prefork._speed import compose_bytes, compose_text

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="this is the pure build")

LINE = b"HTTP/1.1 200 OK\r\n"
NAMES = st.one_of(
    st.sampled_from(
        [
            *("Content-Length", "content-length", "Content-Type", "Date", "Server", "Connection"),
            *(
                "Keep-Alive",
                "Transfer-Encoding",
                "Upgrade",
                "Set-Cookie",
                "X" * 65,
                "",
                "X Y",
                "X:",
            ),
        ]
    ),
    st.text(max_size=5),
)
VALUES = st.one_of(
    st.sampled_from(
        ["2", "02", "3", "close", "a\r\nX: y", "a\0", "\t a", "\x7f", "é", "€", "", " "]
    ),
    st.text(max_size=8),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5)


def composed_in_python(fields: Any, body: bytes, has_byte_fields: bool) -> bytes | None:
    """Return the response of the way without the composer; None: it refuses the fields."""
    with MemoryServer(False) as server:
        handler = server.state.handler
        assert isinstance(handler, Recorder)
        server.state.encode_field = encode_asgi_field if has_byte_fields else encode_field
        server.http1.compose = None
        handler.later = []
        client = server.connect().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            handler.answer(handler.later[0], fields, body)
        except AppError:
            return None
        return bytes(client.transport.out)


def check(fields: Any, body: bytes, has_byte_fields: bool) -> bool:
    compose = compose_bytes if has_byte_fields else compose_text
    expected = composed_in_python(fields, body, has_byte_fields)
    found = compose(LINE, fields, DefaultFields.lines, b"\r\n", body)
    assert found in (expected, None)
    return found is not None


@given(FIELDS, st.sampled_from([b"", b"ab", b"x" * 100]))
def test_text(fields: list[tuple[str, str]], body: bytes) -> None:
    check(fields, body, False)


@given(FIELDS, st.sampled_from([b"", b"ab", b"x" * 100]))
def test_bytes(fields: list[tuple[str, str]], body: bytes) -> None:
    check([(name.encode(), value.encode()) for name, value in fields], body, True)


@pytest.mark.parametrize("has_byte_fields", [False, True])
def test_usual_fields_are_composed(has_byte_fields: bool) -> None:
    fields = [
        ("Content-Type", "text/plain"),
        ("Content-Length", "2"),
        ("Set-Cookie", "a=é"),
        ("X", "a\tb"),
    ]
    for number in range(len(fields) + 1):
        chosen: Any = fields[:number]
        if has_byte_fields:
            chosen = [(name.encode(), value.encode("latin-1")) for name, value in chosen]
        assert check(chosen, b"ab", has_byte_fields)
        assert check(tuple(map(tuple, chosen)), b"ab", has_byte_fields)


UNUSUAL: list[Any] = [
    *([("Date", "x")], [("server", "x")], [("Connection", "close")], [("Upgrade", "h2c")]),
    *([("Transfer-Encoding", "chunked")], [("Keep-Alive", "5")], [("Content-Length", "3")]),
    *([("Content-Length", "2"), ("Content-Length", "2")], [("Content-Length", "+2")]),
    *([("Content-Length", "")], [("X", "a\r\nY: z")], [("X\n", "a")], [("", "a")], [("X", "€")]),
    *([("X", "a\x7f")], [("X", "a\0")], [("Content-Length", "0000000002")]),
    *([("X",)], [("X", "y", "z")], ["XY"], [("X", 1)], [(b"X", b"y")], [("X", None)], [None]),
    *(iter([("X", "y")]), {"X": "y"}, None, [("X", "y" * 9000)], [("X", "y" * 100)] * 100),
]


@pytest.mark.parametrize("fields", UNUSUAL, ids=map(str, range(len(UNUSUAL))))
def test_everything_else_is_left_to_python(fields: Any) -> None:
    assert compose_text(LINE, fields, b"Date: x\r\n", b"\r\n", b"ab") is None


@pytest.mark.parametrize(
    "fields", [[("X", "y")], [("X", b"y")], [(bytearray(b"X"), b"y")]], ids=str
)
def test_fields_of_an_asgi_app_must_be_bytes(fields: Any) -> None:
    assert compose_bytes(LINE, fields, b"", b"\r\n", b"ab") is None


def test_a_status_line_without_end_is_left_to_python() -> None:
    assert compose_text(b"x" * 9000, [], b"", b"\r\n", b"") is None
    assert compose_text(LINE, [], b"x" * 9000, b"\r\n", b"") is None
    assert compose_text(LINE, [], b"", b"x" * 9000, b"") is None
