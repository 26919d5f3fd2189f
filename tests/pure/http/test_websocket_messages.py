"""Messages of an open WebSocket: frames, fragments, text, compression (RFC 6455, RFC 7692)."""

import random
import zlib

import pytest

from tests.live.websocket_client import (
    BINARY,
    CLOSE,
    COMPRESSED,
    CONT,
    PING,
    PONG,
    TEXT,
    Frame,
    close_frame,
)
from tests.pure.http.memory_websocket import (
    Echo,
    MemoryWebSocket,
    calling,
    websocket,
    websocket_limits,
)

HELLO = Frame(TEXT, b"Hello")
ACCEPT = {"type": "websocket.accept"}
SIZES = (0, 1, 125, 126, 65535, 65536, 200_000)


def fragments(*pieces: bytes, opcode: int = TEXT) -> list[Frame]:
    """Return the frames of a fragmented message."""
    last = len(pieces) - 1
    return [
        Frame(CONT if number else opcode, piece, fin=number == last)
        for number, piece in enumerate(pieces)
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
def test_a_message_of_any_size_comes_back_unchanged(opcode: int, size: int) -> None:
    message = Frame(
        opcode, random.Random(size).randbytes(size) if opcode == BINARY else b"*" * size
    )
    with websocket(Echo()) as (wire, _):
        assert wire.send(message, message).read() == [message, message]


@pytest.mark.parametrize("step", [1, 7, 20_000])
def test_frames_may_be_cut_anywhere(step: int) -> None:
    messages = [HELLO, Frame(BINARY, b"\xff" * 300), *fragments(b"a", b"", b"b"), Frame(PING, b"p")]
    data = b"".join(frame.encode() for frame in messages)
    with websocket(Echo()) as (wire, _):
        wire.client.send(*(data[at : at + step] for at in range(0, len(data), step)))
        echoes = [HELLO, Frame(BINARY, b"\xff" * 300), Frame(TEXT, b"ab")]
        found = wire.read()
        assert [frame for frame in found if frame.opcode != PONG] == echoes
        assert [frame for frame in found if frame.opcode == PONG] == [Frame(PONG, b"p")]


def test_five_thousand_messages_may_arrive_at_once() -> None:
    messages = [Frame(TEXT, b"%d" % number) for number in range(5000)]
    with websocket(Echo()) as (wire, _):
        assert wire.send(*messages).read() == messages


def test_an_app_sends_text_and_bytes_of_any_kind() -> None:
    events = [
        {"type": "websocket.send", "text": "κόσμε"},
        {"type": "websocket.send", "bytes": bytearray(b"\xff")},
        {"type": "websocket.send", "bytes": memoryview(b"\xfe"), "text": None},
    ]
    with websocket(calling(ACCEPT, *events)) as (wire, _):
        assert wire.read() == [
            Frame(TEXT, "κόσμε".encode()),
            Frame(BINARY, b"\xff"),
            Frame(BINARY, b"\xfe"),
        ]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.send"},
        {"type": "websocket.send", "bytes": "text"},
        {"type": "websocket.unheard_of"},
        {"type": "websocket.close", "code": 1006},
        {"type": "websocket.close", "reason": "x" * 124},
    ],
)
def test_what_an_app_must_not_send_closes_with_1011(event: dict[str, object]) -> None:
    with websocket(calling(ACCEPT, event)) as (wire, _):
        assert wire.read_close()[0] == 1011


# Control frames.


@pytest.mark.parametrize("data", [b"", b"ping", b"\xff" * 125])
def test_a_pong_has_the_payload_of_the_ping(data: bytes) -> None:
    with websocket(Echo()) as (wire, _):
        assert wire.send(Frame(PING, data)).read() == [Frame(PONG, data)]
        assert wire.send(Frame(PONG, data), HELLO).read() == [HELLO]


def test_control_frames_may_come_between_fragments() -> None:
    first, second = fragments(b"one", b"two")
    with websocket(Echo()) as (wire, _):
        wire.send(first, Frame(PING, b"1"), Frame(PONG), second)
        assert wire.read() == [Frame(PONG, b"1"), Frame(TEXT, b"onetwo")]


BROKEN = {
    "a reserved bit": [Frame(TEXT, b"x", reserved=0b001)],
    "compression that was not agreed": [Frame(TEXT, b"x", reserved=COMPRESSED)],
    "an unknown opcode": [Frame(3)],
    "an unknown control opcode": [Frame(11)],
    "a long ping": [Frame(PING, b"x" * 126)],
    "a ping in two": [Frame(PING, b"1", fin=False)],
    "a continuation of nothing": [Frame(CONT, b"end")],
    "a new message within one": [fragments(b"1", b"2")[0], HELLO],
    "a close of one byte": [Frame(CLOSE, b"\x03")],
    "a close with a code that is never sent": [close_frame(1006)],
    "a close with a code that is not assigned": [close_frame(999)],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_frame_that_breaks_the_protocol_closes_with_1002(name: str) -> None:
    echo = Echo()
    with websocket(echo) as (wire, _):
        wire.send(*BROKEN[name], HELLO)
        code, reason = wire.read_close()
        assert code == 1002
        assert wire.is_ended
        assert echo.disconnect == (1002, reason.decode())


def test_a_frame_without_a_mask_closes_with_1002() -> None:
    with websocket(Echo()) as (wire, _):
        wire.client.send(HELLO.encode(b""))
        assert wire.read_close()[0] == 1002


# Text.


@pytest.mark.parametrize("text", ["κόσμε", "\U0010ffff", "a\0b", "\ufefftext", "퟿"])
def test_text_may_be_cut_between_any_bytes(text: str) -> None:
    data = text.encode()
    with websocket(Echo()) as (wire, _):
        pieces = [data[at : at + 1] for at in range(len(data))]
        assert wire.send(*fragments(*pieces)).read() == [Frame(TEXT, data)]


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"caf\xe9 "]
)
def test_text_that_is_not_utf8_closes_with_1007(data: bytes) -> None:
    good = "κόσμε".encode()
    for frames in (
        [Frame(TEXT, good + data)],
        fragments(good, data),
        fragments(good + data, b""),
    ):
        echo = Echo()
        with websocket(echo) as (wire, _):
            wire.send(*frames, HELLO)
            assert wire.read_close()[0] == 1007
            assert wire.is_ended
            assert echo.disconnect[0] == 1007
            assert len(echo.events) == 1  # the message behind the error did not reach the app


def test_text_that_is_not_utf8_is_noticed_before_the_message_is_complete() -> None:
    with websocket(Echo()) as (wire, _):
        wire.send(fragments(b"good \xf4", b"")[0])
        assert wire.read() == []
        wire.send(Frame(CONT, b"\x90", fin=False))
        assert wire.read_close()[0] == 1007


def test_a_binary_message_may_hold_any_bytes() -> None:
    with websocket(Echo()) as (wire, _):
        pieces = fragments(b"\xff", b"\xed\xa0", b"\x80", opcode=BINARY)
        assert wire.send(*pieces).read() == [Frame(BINARY, b"\xff\xed\xa0\x80")]


# Size.


@pytest.mark.parametrize("frames", [[Frame(TEXT, b"x" * 101)], fragments(b"x" * 60, b"x" * 41)])
def test_a_message_that_is_too_large_closes_with_1009(frames: list[Frame]) -> None:
    with websocket(Echo(), limits=websocket_limits(max_size=100)) as (wire, _):
        full = Frame(TEXT, b"x" * 100)
        assert wire.send(full).read() == [full]
        assert wire.send(*frames).read_close()[0] == 1009
        assert wire.is_ended


def test_without_a_limit_a_message_may_have_any_size() -> None:
    large = Frame(BINARY, bytes(1 << 20))
    with websocket(Echo(), limits=websocket_limits(max_size=None)) as (wire, _):
        assert wire.send(large).read() == [large]


# Compression.

OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


class Deflate:
    """Both contexts of a client, with the windows of 12 bits that the server asks for."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(wbits=-12)
        self._inflate = zlib.decompressobj(wbits=-12)

    def pack(self, data: bytes, opcode: int = TEXT) -> Frame:
        packed = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return Frame(opcode, packed.removesuffix(b"\0\0\xff\xff"), reserved=COMPRESSED)

    def unpack(self, frame: Frame) -> bytes:
        assert frame.reserved == COMPRESSED
        return self._inflate.decompress(frame.payload + b"\0\0\xff\xff")


def echo_compressed(wire: MemoryWebSocket, deflate: Deflate, data: bytes) -> bytes:
    (frame,) = wire.send(deflate.pack(data)).read()
    return deflate.unpack(frame)


@pytest.mark.parametrize("size", SIZES)
def test_compressed_messages_come_back_compressed(size: int) -> None:
    data = (b"all work and no play " * 10_000)[:size]
    deflate = Deflate()
    with websocket(Echo(), OFFER) as (wire, _):
        assert [echo_compressed(wire, deflate, data) for _ in range(3)] == [data] * 3
        packed = deflate.pack(b"fragments").payload
        parts = fragments(packed[:3], packed[3:])
        wire.send(Frame(TEXT, packed[:3], fin=False, reserved=COMPRESSED), parts[1])
        assert deflate.unpack(wire.read()[0]) == b"fragments"
        (plain,) = wire.send(HELLO).read()
        assert deflate.unpack(plain) == b"Hello"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(TEXT, b"\xff" * 10, reserved=COMPRESSED)], 1002),
        ([Frame(PING, b"", reserved=COMPRESSED)], 1002),
        ([Frame(TEXT, b"", fin=False), Frame(CONT, b"", reserved=COMPRESSED)], 1002),
        ([Deflate().pack(b"\xff")], 1007),
        ([Deflate().pack(b"x" * 1001)], 1009),
    ],
    ids=["no deflate", "control frame", "continuation", "text", "size"],
)
def test_compressed_messages_that_are_wrong_end_the_websocket(
    frames: list[Frame], code: int
) -> None:
    with websocket(Echo(), OFFER, limits=websocket_limits(max_size=1000)) as (wire, _):
        assert wire.send(*frames).read_close()[0] == code
