"""permessage-deflate (RFC 7692): negotiation, and messages of all sizes in both directions.

These tests cover the cases 12 and 13 of the Autobahn test suite.
"""

import random
import re
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.harness import APPS, Server, serving
from tests.live.process_memory import PeakMemory
from tests.live.raw_client import tcp
from tests.live.websocket_client import (
    BINARY,
    COMPRESSED,
    CONT,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketConnection,
    close_frame,
    connect_websocket,
)

SIZES = (0, 1, 16, 64, 125, 126, 127, 1024, 8192, 65535, 65536, 131072)
TAIL = b"\0\0\xff\xff"


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("compression")
    limit = ("--ws-max-size", "1m")
    with serving(folder, "sockets:app", "--pythonpath", str(APPS), *limit) as server:
        yield server


class DeflateWire(WebSocketConnection):
    """A client with permessage-deflate, implemented with zlib."""

    compresses = True

    def negotiate(self, offer: str) -> str | None:
        """Send an offer; return the parameters that the server accepted, None for a refusal."""
        answer = self.request_handshake("/echo", f"Sec-WebSocket-Extensions: {offer}")
        assert answer.status == 101
        taken = answer.get("sec-websocket-extensions")
        self.compresses = taken is not None
        if taken is not None:
            parameters = dict(re.findall(r"; (\w+)(?:=(\d+))?", taken))
            assert taken == "permessage-deflate" + "".join(
                f"; {name}" + (f"={value}" if value else "") for name, value in parameters.items()
            )
            self.resets_context = "client_no_context_takeover" in parameters
            self.server_resets_context = "server_no_context_takeover" in parameters
            self.bits = int(parameters.get("client_max_window_bits") or 15)
            self.their_bits = int(parameters.get("server_max_window_bits") or 15)
            self._reset_contexts()
        return taken

    def _reset_contexts(self) -> None:
        self.deflate = zlib.compressobj(wbits=-self.bits)
        self.inflate = zlib.decompressobj(wbits=-self.their_bits)

    def pack(self, data: bytes) -> bytes:
        """Compress a payload."""
        if self.resets_context:
            self.deflate = zlib.compressobj(wbits=-self.bits)
        packed = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(TAIL)
        return packed[:-4]

    def message(self) -> bytes:
        """Return the next message, which must be compressed."""
        frame = self.read_frame()
        assert frame.reserved == COMPRESSED
        if self.server_resets_context:
            # A new context for each message: one that needs an older context would fail here.
            self.inflate = zlib.decompressobj(wbits=-self.their_bits)
        return self.inflate.decompress(frame.payload + TAIL)

    def echo(self, data: bytes, opcode: int = TEXT, pieces: int = 1) -> bytes:
        """Send a message in ``pieces`` fragments and return the echo."""
        packed = self.pack(data)
        step = len(packed) // pieces + 1
        cut = [packed[start : start + step] for start in range(0, len(packed), step)]
        last = len(cut) - 1
        self.send_frames(
            *(
                Frame(CONT if i else opcode, piece, i == last, 0 if i else COMPRESSED)
                for i, piece in enumerate(cut)
            )
        )
        return self.message()


OFFERS = {
    "permessage-deflate": (12, 15, False, False),
    "permessage-deflate; client_max_window_bits": (12, 12, False, False),
    "permessage-deflate; client_max_window_bits=15": (12, 12, False, False),
    "permessage-deflate; client_max_window_bits=9": (12, 9, False, False),
    "permessage-deflate; server_max_window_bits=9": (9, 15, False, False),
    "permessage-deflate; server_max_window_bits=15": (12, 15, False, False),
    "permessage-deflate; server_no_context_takeover": (12, 15, True, False),
    "permessage-deflate; client_no_context_takeover": (12, 15, False, True),
    "permessage-deflate; client_no_context_takeover; client_max_window_bits; "
    "server_no_context_takeover; server_max_window_bits=10": (10, 12, True, True),
    'permessage-deflate; server_max_window_bits="9"': (9, 15, False, False),
    "x-webkit-deflate-frame, permessage-deflate": (12, 15, False, False),
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": (12, 15, False, False),
    "permessage-deflate; nonsense, permessage-deflate; server_max_window_bits=9": (
        *(9, 15, False, False),
    ),
}
"""Window bits of the server and of the client, and whether each resets its context."""


@pytest.mark.parametrize("offer", OFFERS)
def test_an_offer_is_accepted_and_followed(server: Server, offer: str) -> None:
    theirs, ours, they_forget, we_forget = OFFERS[offer]
    with DeflateWire(tcp(server).socket) as wire:
        assert wire.negotiate(offer)
        assert (wire.their_bits, wire.bits) == (theirs, ours)
        assert (wire.server_resets_context, wire.resets_context) == (they_forget, we_forget)
        text = b"".join(b"%d bottles of beer " % number for number in range(9000))
        for size in SIZES:
            assert wire.echo(text[:size]) == text[:size]
        wire.send_frames(close_frame(1000))
        assert wire.read_close() == (1000, b"")
        assert wire.ends_cleanly()


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; unheard_of",
        "x-webkit-deflate-frame",
    ],
)
def test_an_unsupported_offer_is_declined(server: Server, offer: str) -> None:
    with DeflateWire(tcp(server).socket) as wire:
        assert wire.negotiate(offer) is None
        assert wire.send_frames(Frame(TEXT, b"plain")).read_frame() == Frame(TEXT, b"plain")
        wire.send_frames(Frame(TEXT, b"", reserved=COMPRESSED))
        assert wire.is_closed_with(1002)


@pytest.fixture
def wire(server: Server) -> Iterator[DeflateWire]:
    with DeflateWire(tcp(server).socket) as wire:
        wire.negotiate("permessage-deflate; client_max_window_bits")
        yield wire


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["noise", "text"])
def test_messages_of_any_size_are_echoed(wire: DeflateWire, kind: str, size: int) -> None:
    noise = random.Random(size).randbytes(size)
    data = noise if kind == "noise" else (b"all work and no play " * 7000)[:size]
    for _ in range(10):
        assert wire.echo(data, BINARY) == data


@pytest.mark.parametrize("pieces", [2, 7, 100])
def test_a_compressed_message_may_come_in_fragments(wire: DeflateWire, pieces: int) -> None:
    data = random.Random(pieces).randbytes(20000)
    assert wire.echo(data, BINARY, pieces) == data


def test_a_client_may_send_an_uncompressed_message(wire: DeflateWire) -> None:
    wire.send_frames(Frame(TEXT, b"plain"), Frame(PING, b"ping"))
    got = {wire.read_frame().opcode, wire.read_frame().opcode}
    assert got == {TEXT, PONG}
    assert wire.send_frames(Frame(TEXT, b"")).message() == b""


def test_a_message_may_have_final_or_stored_blocks(wire: DeflateWire) -> None:
    """A block with the final bit, followed by an empty one (RFC 7692 section 7.2.3.4), and a stored
    block."""
    deflate = zlib.compressobj(wbits=-12)
    final = deflate.compress(b"Hello") + deflate.flush(zlib.Z_FINISH) + b"\0"
    with_stored = b"\x00\x05\x00\xfa\xffHello\x00"
    for payload in (with_stored, final):
        wire.send_frames(Frame(TEXT, payload, reserved=COMPRESSED))
        assert wire.message() == b"Hello"


WRONG = {
    "another reserved bit": ([Frame(TEXT, b"\x02\0", reserved=0b010)], 1002),
    "a compressed ping": ([Frame(PING, b"\x02\0", reserved=COMPRESSED)], 1002),
    "a compressed continuation": (
        [Frame(TEXT, b"a", fin=False), Frame(CONT, b"b", reserved=COMPRESSED)],
        1002,
    ),
    "a continuation that says again that it is compressed": (
        [
            Frame(TEXT, b"\xf2\x48", fin=False, reserved=COMPRESSED),
            Frame(CONT, b"\xcd\xc9", reserved=COMPRESSED),
        ],
        1002,
    ),
    "no deflate": ([Frame(TEXT, b"\xff" * 10, reserved=COMPRESSED)], 1002),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_violation_of_the_extension_is_an_error(wire: DeflateWire, name: str) -> None:
    frames, code = WRONG[name]
    wire.send_frames(*frames)
    assert wire.is_closed_with(code)


def test_invalid_text_is_an_error_after_decompression(wire: DeflateWire) -> None:
    wire.send_frames(Frame(TEXT, wire.pack(b"\xff"), reserved=COMPRESSED))
    assert wire.is_closed_with(1007)


def test_the_limit_applies_to_the_decompressed_size(wire: DeflateWire) -> None:
    full = b"x" * (1 << 20)
    assert wire.echo(full) == full
    wire.send_frames(Frame(TEXT, wire.pack(full + b"x"), reserved=COMPRESSED))
    assert wire.is_closed_with(1009)


def test_a_compression_bomb_costs_no_more_than_the_limit(server: Server, wire: DeflateWire) -> None:
    deflate = zlib.compressobj(9, wbits=-12)
    bomb = deflate.compress(bytes(1 << 28)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    peak = PeakMemory(server.workers()[0].pid)
    wire.send_frames(Frame(BINARY, bomb, reserved=COMPRESSED))
    assert wire.is_closed_with(1009)
    assert peak.grown() < 16 << 20


def test_many_small_compression_bombs_wait_for_the_app(server: Server) -> None:
    """A hundred messages of a megabyte, a few kilobytes each when compressed, are decompressed
    only as the app takes them."""
    with DeflateWire(tcp(server).socket) as wire:
        wire.negotiate("permessage-deflate; client_no_context_takeover")
        bomb = Frame(BINARY, wire.pack(bytes(1 << 20)), reserved=COMPRESSED)
        peak = PeakMemory(server.workers()[0].pid)
        wire.send_frames(*[bomb] * 100)
        for _ in range(100):
            assert len(wire.message()) == 1 << 20
        assert peak.grown() < 32 << 20


def test_without_compression_no_offer_is_taken(tmp_path: Any) -> None:
    off = ("--ws-compression", "off", "--pythonpath", str(APPS))
    with serving(tmp_path, "sockets:app", *off) as server:
        with DeflateWire(tcp(server).socket) as wire:
            assert wire.negotiate("permessage-deflate") is None
            assert wire.send_frames(Frame(TEXT, b"plain")).read_frame() == Frame(TEXT, b"plain")
        with connect_websocket(server) as plain:
            plain.send_frames(Frame(TEXT, b"", reserved=COMPRESSED))
            assert plain.is_closed_with(1002)
