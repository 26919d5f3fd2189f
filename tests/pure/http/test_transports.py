"""The rules of a transport, on uvloop's and on the compiled one: prefork works on both.

They are those of asyncio (asyncio-protocol), where uvloop and asyncio differ those of uvloop.
"""

import asyncio
import os
import socket
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
        with await bench.connect(protocol):
            getattr(protocol.transport, how)()
            assert protocol.events == ["made"]
            protocol.transport.abort()
            protocol.transport.close()
            protocol.transport.write(b"dropped")
            await protocol.lost
            await asyncio.sleep(0)
            assert protocol.events == ["made", "lost"]

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


@needs_extension
def test_a_paused_connection_whose_client_resets_does_not_keep_the_loop_busy() -> None:
    calls = 0

    async def test() -> None:
        nonlocal calls

        class Counting(Poller):
            def _handle_events(self) -> None:
                nonlocal calls
                calls += 1
                super()._handle_events()

        bench = Bench("epoll", socket.AF_INET)
        bench.poller = Counting(bench.loop)
        protocol = Recorder()
        client = await bench.connect(protocol)
        protocol.transport.pause_reading()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        before = calls
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert calls - before <= 1
        protocol.transport.resume_reading()
        assert isinstance(await protocol.lost, ConnectionResetError)
        bench.poller.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


@needs_extension
def test_a_descriptor_that_lives_on_elsewhere_causes_no_event_for_the_next_connection() -> None:
    async def test() -> None:
        bench = Bench("epoll", socket.AF_UNIX)
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
