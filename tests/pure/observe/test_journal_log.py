"""The log in the journal, with a socket in the place of journald's."""

import array
import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefork.observe.journal_log import JournalLog, PrefixFormatter, prefix_error, priority_of
from prefork.unix.journal import JournalSocket, is_journal_stream
from prefork.wire.journal_entry import decode_entry


class Journald:
    """A datagram socket that journald would read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(10)

    def receive(self) -> tuple[dict[str, str], int | None]:
        """Return the fields of the next entry, and the seals of its memfd if it had one."""
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if not ancillary:
            return decode_entry(data), None
        assert data == b""
        (fd,) = array.array("i", ancillary[0][2])
        with open(fd, "rb") as file:
            seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
            return decode_entry(os.pread(fd, 1 << 24, 0)), seals


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "journal")
    yield made
    made.socket.close()


class Setup:
    """A logger that writes to the journal; ``lines``: what it wrote to the stream instead."""

    def __init__(self, journald: Journald) -> None:
        self.lines: list[bytes] = []
        self.lost: list[int] = []
        self.socket = JournalSocket(str(journald.path))
        self.log = JournalLog(self.socket, 1 << 20, self.lost.append, self.lines.append)
        self.logger = logging.Logger("test")
        handler = logging.Handler()
        handler.emit = self.log.put  # type: ignore[method-assign]
        self.logger.addHandler(handler)


@pytest.fixture
def setup(journald: Journald) -> Iterator[Setup]:
    made = Setup(journald)
    yield made
    made.socket.close()


def test_a_record_has_priority_and_fields(journald: Journald, setup: Setup) -> None:
    setup.log.fields = {"PREFORK_APP": "web", "PREFORK_SLOT": "1"}
    setup.logger.warning("worker %d is slow", 3, extra={"slot": 3, "generation": 2})
    assert journald.receive() == (
        {
            "MESSAGE": "worker 3 is slow",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "prefork",
            "PREFORK_APP": "web",
            "PREFORK_SLOT": "3",
            "PREFORK_GENERATION": "2",
        },
        None,
    )


def test_a_traceback_is_in_the_entry_of_its_record(journald: Journald, setup: Setup) -> None:
    try:
        raise LookupError("no such luck\x1b[2J")
    except LookupError:
        setup.logger.exception("it failed")
    fields, _ = journald.receive()
    assert fields["MESSAGE"].startswith("it failed\nTraceback (most recent call last):\n")
    assert fields["MESSAGE"].endswith("LookupError: no such luck\\x1b[2J")
    assert fields["PRIORITY"] == "3"


def test_a_large_record_travels_in_a_sealed_memfd(journald: Journald, setup: Setup) -> None:
    text = "x" * 500_000
    setup.logger.info("%s", text)
    fields, seals = journald.receive()
    assert fields["MESSAGE"] == text
    all_seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    assert seals is not None
    assert seals & all_seals == all_seals


def test_records_wait_while_journald_has_no_room(journald: Journald, setup: Setup) -> None:
    count = 0
    while not setup.log.writer.has_pending:
        setup.logger.info("record %d", count)
        count += 1
    for number in range(count):
        assert journald.receive()[0]["MESSAGE"] == f"record {number}"
        setup.log.writer.resume()
    assert not setup.lost


def test_dropped_records_are_counted_each_once(journald: Journald) -> None:
    lost: list[int] = []
    connection = JournalSocket(str(journald.path))
    log = JournalLog(connection, 2000, lost.append, lambda _line: None)
    record = logging.makeLogRecord({"msg": "two\nlines", "levelno": logging.INFO})
    put = 0
    while not log.writer.has_pending:
        log.put(record)
        put += 1
    for _ in range(100):
        log.put(record)
        put += 1
    received = 0
    while log.writer.has_pending:
        journald.receive()
        received += 1
        log.writer.resume()
    journald.socket.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while journald.receive():
            received += 1
    assert lost == [put - received], "an entry of several lines is one record"
    connection.close()


def test_without_journald_the_record_goes_to_the_stream(journald: Journald, setup: Setup) -> None:
    journald.socket.close()
    journald.path.unlink()
    setup.logger.error("no\nluck")
    assert setup.lines == [b"<3>no\n<3>luck\n"]


def test_a_new_socket_of_journald_is_connected_to(journald: Journald, setup: Setup) -> None:
    journald.socket.close()
    journald.path.unlink()
    replaced = Journald(journald.path)
    setup.logger.info("again")
    assert replaced.receive()[0]["MESSAGE"] == "again"
    assert not setup.lines
    replaced.socket.close()


def test_each_line_on_a_stream_has_its_priority() -> None:
    record = logging.makeLogRecord({"msg": "a\nb\x1b", "levelno": logging.WARNING})
    assert PrefixFormatter().format(record) == "<4>a\n<4>b\\x1b"
    assert prefix_error("no\nluck") == "<3>no\n<3>luck"


@pytest.mark.parametrize(
    ("level", "priority"),
    [("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2)],
)
def test_levels_have_the_priorities_of_syslog(level: str, priority: int) -> None:
    assert priority_of(getattr(logging, level)) == priority


def test_only_the_stream_that_systemd_named_is_the_journal(tmp_path: Path) -> None:
    with open(tmp_path / "a", "w") as one, open(tmp_path / "b", "w") as other:
        status = os.fstat(one.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal_stream(environ, one.fileno())
        assert not is_journal_stream(environ, other.fileno())
        assert not is_journal_stream({}, one.fileno())
        closed = one.fileno()
    assert not is_journal_stream(environ, closed)


def test_no_journal_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JournalSocket(str(tmp_path / "none"))
