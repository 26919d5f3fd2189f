"""The relay of a program's stderr: it passes all on, and no failure of it ends the master."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.master.stderr_relay import StderrRelay
from prefork.observe.logger import Log
from prefork.unix.pipes import Pipe, open_output_pipe
from prefork.unix.poller import Poller


class Program:
    """The writing end of a stderr, and the failures that the relay reports."""

    def __init__(self, log: Path, log_writer_pipe: int | None) -> None:
        self.failures: list[str] = []
        self.log = log
        self._waiter = Poller()
        self._pipe: Pipe = open_output_pipe()
        self.relay = StderrRelay(
            self._pipe, self._waiter, Log("info", str(log)), log_writer_pipe, self.failures.append
        )

    def write(self, text: str) -> None:
        os.write(self._pipe.writer, text.encode())

    def react(self, patience: float) -> int:
        """Run one turn of the loop; return the number of callbacks."""
        reacts = list(self._waiter.wait(patience))
        for react in reacts:
            react()
        return len(reacts)

    def close(self) -> None:
        self.relay.close()
        self._pipe.close_writer()


@pytest.fixture
def no_pipe(tmp_path: Path) -> Iterator[Program]:
    """The target of its relay is no pipe, so that tee(2) fails."""
    log_writer_pipe = os.open(tmp_path / "log_writer_pipe", os.O_CREAT | os.O_WRONLY)
    program = Program(tmp_path / "log", log_writer_pipe)
    yield program
    program.close()


def test_a_failure_is_reported_once_and_ends_the_relay(no_pipe: Program) -> None:
    no_pipe.write("one\n")
    assert no_pipe.react(60.0) == 1
    assert no_pipe.failures == ["OSError: [Errno 22] Invalid argument"]
    no_pipe.write("two\n")
    assert no_pipe.react(0.0) == 0
    no_pipe.relay.read_last()
    assert no_pipe.relay.excerpt.text() == ""
    assert len(no_pipe.failures) == 1


def test_a_failure_at_the_last_read_is_reported(no_pipe: Program) -> None:
    no_pipe.write("one\n")
    no_pipe.relay.read_last()
    assert no_pipe.relay.excerpt.text() == ""
    assert len(no_pipe.failures) == 1


def test_without_a_log_writer_all_output_goes_to_the_log(tmp_path: Path) -> None:
    program = Program(tmp_path / "log", None)
    try:
        program.write("one\n")
        assert program.react(60.0) == 1
        assert program.log.read_text() == "one\n"
        program.relay.read_last()
        assert program.relay.excerpt.text() == "  one"
        assert program.failures == []
    finally:
        program.close()
