"""The compiled formatter of access log lines does what that in Python does, or leaves it to it."""

import re
import time
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork import _speed
from prefork.config.access_format import DIRECTIVES, PRESETS, parse_format
from prefork.http.answered_exchange import AnsweredExchange
from prefork.http.forwarded import ForwardedInfo
from prefork.observe.access_line import compile_line, compile_plain_lines
from prefork.unix.time_zone import START_ZONE

pytestmark = pytest.mark.skipif(not _speed.IS_COMPILED, reason="this is the pure build")

CLOCKED = {"t", "time", "T", "M", "D", "L"}
"""Directives whose values depend on the moment."""

NAMES = [f"%({name})s" for name in DIRECTIVES if name not in CLOCKED]
NAMES += ["%({X-Some}i)s", "%({Cookie}i)s", "%({none}i)s", "100%%", " text{} "]
TEXTS = [
    " ".join(NAMES),
    '{"a":"' + " ".join(NAMES) + '"}',
    '{"a":[' + ",".join(name for name in NAMES if name.startswith("%(")) + "]}",
    *(PRESETS[name].replace("%(t)s", "-").replace("%(time)s", "0") for name in PRESETS),
]
TEXTS = [re.sub(r"%\([TMDL]\)s", "0", text) for text in TEXTS]

if _speed.IS_COMPILED:
    READER = _speed.HeadReader(
        {b"POST": "POST"}, max_size=65535, max_fields=64, max_content=0, keeps_alive=True
    )


def connection(client: tuple[str, int] | None) -> Any:
    peer = SimpleNamespace(client=client, scheme="http")
    return SimpleNamespace(peer=peer, is_trusted=lambda: True)


def read_head(target: bytes, *fields: bytes) -> "_speed.PlainHead | None":
    lines = (b"POST " + target + b" HTTP/1.1", b"Host: a.example:80", *fields, b"", b"")
    return READER.read(b"\r\n".join(lines))


def format_both(text: str, known: Any, head: Any, size: int = 5) -> tuple[str | None, str]:
    """Return the line as the compiled part and as Python formats it."""
    pieces, started_at = parse_format(text), time.monotonic()
    lines = compile_plain_lines(pieces, 2, 3)
    assert lines is not None
    answered = AnsweredExchange(known, head, None, started_at, 404, b"", size)  # type: ignore[arg-type]
    return (
        lines.format(known.peer, head, started_at, 404, size),
        compile_line(pieces, 2, 3)(answered),
    )


SAFE = (
    st.binary(max_size=40)
    .map(lambda data: bytes(32 + byte % 95 for byte in data))
    .map(lambda data: data.replace(b'"', b"'").replace(b"\\", b"/").strip())
)
VALUES = st.one_of(SAFE, st.binary(max_size=20))


@given(
    text=st.sampled_from(TEXTS),
    target=st.text('/abc?&=%20~"\\', max_size=20).map(lambda text: b"/" + text.encode()),
    agent=VALUES,
    some=st.one_of(st.none(), VALUES),
    user=st.booleans(),
    client=st.sampled_from([None, ("192.0.2.1", 80), ("::1", 80)]),
    forwarded=st.sampled_from([None, ForwardedInfo(), ForwardedInfo(("10.0.0.9", 0), "https")]),
    size=st.sampled_from([0, 7, 10**12]),
)
def test_both_format_the_same_line(
    text: str,
    target: bytes,
    agent: bytes,
    some: bytes | None,
    user: bool,
    client: tuple[str, int] | None,
    forwarded: ForwardedInfo | None,
    size: int,
) -> None:
    fields = [b"User-Agent: " + agent, b"Cookie: a=b"]
    fields += [] if some is None else [b"X-Some: 1", b"x-some: " + some]
    fields += [b"Authorization: Basic amFuZTp4"] if user else []
    head = read_head(target, *fields)
    if head is None:
        return  # a request for the parser
    head.forwarded = forwarded
    ours, theirs = format_both(text, connection(client), head, size)
    assert ours in (None, theirs)
    if "\\" not in theirs and "jane" not in theirs:
        assert ours is not None


@pytest.mark.parametrize(
    ("target", "agent"),
    [(b"/", b'"'), (b"/", b"\xc3\xa4"), (b"/", b"a\tb"), (b'/"', b"x"), (b"/\\", b"x")],
)
def test_what_needs_escaping_is_left_to_python(target: bytes, agent: bytes) -> None:
    head = read_head(target, b"User-Agent: " + agent)
    assert head is not None
    for text in ("combined", "json", '{"a":"%(a)s %(r)s"}'):
        ours, theirs = format_both(
            re.sub("%.time.s", "0", PRESETS.get(text, text)), connection(None), head
        )
        assert ours is None
        assert "\\" in theirs


@pytest.mark.parametrize("text", TEXTS)
def test_an_empty_field_is_no_missing_one(text: str) -> None:
    head = read_head(b"/", b"User-Agent: ", b"X-Some: ", b"Referer: ")
    assert head is not None
    ours, theirs = format_both(text, connection(None), head)
    assert ours == theirs


@pytest.mark.parametrize("count", [1, 4])
def test_a_line_without_room_is_left_to_python(count: int) -> None:
    agent = b"x" * (16 * 1024 // count)
    head = read_head(b"/", b"User-Agent: " + agent)
    assert head is not None
    assert format_both("%(a)s" * count + "%(s)s", connection(None), head)[0] is None
    assert format_both("%(a)s" * count, connection(None), head)[0] is None  # no room for its end
    head = read_head(b"/", b"User-Agent: " + agent[1:])
    ours, theirs = format_both("%(a)s" * count, connection(None), head)
    assert ours == theirs


@pytest.mark.parametrize("text", ["%({Server}o)s", "ä %(h)s", "\udcff %(h)s"])
def test_a_format_that_is_not_known_is_left_to_python(text: str) -> None:
    assert compile_plain_lines(parse_format(text), 0, 1) is None


def test_durations_and_times() -> None:
    head, known = read_head(b"/"), connection(None)
    text = '{"t":"%(t)s","time":%(time)s,"T":%(T)s,"M":%(M)s,"D":%(D)s,"L":"%(L)s"}'
    lines = compile_plain_lines(parse_format(text), 0, 1)
    assert head is not None
    assert lines is not None
    before = time.time()
    line = lines.format(known.peer, head, time.monotonic() - 3.25, 200, 5)
    after = time.time()
    assert line is not None
    found = re.fullmatch(
        r'\{"t":"(.*)","time":"(.*)","T":(\d+),"M":(\d+),"D":(\d+),"L":"(\d+\.\d{6})"\}\n', line
    )
    assert found is not None
    common, iso = (
        datetime.strptime(found[1], "[%d/%b/%Y:%H:%M:%S %z]"),
        datetime.fromisoformat(found[2]),
    )
    assert common == iso
    assert iso.utcoffset() == datetime.now(START_ZONE).utcoffset()
    assert before - 1.1 <= iso.timestamp() <= after  # the kernel's coarse clock lags behind
    longest = 3.25 + after - before + 0.01
    assert 3 <= int(found[3]) <= longest
    assert 3250 <= int(found[4]) <= longest * 1e3
    assert 3250000 <= int(found[5]) <= longest * 1e6
    assert 3.25 <= float(found[6]) <= longest


def test_seconds_have_six_decimals_in_any_locale() -> None:
    head, known = read_head(b"/"), connection(None)
    lines = compile_plain_lines(parse_format("%(L)s"), 0, 1)
    assert head is not None
    assert lines is not None
    line = lines.format(known.peer, head, time.monotonic(), 200, 5)
    assert line is not None
    assert re.fullmatch(r"\d+\.\d{6}\n", line)
