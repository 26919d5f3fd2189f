"""What a program writes on stderr: passed on, and never the master's end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.master.stderr_relay import StderrRelay
from prefork.observe.logger import Log
from prefork.unix.pipes import Pipe, open_output_pipe
from prefork.unix.poller import Poller


class Program:
    """The writing end of a stderr, and what is told of the reading end."""

    def __init__(self, log: Path, outlet: int | None) -> None:
        self.failures: list[str] = []
        self.log = log
        self._waiter = Poller()
        self._pipe: Pipe = open_output_pipe()
        self.words = StderrRelay(
            self._pipe, self._waiter, Log("info", str(log)), outlet, self.failures.append
        )

    def write(self, text: str) -> None:
        os.write(self._pipe.writer, text.encode())

    def react(self, patience: float) -> int:
        """How many callbacks the loop of the master called."""
        reacts = list(self._waiter.wait(patience))
        for react in reacts:
            react()
        return len(reacts)

    def close(self) -> None:
        self.words.close()
        self._pipe.close_writer()


@pytest.fixture
def no_pipe(tmp_path: Path) -> Iterator[Program]:
    """Its outlet is no pipe, so that tee(2) fails."""
    outlet = os.open(tmp_path / "outlet", os.O_CREAT | os.O_WRONLY)
    program = Program(tmp_path / "log", outlet)
    yield program
    program.close()


def test_a_failure_is_reported_once_and_ends_the_relay(no_pipe: Program) -> None:
    no_pipe.write("one\n")
    assert no_pipe.react(60.0) == 1
    assert no_pipe.failures == ["OSError: [Errno 22] Invalid argument"]
    no_pipe.write("two\n")
    assert no_pipe.react(0.0) == 0
    assert no_pipe.words.read_tail() == ""
    assert len(no_pipe.failures) == 1


def test_a_failure_at_the_last_read_is_reported(no_pipe: Program) -> None:
    no_pipe.write("one\n")
    assert no_pipe.words.read_tail() == ""
    assert len(no_pipe.failures) == 1


def test_without_a_log_writer_all_output_goes_to_the_log(tmp_path: Path) -> None:
    program = Program(tmp_path / "log", None)
    try:
        program.write("one\n")
        assert program.react(60.0) == 1
        assert program.log.read_text() == "one\n"
        assert program.words.read_tail() == "  one"
        assert program.failures == []
    finally:
        program.close()
