"""The reports of programs: read together by a timer while they come, and by epoll when not."""

import array
import os
import socket
from collections.abc import Iterator

import pytest

from prefork.master.figures_reader import INTERVAL, QUIET_READS, FiguresReader, FiguresSource
from prefork.master.figures_writer import FiguresWriter
from prefork.unix.notify import NotifySocket
from prefork.unix.poller import Poller
from prefork.unix.scoreboard import Row, Scoreboard
from prefork.wire.row_values import worker_values

BOARD = Scoreboard()


class Reports:
    """Programs that report to one reader, and a loop that waits as the master does."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.reader = FiguresReader(self.poller)
        self.rows: dict[int, Row] = {}
        self.complaints: list[str] = []
        self._clients: dict[int, socket.socket] = {}

    def add(self, worker: int, is_sender: bool = True) -> None:
        self.rows[worker] = BOARD.acquire_row(worker)
        notify = NotifySocket()
        source = FiguresSource(
            notify, FiguresWriter(self.rows[worker]), lambda _: is_sender, self.complaints.append
        )
        self.reader.add(worker, source)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        client.connect("\0" + notify.address[1:])
        self._clients[worker] = client

    def report(self, worker: int, requests: int) -> None:
        self._clients[worker].send(f"X_PREFORK_REQUESTS={requests}".encode())

    def send_descriptor(self, worker: int) -> None:
        fds = array.array("i", [0])
        self._clients[worker].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

    def is_woken(self) -> bool:
        """Call what is ready now, and return whether anything was."""
        found = list(self.poller.wait(0.0))
        for react in found:
            react()
        return bool(found)

    def requests(self, worker: int) -> int | None:
        found: int | None = worker_values(self.rows[worker].read(), 0.0)["requests"]
        return found

    def close(self) -> None:
        for worker in list(self._clients):
            self.reader.remove(worker)
            self._clients.pop(worker).close()
        self.poller.close_copy()


@pytest.fixture
def reports() -> Iterator[Reports]:
    made = Reports()
    try:
        yield made
    finally:
        made.close()


def test_the_first_report_wakes_and_the_next_ones_wait_for_the_timer(reports: Reports) -> None:
    for worker in (1, 2):
        reports.add(worker)
    assert reports.reader.next_deadline() is None
    assert not reports.is_woken()
    for worker in (1, 2):
        reports.report(worker, 10 * worker)
    assert reports.is_woken()
    due = reports.reader.next_deadline()
    assert due is not None
    reports.reader.run_due(due)
    assert (reports.requests(1), reports.requests(2)) == (10, 20)
    reports.report(1, 11)
    assert not reports.is_woken()
    reports.reader.run_due(due + INTERVAL / 2)
    assert reports.requests(1) == 10
    assert reports.reader.next_deadline() == due + INTERVAL
    reports.reader.run_due(due + INTERVAL)
    assert reports.requests(1) == 11


def test_without_reports_the_timer_ends_and_epoll_wakes_again(reports: Reports) -> None:
    reports.add(1)
    reports.report(1, 1)
    assert reports.is_woken()
    now = reports.reader.next_deadline()
    reads = 0
    while now is not None:
        reports.reader.run_due(now)
        reads, now = reads + 1, reports.reader.next_deadline()
    assert reads == 1 + QUIET_READS
    reports.add(2)
    reports.report(2, 5)
    assert reports.is_woken()
    assert reports.reader.read_all()
    assert reports.requests(2) == 5
    assert not reports.reader.read_all()


def test_a_program_that_ended_is_not_read_any_more(reports: Reports) -> None:
    reports.add(1)
    reports.reader.remove(1)
    reports.reader.remove(1)
    assert reports.reader.get(1) is None
    reports.add(2)
    reports.report(2, 1)
    assert reports.is_woken()
    reports.reader.remove(2)  # while the timer runs
    assert not reports.reader.read_all()


def test_reports_of_strangers_do_not_count(reports: Reports) -> None:
    reports.add(1, is_sender=False)
    reports.report(1, 1)
    assert reports.reader.read_all()
    assert reports.requests(1) is None


def test_a_message_with_descriptors_is_discarded_and_the_next_one_is_read(reports: Reports) -> None:
    reports.add(1)
    reports.send_descriptor(1)
    assert reports.reader.read_all()
    assert reports.reader.read_all()  # a child discards it meanwhile
    while (source := reports.reader.get(1)) is not None and source.socket.is_paused:
        for react in reports.poller.wait(1.0):
            react()
    reports.report(1, 7)
    reports.reader.read_all()
    assert reports.requests(1) == 7


def test_a_malformed_report_is_a_complaint(reports: Reports) -> None:
    reports.add(1)
    reports.report(1, -1)
    reports.reader.read_all()
    assert reports.complaints == [
        f"its process {os.getpid()} reports a malformed X_PREFORK_REQUESTS"
    ]
