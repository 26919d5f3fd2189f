"""The foreground process exits as the daemon reports."""

import os

import pytest

from prefork.unix.daemon import ForegroundProcess, _exit_as_reported
from prefork.wire.start_report import VERSION
from tests.pure.children import fork_child


def exit_code_after(report: bytes) -> int:
    """Return the exit code of a foreground process that reads ``report``."""
    reader, writer = os.pipe()
    os.write(writer, report)
    os.close(writer)
    child = fork_child(lambda: _exit_as_reported(reader))
    os.close(reader)
    assert child.wait_for_exit(30)
    return child.reap().code


@pytest.mark.parametrize("code", [0, 1, 101, 255])
def test_the_foreground_process_exits_with_the_reported_code(code: int) -> None:
    reader, writer = os.pipe()
    ForegroundProcess(writer).report_exit_code(code)
    report = os.read(reader, 4096)
    os.close(reader)
    assert exit_code_after(report) == code


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (b"", "the daemon died before it was ready"),
        (b'{"v": %d, "exit_code": 0}\n' % (VERSION + 1), f"version {VERSION + 1} of its format"),
        (b"\0", "`prefork list` tells whether the app runs"),
    ],
)
def test_without_a_report_that_it_understands_it_fails_and_says_so(
    report: bytes, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_after(report) == 111
    assert said in capfd.readouterr().err
