"""The buffer in front of a log: waiting lines, dropped and counted lines, torn lines."""

import errno
import os
import select
import threading
from collections.abc import Iterator

import pytest

from prefork.observe.line_writer import LineWriter
from prefork.unix.nonblocking_writer import NonblockingWriter, reopen_nonblocking
from prefork.unix.poller import Poller

MOST = 10_000


class Written:
    """A LineWriter to a pipe, with its reports of lost lines and errors."""

    def __init__(self) -> None:
        self.reader, self.end = os.pipe()
        self.fd = reopen_nonblocking(self.end)
        self.lost: list[int] = []
        self.errors: list[tuple[int, bytes, bool]] = []
        self.sink = NonblockingWriter(self.fd)
        self.lines = LineWriter(self.sink, MOST, self.lost.append, self._error)

    def _error(self, error: OSError, lines: bytes, first: bool) -> None:
        self.errors.append((error.errno or 0, lines, first))

    def fill(self) -> None:
        try:
            while True:
                os.write(self.fd, b"x" * 4096)
        except BlockingIOError:
            pass

    def read(self) -> bytes:
        """Return what is in the pipe, without the bytes that filled it."""
        data = b""
        while select.select([self.reader], [], [], 0)[0]:
            data += os.read(self.reader, 65536)
        return data.replace(b"x" * 4096, b"")

    def close(self) -> None:
        for fd in (self.reader, self.end, self.fd):
            os.close(fd)


@pytest.fixture
def written() -> Iterator[Written]:
    made = Written()
    yield made
    made.close()


def test_lines_are_written_at_once_while_there_is_room(written: Written) -> None:
    written.lines.put(b"one\n")
    assert written.read() == b"one\n"
    assert not written.lines.has_pending
    assert written.lines.flush(0.0) == 0


def test_lines_wait_for_room_and_lines_beyond_the_buffer_are_counted(written: Written) -> None:
    written.fill()
    for number in range(30):
        written.lines.put(b"%d %s\n" % (number, b"a" * 1000))
    assert written.lines.has_pending
    assert written.lines.flush(0.0) == 30
    assert written.read() == b""
    written.lines.put(b"next\n")
    kept = written.read()
    assert kept.startswith(b"0 a")
    assert written.lost == [30 - kept.count(b"\n") + kept.count(b"next")]
    written.lines.put(b"after\n")
    assert written.read() == b"after\n"
    assert len(written.lost) == 1


def test_a_loop_writes_waiting_lines(written: Written) -> None:
    waiter = Poller()
    written.lines.use_watcher(waiter)
    written.fill()
    written.lines.put(b"one\n")
    written.lines.put(b"two\n")
    assert list(waiter.wait(0.0)) == []
    written.read()
    for react in waiter.wait(5.0):
        react()
    assert written.read() == b"one\ntwo\n"
    assert list(waiter.wait(0.0)) == []
    written.fill()
    written.lines.put(b"three\n")
    written.lines.stop_watching()
    written.read()
    assert list(waiter.wait(0.0)) == []


def test_a_child_does_not_write_its_parents_lines(written: Written) -> None:
    written.fill()
    written.lines.put(b"parent\n")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            written.read()
            written.lines.put(b"child\n")
            code = written.lines.flush(5.0)
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert written.read() == b"child\n"
    assert written.lines.flush(5.0) == 0
    assert written.read() == b"parent\n"


def test_a_child_with_another_file_leaves_waiting_lines_to_its_parent(written: Written) -> None:
    waiter = Poller()
    written.lines.use_watcher(waiter)
    written.fill()
    written.lines.put(b"parent\n")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            written.lines.stop_watching()
            written.read()
            written.lines.resume()
            code = written.lines.flush(5.0)
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert written.read() == b""
    for react in waiter.wait(5.0):
        react()
    assert written.read() == b"parent\n"


def test_a_thread_writes_waiting_lines_in_a_child(written: Written) -> None:
    written.fill()
    child = os.fork()
    if child == 0:
        try:
            written.lines.put(b"one\n")
            written.lines.put(b"two\n")
            threading.Event().wait()
        finally:
            os._exit(1)
    try:
        data = b""
        while b"two\n" not in data:
            data += os.read(written.reader, 65536)
        assert data.endswith(b"one\ntwo\n")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_permanent_thread_writes_all_in_order(written: Written) -> None:
    order: list[bytes] = []
    written.lines.use_thread()
    written.lines.put(b"one\n")
    written.lines.call_in_order(lambda: order.append(os.read(written.reader, 100)))
    written.lines.put(b"two\n")
    assert written.lines.flush(5.0) == 0
    assert order == [b"one\n"]
    assert written.read() == b"two\n"
    written.fill()
    written.lines.put(b"three\n")
    assert written.lines.flush(0.01) == 1
    data = written.read()
    assert written.lines.flush(5.0) == 0
    assert data + written.read() == b"three\n"


def test_lines_stay_whole_in_a_pipe_that_others_write_to(written: Written) -> None:
    batch = b"".join(b"%d %s\n" % (number, b"a" * 990) for number in range(9))
    pieces: list[bytes] = []
    write = written.sink.write
    written.sink.write = lambda data: (pieces.append(data), write(data))[1]  # type: ignore[method-assign]
    written.lines.put(batch)
    assert [len(piece) <= select.PIPE_BUF and piece.endswith(b"\n") for piece in pieces] == [
        True
    ] * 3
    assert written.read() == batch
    # One that is longer than PIPE_BUF goes alone, and what has no line end as it is.
    pieces.clear()
    written.lines.put(b"b" * 5000 + b"\nshort\n")
    written.lines.put(b"c" * 5000)
    assert [len(piece) for piece in pieces] == [5001, 6, 5000]


class Broken(NonblockingWriter):
    """A sink with prepared results: the number of bytes that it takes, or an error."""

    def __init__(self, *answers: int | OSError) -> None:
        super().__init__(2)
        self.answers = list(answers)
        self.taken = b""

    def write(self, data: bytes) -> int:
        answer = self.answers.pop(0) if self.answers else len(data)
        if isinstance(answer, OSError):
            raise answer
        self.taken += data[:answer]
        return answer


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def to(sink: NonblockingWriter) -> tuple[LineWriter, list[int], list[tuple[bytes, bool]]]:
    lost: list[int] = []
    errors: list[tuple[bytes, bool]] = []

    def error(_error: OSError, lines: bytes, first: bool) -> None:
        errors.append((lines, first))

    return LineWriter(sink, MOST, lost.append, error), lost, errors


def test_failed_lines_are_reported_and_counted_until_one_is_written() -> None:
    sink = Broken(NO_SPACE, NO_SPACE)
    lines, lost, errors = to(sink)
    lines.put(b"one\n")
    lines.put(b"two\n")
    assert errors == [(b"one\n", True), (b"two\n", False)]
    assert lost == []
    lines.put(b"three\n")
    assert (sink.taken, lost) == (b"three\n", [2])


def test_after_a_line_that_was_cut_off_the_next_begins_a_new_line() -> None:
    sink = Broken(2, NO_SPACE, NO_SPACE, 1)
    lines, lost, _errors = to(sink)
    lines.put(b"one\n")
    lines.put(b"two\n")
    lines.put(b"three\n")
    assert sink.taken == b"on\nthree\n"
    assert lost == [2]


def test_a_line_written_in_pieces_is_not_torn() -> None:
    sink = Broken(2, BlockingIOError(), 1, 1)
    lines, _lost, errors = to(sink)
    lines.put(b"one\n")
    lines.put(b"two\n")
    assert sink.taken == b"one\ntwo\n"
    assert errors == []


def test_the_report_of_lost_lines_may_be_a_line_itself() -> None:
    sink = Broken(NO_SPACE)
    lines = LineWriter(sink, MOST, lambda count: lines.put(b"%d lost\n" % count), lambda *_: None)
    lines.put(b"one\n")
    lines.put(b"two\n")
    assert sink.taken == b"two\n1 lost\n"


def test_a_signal_handler_leaves_its_line_to_the_write_that_it_interrupts() -> None:
    sink = Broken()
    lines, _lost, _errors = to(sink)
    write = sink.write

    def interrupted(data: bytes) -> int:
        sink.write = write  # type: ignore[method-assign]
        lines.put(b"handler\n")
        assert lines.flush(0.01) >= 1
        return write(data)

    sink.write = interrupted  # type: ignore[method-assign]
    lines.put(b"one\n")
    assert sink.taken == b"one\nhandler\n"
    assert not lines.has_pending


def test_waiting_lines_go_to_the_file_that_replaces_the_sinks(written: Written) -> None:
    waiter = Poller()
    written.lines.use_watcher(waiter)
    written.fill()
    written.lines.put(b"one\n")
    reader, writer = os.pipe()
    written.lines.stop_watching()
    os.dup2(writer, written.fd, inheritable=False)
    written.lines.resume()
    assert os.read(reader, 100) == b"one\n"
    assert not written.lines.has_pending
    for fd in (reader, writer):
        os.close(fd)
