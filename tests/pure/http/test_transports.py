"""The rules of a transport, on uvloop's and on the compiled one: prefork works on both.

They are those of asyncio (asyncio-protocol), where uvloop and asyncio differ those of uvloop.
"""

import asyncio
import gc
import os
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from prefork._speed import IS_COMPILED

if IS_COMPILED:
    from prefork._speed import Poller

MEGABYTE = bytes(range(256)) * 4096


class Recorder(asyncio.Protocol):
    """Notes what the transport tells it."""

    def __init__(self, keeps_open: bool = False) -> None:
        self.events: list[Any] = []
        self.keeps_open = keeps_open
        self.transport: Any = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append("lost")
        self.lost.set_result(error)

    @property
    def data(self) -> bytes:
        return b"".join(each for each in self.events if isinstance(each, bytes))


class Bench:
    """Connected sockets: a transport on one side, the test on the other."""

    def __init__(self, kind: str, family: int) -> None:
        self.kind, self.family = kind, family
        self.loop = asyncio.get_running_loop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.poller: Any = Poller(self.loop) if kind == "epoll" else None

    async def connect(self, protocol: asyncio.BaseProtocol) -> socket.socket:
        """Give the protocol a transport and return the socket of the other side."""
        if self.family == socket.AF_UNIX:
            ours, theirs = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                theirs = socket.create_connection(listener.getsockname())
                ours, _ = listener.accept()
        theirs.settimeout(30)
        if self.poller is not None:
            self.poller.connect(ours.detach(), self.family, protocol)
        else:
            ours.setblocking(False)
            await self.loop.connect_accepted_socket(lambda: protocol, ours)  # type: ignore[arg-type, return-value]
        return theirs

    async def until(self, condition: Callable[[], object]) -> None:
        """Give the loop turns until the condition holds."""
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)

    async def read(self, sock: socket.socket, size: int) -> bytes:
        """Read as many bytes in a thread, so that the loop goes on."""
        return await asyncio.to_thread(_read, sock, size)


def _read(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := sock.recv(65536)):
        data += piece
    return bytes(data)


Run = Callable[[Callable[[Bench], Coroutine[Any, Any, None]]], None]
needs_extension = pytest.mark.skipif(not IS_COMPILED, reason="this is the pure build")


@pytest.fixture(params=[socket.AF_UNIX, socket.AF_INET], ids=["unix", "tcp"])
def family(request: pytest.FixtureRequest) -> int:
    value: int = request.param
    return value


@pytest.fixture(params=["uvloop", pytest.param("epoll", marks=needs_extension)])
def run(request: pytest.FixtureRequest, family: int) -> Run:
    """Run a test on a loop; no error may have reached the loop unless the test took it."""

    def run_test(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            bench = Bench(request.param, family)
            await test(bench)
            assert bench.errors == []
            if bench.poller is not None:
                bench.poller.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    return run_test


def test_bytes_arrive_in_order_and_the_end_comes_last(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            await asyncio.to_thread(client.sendall, MEGABYTE)
            client.shutdown(socket.SHUT_WR)
            await protocol.lost
            assert protocol.events[0] == "made"
            assert protocol.events[-2:] == ["eof", "lost"]
            assert protocol.data == MEGABYTE
            assert protocol.lost.result() is None

    run(test)


def test_a_half_closed_connection_can_still_be_written_to(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder(keeps_open=True)
        with await bench.connect(protocol) as client:
            client.sendall(b"last")
            client.shutdown(socket.SHUT_WR)
            await bench.until(lambda: "eof" in protocol.events)
            assert protocol.events == ["made", b"last", "eof"]
            protocol.transport.write(b"answer")
            assert await bench.read(client, 6) == b"answer"
            protocol.transport.close()
            await protocol.lost
            assert protocol.events.count("eof") == 1

    run(test)


def test_nothing_is_received_after_a_pause(run: Run) -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def test(bench: Bench) -> None:
        protocol = Pausing()
        with await bench.connect(protocol) as client:
            client.sendall(b"1")
            await bench.until(lambda: protocol.data == b"1")
            client.sendall(b"2")
            for _ in range(20):
                await asyncio.sleep(0)
            assert protocol.data == b"1"
            assert not protocol.transport.is_reading()
            protocol.transport.resume_reading()
            await bench.until(lambda: protocol.data == b"12")
            protocol.transport.abort()
            await protocol.lost

    run(test)


def test_nothing_is_received_in_a_pause_while_the_transport_sends(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            protocol.transport.pause_reading()
            client.sendall(b"1")
            protocol.transport.write(MEGABYTE * 8)
            assert await bench.read(client, 8 * len(MEGABYTE)) == MEGABYTE * 8
            await bench.until(lambda: "resume" in protocol.events)
            assert protocol.data == b""
            protocol.transport.resume_reading()
            await bench.until(lambda: protocol.data == b"1")
            protocol.transport.abort()
            await protocol.lost

    run(test)


def test_a_connection_that_another_ends_receives_nothing_more(run: Run) -> None:
    class Ending(Recorder):
        other: Recorder

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.other.transport.abort()

    async def test(bench: Bench) -> None:
        first, second = Ending(), Ending()
        first.other, second.other = second, first
        with await bench.connect(first) as client, await bench.connect(second) as another:
            client.sendall(b"x")
            another.sendall(b"x")
            await asyncio.wait((first.lost, second.lost), return_when=asyncio.FIRST_COMPLETED)
            assert sorted((first.data, second.data)) == [b"", b"x"]
            first.transport.abort()
            second.transport.abort()
            await asyncio.gather(first.lost, second.lost)

    run(test)


def test_what_the_socket_does_not_take_is_sent_later(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            pieces = [MEGABYTE, b"x", MEGABYTE * 8, b"y" * 100_000, b"end"]
            for piece in pieces:
                protocol.transport.write(piece)
            expected = b"".join(pieces)
            assert protocol.transport.get_write_buffer_size() > 0
            assert protocol.events == ["made", "pause"]
            assert await bench.read(client, len(expected)) == expected
            await bench.until(lambda: protocol.events == ["made", "pause", "resume"])
            assert protocol.transport.get_write_buffer_size() == 0
            protocol.transport.abort()
            await protocol.lost

    run(test)


class Answering(Recorder):
    """Writes pieces when it receives something."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self.pieces = pieces
        self.waiting: list[int] = []

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        for piece in self.pieces:
            self.transport.write(piece)
            self.waiting.append(self.transport.get_write_buffer_size())


def test_an_answer_that_the_socket_does_not_take_is_sent_later(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Answering(MEGABYTE * 8, b"end")
        with await bench.connect(protocol) as client:
            client.sendall(b"x")
            expected = b"".join(protocol.pieces)
            assert await bench.read(client, len(expected)) == expected
            await bench.until(lambda: protocol.transport.get_write_buffer_size() == 0)
            assert 0 < protocol.waiting[0] < len(MEGABYTE) * 8
            assert protocol.waiting[1] == protocol.waiting[0] + 3
            client.sendall(b"y")
            await bench.until(lambda: protocol.data == b"xy")
            client.sendall(b"z")
            await bench.until(lambda: protocol.data == b"xyz")
            assert await bench.read(client, 2 * len(expected)) == expected * 2
            protocol.transport.abort()
            await protocol.lost

    run(test)


def test_an_answer_to_a_full_socket_waits_for_room(run: Run) -> None:
    class Filling(Answering):
        def data_received(self, data: bytes) -> None:
            fd = self.transport.get_extra_info("socket").fileno()
            self.filled = 0
            while True:
                try:
                    self.filled += os.write(fd, MEGABYTE)
                except BlockingIOError:
                    break
            super().data_received(data)

    async def test(bench: Bench) -> None:
        protocol = Filling(b"end")
        with await bench.connect(protocol) as client:
            client.sendall(b"x")
            await bench.until(lambda: protocol.data)
            assert protocol.waiting == [3]
            size = protocol.filled + 3
            assert (await bench.read(client, size))[-3:] == b"end"
            protocol.transport.abort()
            await protocol.lost

    run(test)


def test_the_water_marks_can_be_moved(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            transport = protocol.transport
            assert transport.get_write_buffer_limits()[1] == 64 * 1024
            transport.set_write_buffer_limits(32 * 1024 * 1024)
            transport.write(MEGABYTE * 16)
            assert protocol.events == ["made"]
            transport.set_write_buffer_limits(0)
            assert protocol.events == ["made", "pause"]
            await bench.read(client, 16 * len(MEGABYTE))
            await bench.until(lambda: protocol.events == ["made", "pause", "resume"])
            transport.abort()
            await protocol.lost

    run(test)


def test_the_protocol_writes_again_at_the_low_water_mark(run: Run) -> None:
    class Measuring(Recorder):
        size = 0

        def resume_writing(self) -> None:
            super().resume_writing()
            self.size = self.transport.get_write_buffer_size()

    async def test(bench: Bench) -> None:
        protocol = Measuring()
        with await bench.connect(protocol) as client:
            low, size = len(MEGABYTE) * 20, len(MEGABYTE) * 40
            protocol.transport.set_write_buffer_limits(low=low, high=low)
            protocol.transport.writelines((MEGABYTE * 20, MEGABYTE * 20))
            assert protocol.events == ["made", "pause"]
            assert len(await bench.read(client, size)) == size
            await bench.until(lambda: protocol.events == ["made", "pause", "resume"])
            assert protocol.size <= low
            assert protocol.size or bench.kind == "uvloop"  # which sends the second piece whole
            protocol.transport.abort()
            await protocol.lost

    run(test)


def test_water_marks_follow_from_each_other(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol):
            transport = protocol.transport
            transport.set_write_buffer_limits(low=1000)
            assert transport.get_write_buffer_limits() == (1000, 4000)
            transport.set_write_buffer_limits(high=1000)
            assert transport.get_write_buffer_limits() == (250, 1000)
            for wrong in ({"high": 1, "low": 2}, {"high": 1, "low": -1}):
                with pytest.raises(ValueError, match="must be >="):
                    transport.set_write_buffer_limits(**wrong)
            transport.abort()
            await protocol.lost

    run(test)


def test_many_small_writes_arrive_in_order(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            expected = b""
            for number in range(2000):
                piece = b"%d," % number
                expected += piece
                if number % 3:
                    protocol.transport.write(piece)
                else:
                    protocol.transport.writelines((piece[:1], b"", piece[1:]))
                if number % 100 == 0:
                    await asyncio.sleep(0)
            protocol.transport.close()
            assert await bench.read(client, len(expected) + 1) == expected
            await protocol.lost

    run(test)


def test_close_sends_what_was_written_and_reads_no_more(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            protocol.transport.write(MEGABYTE * 8)
            protocol.transport.close()
            assert protocol.transport.is_closing()
            assert await bench.read(client, 9 * len(MEGABYTE)) == MEGABYTE * 8
            await protocol.lost
            assert protocol.data == b""
            assert protocol.events.count("lost") == 1

    run(test)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_the_end_is_told_once_and_never_within_the_call(run: Run, how: str) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            client.sendall(b"x")
            await bench.until(lambda: protocol.data)
            getattr(protocol.transport, how)()
            assert protocol.events == ["made", b"x"]
            protocol.transport.abort()
            protocol.transport.close()
            protocol.transport.write(b"dropped")
            protocol.transport.writelines((b"dropped", b"too"))
            await protocol.lost
            await asyncio.sleep(0)
            assert protocol.events == ["made", b"x", "lost"]
            assert await bench.read(client, 1) == b""

    run(test)


def test_abort_drops_what_was_not_sent(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            protocol.transport.write(MEGABYTE * 8)
            protocol.transport.abort()
            await protocol.lost
            try:
                assert len(await bench.read(client, 8 * len(MEGABYTE))) < 8 * len(MEGABYTE)
            except ConnectionResetError:
                pass

    run(test)


def test_write_eof_comes_behind_what_was_written(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            assert protocol.transport.can_write_eof()
            protocol.transport.write(MEGABYTE * 4)
            protocol.transport.write_eof()
            with pytest.raises(RuntimeError):
                protocol.transport.write(b"more")
            with pytest.raises(RuntimeError):
                protocol.transport.writelines((b"even", b"more"))
            assert await bench.read(client, 5 * len(MEGABYTE)) == MEGABYTE * 4
            client.sendall(b"still read")
            await bench.until(lambda: protocol.data == b"still read")
            protocol.transport.abort()
            await protocol.lost

    run(test)


def test_a_client_that_resets_ends_the_connection(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        client = await bench.connect(protocol)
        if bench.family == socket.AF_INET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        await protocol.lost
        assert protocol.events[-1] == "lost"

    run(test)


def test_a_write_to_a_client_that_left_ends_the_connection(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        client = await bench.connect(protocol)
        protocol.transport.pause_reading()
        client.close()
        while not protocol.transport.is_closing():
            protocol.transport.write(b"x" * 1000)
            await asyncio.sleep(0)
        assert isinstance(await protocol.lost, OSError)

    run(test)


def test_an_exception_of_the_protocol_ends_its_connection_and_is_reported(run: Run) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError(data)

    async def test(bench: Bench) -> None:
        failing, other = Failing(), Recorder()
        with await bench.connect(failing) as client, await bench.connect(other) as second:
            client.sendall(b"x")
            second.sendall(b"y")
            await failing.lost
            await bench.until(lambda: other.data == b"y")
            other.transport.abort()
            await other.lost
        errors, bench.errors = bench.errors, []
        assert [type(each["exception"]) for each in errors] == [ValueError]

    run(test)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_an_exception_of_pause_writing_is_reported_and_an_exit_is_not_held_up(
    run: Run, error: type[BaseException]
) -> None:
    class Failing(Recorder):
        def pause_writing(self) -> None:
            raise error

    async def test(bench: Bench) -> None:
        protocol = Failing()
        with await bench.connect(protocol) as client:
            protocol.transport.set_write_buffer_limits(0)
            if error is SystemExit:
                with pytest.raises(SystemExit):
                    protocol.transport.writelines((MEGABYTE * 8, b"x"))
            else:
                protocol.transport.writelines((MEGABYTE * 8, b"x"))
                assert [type(each["exception"]) for each in bench.errors] == [error]
                bench.errors = []
            assert (await bench.read(client, 8 * len(MEGABYTE) + 1))[-1:] == b"x"
            protocol.transport.abort()
            await protocol.lost

    run(test)


class Filling(asyncio.BufferedProtocol):
    """Receives into a buffer of its own, and returns the transport when it is full."""

    def __init__(self, after: Recorder, size: int) -> None:
        self.buffer, self.size, self.after = bytearray(size), 0, after

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)[self.size :]

    def buffer_updated(self, nbytes: int) -> None:
        self.size += nbytes
        if self.size == len(self.buffer):
            self.after.transport.set_protocol(self.after)


def test_another_protocol_may_receive_into_its_buffer_for_a_while(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            client.sendall(b"head")
            await bench.until(lambda: protocol.data == b"head")
            filling = Filling(protocol, len(MEGABYTE))
            protocol.transport.set_protocol(filling)
            assert protocol.transport.get_protocol() is filling
            await asyncio.to_thread(client.sendall, MEGABYTE + b"tail")
            await bench.until(lambda: protocol.data == b"headtail")
            assert bytes(filling.buffer) == MEGABYTE
            protocol.transport.abort()
            await protocol.lost

    run(test)


def test_a_buffer_without_room_is_an_error_of_the_protocol(run: Run) -> None:
    class Full(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray()

        def connection_lost(self, error: Exception | None) -> None:
            lost.set_result(error)

    lost: asyncio.Future[Exception | None]

    async def test(bench: Bench) -> None:
        nonlocal lost
        lost = bench.loop.create_future()
        with await bench.connect(Full()) as client:
            client.sendall(b"x")
            assert isinstance(await lost, RuntimeError)
        (reported,) = bench.errors
        bench.errors = []
        assert "empty buffer" in str(reported["exception"])

    run(test)


def test_the_addresses_and_the_socket_are_known(run: Run) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            info = protocol.transport.get_extra_info
            assert info("peername") == client.getsockname()
            assert info("sockname") == client.getpeername()
            assert info("socket").family == bench.family
            assert not os.get_blocking(info("socket").fileno())
            assert info("ssl_object") is None
            assert info("unknown", 7) == 7
            if bench.family == socket.AF_INET:
                assert info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            protocol.transport.abort()
            await protocol.lost

    run(test)


def run_compiled(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    """Run a test of what only the compiled transport promises."""

    async def main() -> None:
        bench = Bench("epoll", socket.AF_UNIX)
        await test(bench)
        assert bench.errors == []
        bench.poller.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@needs_extension
def test_the_first_write_of_a_turn_goes_out_at_once_and_others_together() -> None:
    async def test(bench: Bench) -> None:
        protocol = Answering(b"a", b"b", b"c")
        with await bench.connect(protocol) as client:
            client.sendall(b"x")
            assert await bench.read(client, 3) == b"abc"
            assert protocol.waiting == [0, 1, 2]
            protocol.transport.abort()
            await protocol.lost

    run_compiled(test)


@needs_extension
def test_a_write_at_the_end_of_a_turn_waits_for_room() -> None:
    class Filling(Recorder):
        filled = 0

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"a")
            try:
                while True:
                    self.filled += os.write(
                        self.transport.get_extra_info("socket").fileno(), MEGABYTE
                    )
            except BlockingIOError:
                self.transport.write(b"end")

    async def test(bench: Bench) -> None:
        protocol = Filling()
        with await bench.connect(protocol) as client:
            client.sendall(b"x")
            await bench.until(lambda: protocol.data)
            assert (await bench.read(client, protocol.filled + 4))[-3:] == b"end"
            protocol.transport.abort()
            await protocol.lost

    run_compiled(test)


@needs_extension
def test_a_connection_that_ends_in_a_turn_is_not_resumed() -> None:
    class Leaving(Answering):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.abort()

    async def test(bench: Bench) -> None:
        protocol = Leaving(b"a", MEGABYTE)
        with await bench.connect(protocol) as client:
            client.sendall(b"x")
            await protocol.lost
            assert protocol.events == ["made", b"x", "pause", "lost"]

    run_compiled(test)


@needs_extension
@pytest.mark.parametrize("end", ["eof", "close"])
def test_reading_cannot_be_resumed_after_the_end(end: str) -> None:
    async def test(bench: Bench) -> None:
        protocol = Recorder(keeps_open=True)
        with await bench.connect(protocol) as client:
            if end == "eof":
                client.shutdown(socket.SHUT_WR)
                await bench.until(lambda: "eof" in protocol.events)
                protocol.transport.resume_reading()
                for _ in range(20):
                    await asyncio.sleep(0)
                assert protocol.events == ["made", "eof"]
                protocol.transport.abort()
            else:
                protocol.transport.write(MEGABYTE * 8)
                client.sendall(b"late")
                protocol.transport.close()
                protocol.transport.resume_reading()
                await bench.read(client, 8 * len(MEGABYTE))
            await protocol.lost
            assert protocol.data == b""

    run_compiled(test)


@needs_extension
def test_an_exit_of_the_protocol_ends_the_loop() -> None:
    class Exiting(Recorder):
        def data_received(self, data: bytes) -> None:
            raise SystemExit(7)

    async def test(bench: Bench) -> None:
        with await bench.connect(Exiting()) as client:
            client.sendall(b"x")
            await asyncio.sleep(1000)

    with pytest.raises(SystemExit):
        run_compiled(test)


@needs_extension
def test_a_descriptor_that_cannot_be_watched_is_closed() -> None:
    async def test(bench: Bench) -> None:
        fd = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(PermissionError):
            bench.poller.connect(fd, socket.AF_UNIX, Recorder())
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)

    run_compiled(test)


@needs_extension
def test_sockets_of_a_poller_that_is_gone_are_closed() -> None:
    async def test(bench: Bench) -> None:
        client = await bench.connect(Recorder())
        bench.poller.close()
        bench.poller = Poller(bench.loop)
        gc.collect()
        assert client.recv(1) == b""
        client.close()

    run_compiled(test)


@needs_extension
def test_the_loop_has_a_turn_after_a_long_call() -> None:
    async def test(bench: Bench) -> None:
        order: list[str] = []

        class Slow(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                order.append("call")
                bench.loop.call_soon(order.append, "turn")
                until = time.monotonic() + 0.003
                while time.monotonic() < until:
                    pass

        first, second = Slow(), Slow()
        with await bench.connect(first) as client, await bench.connect(second) as another:
            client.sendall(b"x")
            another.sendall(b"x")
            await bench.until(lambda: len(order) == 4)
            assert order == ["call", "turn"] * 2
            for each in (first, second):
                each.transport.abort()
                await each.lost

    run_compiled(test)


@needs_extension
def test_a_turn_that_was_cut_short_goes_on_with_the_next_socket() -> None:
    """Clients that send again at once do not keep others waiting."""

    async def test(bench: Bench) -> None:
        order: list[str] = []
        clients: dict[str, socket.socket] = {}

        class Slow(Recorder):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            def data_received(self, data: bytes) -> None:
                order.append(self.name)
                if len(order) < 12:
                    clients[self.name].send(b"x")
                until = time.monotonic() + 0.003
                while time.monotonic() < until:
                    pass

        slow = [Slow(name) for name in "abcd"]
        for each in slow:
            clients[each.name] = await bench.connect(each)
        for client in clients.values():
            client.send(b"x")
        await bench.until(lambda: len(order) == 12)
        assert "".join(order) == "abcd" * 3
        for each in slow:
            each.transport.abort()
            await each.lost
            clients[each.name].close()

    run_compiled(test)


def make_counting_poller(loop: asyncio.AbstractEventLoop) -> Any:
    """Return a Poller whose ``calls`` is the number of turns in which it was called."""

    class Counting(Poller):
        calls = 0

        def _handle_events(self) -> None:
            self.calls += 1
            super()._handle_events()

    return Counting(loop)


@needs_extension
def test_a_paused_connection_whose_client_resets_does_not_keep_the_loop_busy() -> None:
    async def test() -> None:
        bench = Bench("epoll", socket.AF_INET)
        bench.poller = poller = make_counting_poller(bench.loop)
        protocol = Recorder()
        client = await bench.connect(protocol)
        protocol.transport.pause_reading()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        before = poller.calls
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert poller.calls - before <= 1
        protocol.transport.resume_reading()
        assert isinstance(await protocol.lost, ConnectionResetError)
        bench.poller.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


@needs_extension
def test_a_descriptor_that_lives_on_elsewhere_causes_no_event_for_the_next_connection() -> None:
    async def test() -> None:
        bench = Bench("epoll", socket.AF_UNIX)
        bench.poller = poller = make_counting_poller(bench.loop)
        first, second = Recorder(), Recorder()
        old = await bench.connect(first)
        copy = os.dup(first.transport.get_extra_info("socket").fileno())
        first.transport.abort()
        await first.lost
        with await bench.connect(second) as client:
            old.sendall(b"for the copy")
            client.sendall(b"mine")
            await bench.until(lambda: second.data)
            assert second.data == b"mine"
            assert first.data == b""
            assert poller.calls == 1
            assert os.read(copy, 100) == b"for the copy"
            second.transport.abort()
            await second.lost
        os.close(copy)
        old.close()
        bench.poller.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


@needs_extension
def test_a_forked_child_that_closes_its_copies_takes_nothing_from_its_parent() -> None:
    async def test() -> None:
        bench = Bench("epoll", socket.AF_UNIX)
        protocol = Recorder()
        with await bench.connect(protocol) as client:
            pid = os.fork()
            if not pid:
                try:
                    bench.poller.disown()
                    protocol.transport.abort()
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            client.sendall(b"still read")
            await bench.until(lambda: protocol.data == b"still read")
            protocol.transport.abort()
            await protocol.lost
        bench.poller.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
