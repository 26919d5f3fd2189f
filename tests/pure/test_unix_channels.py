"""What crosses between processes: pipes, the scoreboard, signals in the mailbox."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prefork.errors import MachineError
from prefork.unix.pipes import open_life_pipe, open_ready_pipe, read_available, write_all
from prefork.unix.scoreboard import DEADLINE, REQUESTS, WORKER, Scoreboard
from prefork.unix.signals import Mailbox
from prefork.unix.waiting import Waiter
from prefork.wire.scoreboard import ROWS
from tests.pure.children import born, no_descriptor_left


def test_reading_a_pipe_never_waits_and_tells_nothing_from_the_end() -> None:
    for pipe in (open_ready_pipe(), open_life_pipe()):
        assert read_available(pipe.reader) is None
        write_all(pipe.writer, b"word")
        assert read_available(pipe.reader) == b"word"
        os.close(pipe.writer)
        assert read_available(pipe.reader) == b""
        os.close(pipe.reader)


def test_no_program_inherits_our_pipes() -> None:
    pipe = open_ready_pipe()
    assert not os.get_inheritable(pipe.reader)
    assert not os.get_inheritable(pipe.writer)
    pipe.close()


def test_writing_to_nobody_is_no_error() -> None:
    pipe = open_ready_pipe()
    os.close(pipe.reader)
    write_all(pipe.writer, b"word")
    os.close(pipe.writer)


def test_a_pipe_that_cannot_be_opened_is_told() -> None:
    with no_descriptor_left(), pytest.raises(MachineError, match="Too many open files"):
        open_ready_pipe()


def test_what_a_child_writes_into_its_row_the_parent_reads() -> None:
    board = Scoreboard()
    other, row = board.take(8), board.take(9)

    def life() -> int:
        row.floats[DEADLINE] = 1.5
        row.counts[REQUESTS] = 3
        return 0

    born(life).reap()
    assert (row.counts[WORKER], row.floats[DEADLINE], row.counts[REQUESTS]) == (9, 1.5, 3)
    assert (other.counts[WORKER], other.floats[DEADLINE], other.counts[REQUESTS]) == (8, 0.0, 0)


def test_a_released_row_is_clean_and_comes_back() -> None:
    board = Scoreboard()
    rows = [board.take(number + 1) for number in range(ROWS)]
    assert len({row.number for row in rows}) == ROWS
    rows[5].counts[REQUESTS] = 7
    board.release(rows[5])
    again = board.take(99)
    assert again.number == rows[5].number
    assert (again.counts[WORKER], again.counts[REQUESTS]) == (99, 0)


@contextmanager
def mailbox(*wanted: signal.Signals) -> Iterator[Mailbox]:
    """A mailbox; the handlers that were there before come back."""
    before = {signum: signal.getsignal(signum) for signum in wanted}
    box = Mailbox(wanted)
    try:
        yield box
    finally:
        signal.set_wakeup_fd(-1)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        box.close_copy()


def test_signals_are_collected_in_their_order_and_none_is_merged() -> None:
    with mailbox(signal.SIGUSR1, signal.SIGUSR2) as box:
        assert box.collect() == []
        sent = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2, signal.SIGUSR1]
        for signum in sent:
            signal.raise_signal(signum)
        assert box.collect() == sent
        assert box.collect() == []


def test_post_wakes_whoever_waits_for_it() -> None:
    with mailbox(signal.SIGUSR1) as box:
        waiter = Waiter()
        waiter.watch(box.fd, box.collect)
        assert list(waiter.wait(0)) == []
        signal.raise_signal(signal.SIGUSR1)
        (react,) = waiter.wait(20)
        assert react() == [signal.SIGUSR1]
        assert list(waiter.wait(0)) == []
        waiter.close_copy()


def test_a_flood_of_signals_that_fills_the_pipe_loses_none() -> None:
    with mailbox(signal.SIGUSR1) as box:
        for _ in range(70_000):
            signal.raise_signal(signal.SIGUSR1)
        assert len(box.collect()) == 70_000
        assert read_available(box.fd) is None
