"""The format of the access log: parsing it, refusing it, and the lines that it produces."""

import base64
import json
import os
import re
from time import monotonic
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from prefork.config.access_format import (
    DIRECTIVES,
    PRESETS,
    QUOTED,
    TEXT,
    VALUE,
    Directive,
    parse_format,
)
from prefork.http.exchange import Exchange
from prefork.http.request import ParsedHead
from prefork.observe.access_line import compile_line


def exchange(
    *fields: tuple[bytes, bytes], target: bytes = b"/a?b", recurring: bool = False, **known: Any
) -> Any:
    """Return an exchange that was answered."""
    head = ParsedHead(target, list(fields))
    head.method, head.path, head.query = "GET", *target.partition(b"?")[::2]
    head.is_cached = recurring
    peer = SimpleNamespace(client=("192.0.2.1", 4711), scheme="http")
    connection = SimpleNamespace(peer=peer, is_trusted=lambda: True)
    answered = Exchange(connection, head, None)  # type: ignore[arg-type]
    answered.status, answered.body_bytes_sent = 200, 5
    for name, value in known.items():
        setattr(answered, name, value)
    return answered


def line(text: str, answered: Any) -> str:
    formatted = compile_line(parse_format(text), slot=2, generation=3)(answered)
    assert formatted.endswith("\n")
    return formatted[:-1]


# Reading a format.


def test_text_and_directives_alternate() -> None:
    assert parse_format("a %(h)s%% %({X-Some}i)s %({Server}o)s") == (
        "a ",
        Directive("h"),
        "%",
        " ",
        Directive("i", "x-some"),
        " ",
        Directive("o", "server"),
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_format_by_name(name: str) -> None:
    assert parse_format(name) == parse_format(PRESETS[name])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%(hh)s", "known directives, not %(hh)s; did you mean %(h)s?"),
        ("%(gneration)s", "known directives, not %(gneration)s; did you mean %(generation)s?"),
        ("%(quite unknown)s", "known directives, not %(quite unknown)s; prefork help logging"),
        ("%({a b}i)s", "known directives, not %({a b}i)s"),
        ("%({HOME}e)s", "known directives, not %({HOME}e)s"),
        ("%h %r", "directives such as %(h)s, and %% for a percent sign, not '%h %r'"),
        ("100%", "not '%'"),
        ("jsn", "common, combined, json or a format with directives such as %(h)s; did you mean j"),
        ("words", "common, combined, json or a format with directives such as %(h)s"),
        ("", "common, combined, json or a format with directives such as %(h)s"),
        ('{"a": %(h)s', "JSON, as the format begins with a brace, but: "),
    ],
)
def test_an_invalid_format_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        parse_format(text)


def test_a_directive_in_json_is_escaped_by_its_position() -> None:
    pieces = parse_format(r'{"\"a": %(h)s, "b": "%(s)s %(r)s", "%(m)s": [%(b)s]}')
    styles = [piece.style for piece in pieces if isinstance(piece, Directive)]
    assert styles == [VALUE, QUOTED, QUOTED, QUOTED, VALUE]
    assert Directive("h").style == TEXT


# Lines.


@pytest.mark.parametrize("recurring", [False, True])
def test_every_directive_has_a_meaning(recurring: bool) -> None:
    user = b"Basic " + base64.b64encode(b"jane doe:x")
    answered = exchange(
        (b"host", b"a.example"),
        (b"authorization", user),
        (b"referer", b"http://b/"),
        (b"user-agent", b"C/1"),
        recurring=recurring,
        request_id="an-id",
        started_at=monotonic(),
    )
    expected = {
        "h": "192.0.2.1",
        "l": "-",
        "u": r"jane\\x20doe",
        "t": r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]",
        "r": r"GET /a\?b HTTP/1.1",
        "m": "GET",
        "U": "/a",
        "q": "b",
        "H": "HTTP/1.1",
        "s": "200",
        "b": "5",
        "B": "5",
        "f": "http://b/",
        "a": "C/1",
        "T": r"\d+",
        "L": r"\d+\.\d{6}",
        "M": r"\d+",
        "D": r"\d+",
        "p": str(os.getpid()),
        "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d",
        "host": "a.example",
        "scheme": "http",
        "peer": "192.0.2.1",
        "request_id": "an-id",
        "slot": "2",
        "generation": "3",
    }
    assert set(expected) == set(DIRECTIVES)
    for name, pattern in expected.items():
        for _ in range(2):  # the second time it may be remembered
            assert re.fullmatch(pattern, line(f"%({name})s", answered)), name
        answered.request.access_log_cache = None
        value = json.loads(line(f'{{"a": %({name})s}}', answered))["a"]
        assert (
            (value is None)
            if name == "l"
            else re.fullmatch(
                pattern.replace(r"\\x20", " "), f"{value:.6f}" if name == "L" else str(value)
            )
        )
        answered.request.access_log_cache = None
        assert json.loads(line(f'{{"a": "-%({name})s-"}}', answered))["a"].startswith("-")
        answered.request.access_log_cache = None


def test_a_missing_value_is_a_dash_or_null() -> None:
    answered = exchange(target=b"", status=0, body_bytes_sent=0)
    answered.connection.peer.client = None
    answered.request.method = ""
    text = "%(h)s %(u)s %(r)s %(m)s %(U)s %(q)s %(s)s %(b)s %(B)s %(f)s %(L)s %(D)s %(request_id)s"
    assert line(text, answered) == "- - - - HTTP/1.1 - - - - - 0 - - - -"
    answered.request.access_log_cache = None
    record = json.loads(line("json", answered))
    assert {key for key, value in record.items() if value is None} == {
        "client", "user", "host", "method", "path", "query", "status", "duration", "referer",
        "agent", "request_id",
    }  # fmt: skip


@pytest.mark.parametrize(
    "credentials",
    [b"Bearer abc", b"Basic", b"Basic !!!", b"Basic YQ", b"Basic " + base64.b64encode(b":x"), b""],
)
def test_invalid_basic_authentication_gives_no_user(credentials: bytes) -> None:
    assert line("%(u)s", exchange((b"authorization", credentials))) == "-"


def test_fields_of_request_and_response_by_name() -> None:
    answered = exchange((b"x-some", b'a "b"'), (b"x-it's", b"c"))
    answered._head = [
        b"HTTP/1.1 200 OK\r\n",
        b"Date: d\r\nServer: s\r\n",
        b"Connection: close\r\n\r\n",
        b"X-Body: no\r\n",
    ]
    text = "%({X-Some}i)s %({x-none}i)s %({x-it's}i)s %({Server}o)s %({Connection}o)s %({X-Body}o)s"
    assert line(text, answered) == r"a \x22b\x22 - c s close -"
    answered._head[2:] = [b"\r\n", b"X-Body: no\r\n"]
    assert line("%({x-body}o)s %({connection}o)s", answered) == "- -"


@given(target=st.binary(), agent=st.binary(), user=st.binary())
def test_a_client_can_forge_neither_lines_nor_fields(
    target: bytes, agent: bytes, user: bytes
) -> None:
    credentials = b"Basic " + base64.b64encode(user)
    answered = exchange((b"user-agent", agent), (b"authorization", credentials), target=target)
    formatted = line("combined", answered)
    assert formatted.isascii()
    assert formatted.isprintable()
    assert formatted.count('"') == 6
    assert re.fullmatch(r'\S+ - \S+ \[[^\]]+\] "[^"]*" 200 5 "-" "[^"]*"', formatted)


@given(target=st.binary(), agent=st.binary(), user=st.binary())
@example(target=b"/\x7f", agent=b"\x7f", user=b"\x7f")
def test_a_json_format_gives_valid_json(target: bytes, agent: bytes, user: bytes) -> None:
    credentials = b"Basic " + base64.b64encode(user)
    fields = ((b"user-agent", agent), (b"authorization", credentials))
    for text in ("json", '{"m":"%(m)s","a":"<%(a)s> %(u)s","r":"%(r)s","s":%(r)s}'):
        formatted = line(text, exchange(*fields, target=target))
        assert formatted.isascii()
        assert formatted.isprintable()
        record = json.loads(formatted)
        assert "status" not in record or record["status"] == 200
    try:
        known = agent.decode()
    except UnicodeDecodeError:
        return
    record = json.loads(line('{"a":%(a)s,"h":[%(h)s]}', exchange(*fields, target=target)))
    assert record == {"a": known, "h": ["192.0.2.1"]}


def test_the_cache_of_client_texts_is_bounded() -> None:
    formatted = compile_line(parse_format("%(a)s"), 0, 1)
    for number in range(3000):
        agent = b"agent %d" % number
        assert formatted(exchange((b"user-agent", agent))) == f"agent {number}\n"
    table = formatted.__globals__["escaped_text"]
    assert len(table) <= 1024
    before = len(table)
    formatted(exchange((b"user-agent", b"x" * 300)))
    assert len(table) == before
