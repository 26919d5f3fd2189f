"""Pipes between processes, and the queue of signals."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prefork.errors import MachineError
from prefork.unix.pipes import (
    has_data,
    open_life_pipe,
    open_ready_pipe,
    read_available,
    write_all,
)
from prefork.unix.poller import Poller
from prefork.unix.signals import SignalQueue
from tests.pure.children import no_free_descriptors


def test_read_available_never_waits_and_tells_an_empty_pipe_from_its_end() -> None:
    for pipe in (open_ready_pipe(), open_life_pipe()):
        assert read_available(pipe.reader) is None
        write_all(pipe.writer, b"word")
        assert read_available(pipe.reader) == b"word"
        os.close(pipe.writer)
        assert read_available(pipe.reader) == b""
        os.close(pipe.reader)


def test_pipes_are_not_inherited_by_programs() -> None:
    pipe = open_ready_pipe()
    assert not os.get_inheritable(pipe.reader)
    assert not os.get_inheritable(pipe.writer)
    pipe.close()


def test_writing_to_a_pipe_without_a_reader_is_no_error() -> None:
    pipe = open_ready_pipe()
    os.close(pipe.reader)
    write_all(pipe.writer, b"word")
    os.close(pipe.writer)


def test_a_pipe_that_cannot_be_opened_is_a_machine_error() -> None:
    with no_free_descriptors(), pytest.raises(MachineError, match="Too many open files"):
        open_ready_pipe()


@contextmanager
def signal_queue(*wanted: signal.Signals) -> Iterator[SignalQueue]:
    """Yield a signal queue; restore the previous handlers afterwards."""
    before = {signum: signal.getsignal(signum) for signum in wanted}
    queue = SignalQueue(wanted)
    try:
        yield queue
    finally:
        signal.set_wakeup_fd(-1)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        queue.close_copy()


def test_signals_are_collected_in_their_order_and_none_is_merged() -> None:
    with signal_queue(signal.SIGUSR1, signal.SIGUSR2) as queue:
        assert queue.collect() == []
        sent = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2, signal.SIGUSR1]
        for signum in sent:
            signal.raise_signal(signum)
        assert queue.collect() == sent
        assert queue.collect() == []


def test_a_handler_that_runs_after_its_byte_was_read_wakes_the_loop_again() -> None:
    with signal_queue(signal.SIGUSR1) as queue:
        handler = signal.getsignal(signal.SIGUSR1)
        assert callable(handler)
        assert queue.collect() == [], "the interpreter's byte is read, and the handler has not run"
        handler(signal.SIGUSR1, None)
        assert has_data(queue.fd)
        assert queue.collect() == [signal.SIGUSR1]
        assert not has_data(queue.fd)


def test_a_signal_wakes_a_poller_that_waits_for_it() -> None:
    with signal_queue(signal.SIGUSR1) as queue:
        poller = Poller()
        poller.add_reader(queue.fd, queue.collect)
        assert list(poller.wait(0)) == []
        signal.raise_signal(signal.SIGUSR1)
        (callback,) = poller.wait(20)
        assert callback() == [signal.SIGUSR1]
        assert list(poller.wait(0)) == []
        poller.close_copy()


def test_a_flood_of_signals_that_fills_the_pipe_loses_none() -> None:
    with signal_queue(signal.SIGUSR1) as queue:
        for _ in range(70_000):
            signal.raise_signal(signal.SIGUSR1)
        assert len(queue.collect()) == 70_000
        assert read_available(queue.fd) is None
