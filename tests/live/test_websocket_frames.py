"""RFC 6455 frame by frame: sizes, pings, reserved bits, opcodes, fragments, text, closing.

These tests cover the cases 1 to 7 and 10 of the Autobahn test suite, and accept the strict results
only, unless a test says otherwise.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving, wait_for
from tests.live.web_apps import events
from tests.live.websocket_client import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketConnection,
    close_frame,
    connect_websocket,
)

SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536)
HELLO = Frame(TEXT, b"Hello")


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("frames")
    with serving(folder, "sockets:app", "--pythonpath", str(APPS)) as server:
        yield server


@pytest.fixture
def wire(server: Server) -> Iterator[WebSocketConnection]:
    with connect_websocket(server) as wire:
        yield wire


def close_normally(wire: WebSocketConnection) -> None:
    """Close normally, and check that no other frame arrives."""
    wire.send_frames(close_frame(1000))
    assert wire.read_close() == (1000, b"")
    assert wire.ends_cleanly()


# Messages of all sizes, however they arrive.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
def test_a_message_of_any_size_is_echoed_unchanged(
    wire: WebSocketConnection, opcode: int, size: int
) -> None:
    data = b"*" * size if opcode == TEXT else bytes(i % 251 for i in range(size))
    assert wire.send_frames(Frame(opcode, data)).read_frame() == Frame(opcode, data)
    close_normally(wire)


@pytest.mark.parametrize("piece", [1, 7, 997])
@pytest.mark.parametrize("size", [0, 125, 126, 65536])
def test_a_frame_may_arrive_in_pieces_of_any_size(
    wire: WebSocketConnection, size: int, piece: int
) -> None:
    if size * 1000 > 65536 * piece:
        piece = 997
    message = Frame(BINARY, b"\xfe" * size)
    assert wire.send_frames_in_pieces(piece, message, message).read_frame() == message
    assert wire.read_frame() == message
    close_normally(wire)


def test_many_messages_may_arrive_at_once(wire: WebSocketConnection) -> None:
    messages = [Frame(TEXT, str(number).encode()) for number in range(5000)]
    wire.send_frames(*messages)
    for message in messages:
        assert wire.read_frame() == message
    close_normally(wire)


def test_a_mask_may_be_all_zero(wire: WebSocketConnection) -> None:
    wire.send(HELLO.encode(b"\0\0\0\0"))
    assert wire.read_frame() == HELLO
    close_normally(wire)


def test_a_frame_without_a_mask_is_an_error(wire: WebSocketConnection) -> None:
    wire.send(HELLO.encode(b""))
    assert wire.is_closed_with(1002)


# Pings and pongs.


@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize(
    "data", [b"", b"Hello", b"\0\xff\xfe\xfd\xfc", b"\xfe" * 125], ids=["empty", "text", "", "125"]
)
def test_a_pong_has_the_payload_of_the_ping(
    wire: WebSocketConnection, data: bytes, piece: int
) -> None:
    assert wire.send_frames_in_pieces(piece, Frame(PING, data)).read_frame() == Frame(PONG, data)
    close_normally(wire)


def test_ten_pings_get_ten_pongs_in_order(wire: WebSocketConnection) -> None:
    pings = [Frame(PING, b"%d" % number) for number in range(10)]
    for piece in (1, 1000):
        wire.send_frames_in_pieces(piece, *pings)
        assert [wire.read_frame() for _ in pings] == [Frame(PONG, ping.payload) for ping in pings]
    close_normally(wire)


@pytest.mark.parametrize("data", [b"", b"unsolicited"])
def test_an_unsolicited_pong_is_ignored(wire: WebSocketConnection, data: bytes) -> None:
    assert wire.send_frames(Frame(PONG, data), Frame(PING, b"1")).read_frame() == Frame(PONG, b"1")
    close_normally(wire)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_longer_than_125_bytes_is_an_error(
    wire: WebSocketConnection, opcode: int
) -> None:
    wire.send_frames(Frame(opcode, b"\x03\xe8" + b"x" * 124))
    assert wire.is_closed_with(1002)


# Reserved bits and opcodes.


@pytest.mark.parametrize("reserved", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_a_reserved_bit_is_an_error(wire: WebSocketConnection, opcode: int, reserved: int) -> None:
    # A valid message first.
    assert wire.send_frames(HELLO).read_frame() == HELLO
    wire.send_frames_in_pieces(1, Frame(opcode, b"\x03\xe8", reserved=reserved))
    assert wire.is_closed_with(1002)


@pytest.mark.parametrize("data", [b"", b"data"])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_an_unknown_opcode_is_an_error(wire: WebSocketConnection, opcode: int, data: bytes) -> None:
    assert wire.send_frames(HELLO).read_frame() == HELLO
    wire.send_frames(Frame(opcode, data), Frame(PING))
    assert wire.is_closed_with(1002)


def test_frames_after_an_error_are_ignored(wire: WebSocketConnection, server: Server) -> None:
    """The message before the error reaches the app, whose echo may come too late."""
    wire.send_frames(HELLO, Frame(TEXT, b"bad", reserved=2), Frame(TEXT, b"more"), Frame(PING))
    frame = wire.read_frame()
    if frame == HELLO:
        frame = wire.read_frame()
    assert (frame.opcode, frame.payload[:2]) == (CLOSE, b"\x03\xea")
    assert wire.ends_cleanly()


# Fragments.


def fragments(*pieces: bytes, opcode: int = TEXT) -> list[Frame]:
    """Make the frames of a fragmented message."""
    last = len(pieces) - 1
    return [
        Frame(CONT if number else opcode, piece, fin=number == last)
        for number, piece in enumerate(pieces)
    ]


P, Q = Frame(PING, b"ping 1"), Frame(PING, b"ping 2")
ONE, TWO = fragments(b"fragment1", b"fragment2")
WHOLE = Frame(TEXT, b"fragment1fragment2")
GOOD = {
    "two": ([ONE, TWO], [WHOLE]),
    "ping between": ([ONE, P, TWO], [Frame(PONG, b"ping 1"), WHOLE]),
    "pong between": ([ONE, Frame(PONG), TWO], [WHOLE]),
    "empty": (fragments(b"", b"", b""), [Frame(TEXT)]),
    "empty around": (fragments(b"", b"middle", b""), [Frame(TEXT, b"middle")]),
    "binary": (fragments(b"\xff", b"\xfe", opcode=BINARY), [Frame(BINARY, b"\xff\xfe")]),
    "five with pings": (
        [*fragments(b"1", b"2", b"3", b"4", b"5")[:2], P]
        + [*fragments(b"1", b"2", b"3", b"4", b"5")[2:4], Q]
        + fragments(b"1", b"2", b"3", b"4", b"5")[4:],
        [Frame(PONG, b"ping 1"), Frame(PONG, b"ping 2"), Frame(TEXT, b"12345")],
    ),
    "two messages": ([ONE, TWO, *fragments(b"a", b"b")], [WHOLE, Frame(TEXT, b"ab")]),
    "a character in two": (
        fragments("ü".encode()[:1], "ü".encode()[1:]),
        [Frame(TEXT, b"\xc3\xbc")],
    ),
}


@pytest.mark.parametrize("piece", [1, 5, 100_000])
@pytest.mark.parametrize("name", GOOD)
def test_fragments_make_one_message(wire: WebSocketConnection, name: str, piece: int) -> None:
    sent, expected = GOOD[name]
    wire.send_frames_in_pieces(piece, *sent)
    assert [wire.read_frame() for _ in expected] == expected
    close_normally(wire)


BAD = {
    "a ping in two": [Frame(PING, b"1", fin=False), Frame(CONT, b"2")],
    "a pong in two": [Frame(PONG, b"1", fin=False), Frame(CONT, b"2")],
    "a close in two": [Frame(CLOSE, b"\x03\xe8", fin=False), Frame(CONT)],
    "an end without a beginning": [Frame(CONT, b"end")],
    "a middle without a beginning": [Frame(CONT, b"middle", fin=False)],
    "a new text in the middle": [ONE, HELLO],
    "a new binary in the middle": [ONE, Frame(BINARY)],
    "a new beginning in the middle": [ONE, ONE],
    "an end after the end": [Frame(CONT, b"end", fin=False), HELLO],
}


@pytest.mark.parametrize("piece", [1, 100_000])
@pytest.mark.parametrize("name", BAD)
def test_fragments_out_of_order_are_an_error(
    wire: WebSocketConnection, name: str, piece: int
) -> None:
    wire.send_frames_in_pieces(piece, *BAD[name])
    assert wire.is_closed_with(1002)


def test_a_third_fragment_after_the_last_is_an_error(wire: WebSocketConnection) -> None:
    assert wire.send_frames(ONE, TWO).read_frame() == WHOLE
    wire.send_frames(Frame(CONT, b"fragment3", fin=False), HELLO)
    assert wire.is_closed_with(1002)


@pytest.mark.parametrize("size", [1, 64, 1300, 65535])
def test_a_long_message_in_many_fragments(wire: WebSocketConnection, size: int) -> None:
    text = "".join(chr(0x20 + i % 90) for i in range(65536 if size > 1 else 5000)).encode()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert wire.send_frames(*fragments(*pieces)).read_frame() == Frame(TEXT, text)
    close_normally(wire)


# Text is UTF-8.

VALID = {
    "kosme": "κόσμε",
    "umlauts": "Hello-µ@ßöäüàá-UTF-8!!",
    "first of two bytes": "\u0080",
    "first of three bytes": "\u0800",
    "first of four bytes": "\U00010000",
    "last of one byte": "\u007f",
    "last of two bytes": "\u07ff",
    "last of three bytes": "\uffff",
    "last of all": "\U0010ffff",
    "before the surrogates": "\ud7ff",
    "after the surrogates": "\ue000",
    "private": "\uee00\U000f0000\U00100000",
    "replacement": "\ufffd",
    "no characters": "\ufffe\ufdd0\ufdef\U0001fffe\U0001ffff\U0010fffe",
    "nul": "a\0b",
    "byte order mark": "\ufefftext",
    "emoji": "👩‍👩‍👧‍👦" * 50,
}

INVALID = {
    "a continuation": b"\x80",
    "the last continuation": b"\xbf",
    "two continuations": b"\x80\xbf",
    "all continuations": bytes(range(0x80, 0xC0)),
    "a beginning of two": b"\xc3",
    "a beginning of two and a space": b"\xc3 ",
    "a beginning of three": b"\xe0\xa4",
    "a beginning of four": b"\xf0\x9f\x98",
    "a beginning of five": b"\xf8\x88\x80\x80\x80",
    "a beginning of six": b"\xfc\x84\x80\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "fe fe ff ff": b"\xfe\xfe\xff\xff",
    "an overlong slash of two": b"\xc0\xaf",
    "an overlong slash of three": b"\xe0\x80\xaf",
    "an overlong slash of four": b"\xf0\x80\x80\xaf",
    "an overlong slash of five": b"\xf8\x80\x80\x80\xaf",
    "an overlong slash of six": b"\xfc\x80\x80\x80\x80\xaf",
    "an overlong nul": b"\xc0\x80",
    "the last overlong of two": b"\xc1\xbf",
    "the last overlong of three": b"\xe0\x9f\xbf",
    "the last overlong of four": b"\xf0\x8f\xbf\xbf",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "beyond the last": b"\xf4\x90\x80\x80",
    "latin-1": b"caf\xe9",
}
KOSME = "κόσμε".encode()


@pytest.mark.parametrize("name", VALID)
def test_valid_text_is_echoed_whole_or_in_fragments_of_one_byte(
    wire: WebSocketConnection, name: str
) -> None:
    data = VALID[name].encode()
    assert wire.send_frames(Frame(TEXT, data)).read_frame() == Frame(TEXT, data)
    single = fragments(*(data[i : i + 1] for i in range(len(data))))
    assert wire.send_frames(*single).read_frame() == Frame(TEXT, data)
    close_normally(wire)


@pytest.mark.parametrize("name", INVALID)
def test_invalid_text_is_an_error(wire: WebSocketConnection, name: str) -> None:
    wire.send_frames(Frame(TEXT, KOSME + INVALID[name] + b"edited"))
    assert wire.is_closed_with(1007)


@pytest.mark.parametrize("name", INVALID)
def test_invalid_text_is_an_error_in_fragments_of_one_byte(
    wire: WebSocketConnection, name: str
) -> None:
    data = KOSME + INVALID[name] + b"e"
    wire.send_frames(*fragments(*(data[i : i + 1] for i in range(len(data)))))
    assert wire.is_closed_with(1007)


@pytest.mark.parametrize("name", INVALID)
def test_a_binary_message_may_have_any_bytes(wire: WebSocketConnection, name: str) -> None:
    message = Frame(BINARY, INVALID[name])
    assert wire.send_frames(message).read_frame() == message


def test_an_incomplete_character_in_the_last_fragment_is_an_error(
    wire: WebSocketConnection,
) -> None:
    wire.send_frames(*fragments(KOSME, b"\xce"))
    assert wire.is_closed_with(1007)


@pytest.mark.parametrize("bad", [b"\xf4\x90\x80\x80", b"\xed\xa0\x80", b"\xc0\xaf", b"\xff"])
def test_invalid_text_is_noticed_in_its_own_fragment(wire: WebSocketConnection, bad: bytes) -> None:
    """The error is reported although the message has more fragments."""
    wire.send_frames(*fragments(KOSME, bad, b"never sent")[:2])
    assert wire.is_closed_with(1007)


def test_invalid_text_is_noticed_at_the_byte_that_makes_it_so(wire: WebSocketConnection) -> None:
    """0xf4 may begin a character, 0xf4 0x90 may not."""
    beginning, more = Frame(TEXT, KOSME + b"\xf4", fin=False), Frame(CONT, b"\x90", fin=False)
    assert wire.send_frames(beginning, Frame(PING)).read_frame() == Frame(PONG)
    wire.send_frames(more)
    assert wire.is_closed_with(1007)


# Closing.


def test_a_close_is_answered_and_the_connection_ended(wire: WebSocketConnection) -> None:
    assert wire.send_frames(HELLO).read_frame() == HELLO
    close_normally(wire)


@pytest.mark.parametrize(
    "code",
    [None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
    + [3000, 3999, 4000, 4999],
)
def test_a_valid_close_code_is_echoed(wire: WebSocketConnection, code: int | None) -> None:
    wire.send_frames(close_frame(code))
    assert wire.read_close() == (code, b"")
    assert wire.ends_cleanly()


@pytest.mark.parametrize(
    "code",
    [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535],
)
def test_an_invalid_close_code_is_an_error(wire: WebSocketConnection, code: int) -> None:
    wire.send_frames(close_frame(code))
    assert wire.is_closed_with(1002)


def test_a_close_of_one_byte_is_an_error(wire: WebSocketConnection) -> None:
    wire.send_frames(Frame(CLOSE, b"\x03"))
    assert wire.is_closed_with(1002)


@pytest.mark.parametrize("reason", [b"going", "ade, κόσμε".encode(), b"x" * 123])
def test_a_close_reason_is_echoed(wire: WebSocketConnection, server: Server, reason: bytes) -> None:
    wire.send_frames(close_frame(1000, reason))
    assert wire.read_close() == (1000, reason)
    assert wire.ends_cleanly()
    wait_for(lambda: f"1000 {reason.decode()} /echo" in events(server), "the app knows")


@pytest.mark.parametrize("name", INVALID)
def test_a_close_reason_that_is_not_utf8_is_an_error(wire: WebSocketConnection, name: str) -> None:
    wire.send_frames(close_frame(1000, (KOSME + INVALID[name])[:123]))
    assert wire.is_closed_with(1007)


@pytest.mark.parametrize(
    "more",
    [[close_frame(1000)], [Frame(PING)], [HELLO], [ONE], [Frame(3)], [Frame(TEXT, b"\xff")]],
    ids=["close", "ping", "text", "fragment", "nonsense", "bad text"],
)
def test_frames_after_a_close_are_ignored(wire: WebSocketConnection, more: Sequence[Frame]) -> None:
    wire.send_frames(close_frame(1000), *more)
    assert wire.read_close() == (1000, b"")
    assert wire.ends_cleanly()


def test_a_close_in_the_middle_of_a_message_is_answered(wire: WebSocketConnection) -> None:
    wire.send_frames(ONE, close_frame(1000), TWO)
    assert wire.read_close() == (1000, b"")
    assert wire.ends_cleanly()


def test_a_large_message_is_echoed_before_the_close(
    wire: WebSocketConnection,
) -> None:
    large = Frame(BINARY, b"\xaa" * 262144)
    assert wire.send_frames(large).read_frame() == large
    close_normally(wire)
