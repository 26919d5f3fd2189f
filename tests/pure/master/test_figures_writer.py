"""The figures that a program reports, in its row of the scoreboard."""

import os
import subprocess
import sys

import pytest

from prefork.master.figures_writer import FiguresWriter
from prefork.unix.scoreboard import Row, Scoreboard
from prefork.wire.figure_totals import MAX_SENDERS
from prefork.wire.figures_message import ReportedFigures
from prefork.wire.histogram import quantile
from prefork.wire.row_values import worker_values

BOARD = Scoreboard()


@pytest.fixture
def row() -> Row:
    return BOARD.acquire_row(1)


def test_nothing_is_known_of_a_program_that_reports_nothing(row: Row) -> None:
    FiguresWriter(row)
    assert set(worker_values(row.read(), 100.0).values()) == {None}


def test_values_are_made_of_what_was_reported(row: Row) -> None:
    writer = FiguresWriter(row)
    fields = {"requests": 10, "in_flight": 2, "oldest": 1.5, "took": 0.25, "answered_2xx": 9}
    assert writer.add(os.getpid(), ReportedFigures(0, fields, {90: 9, 120: 1}), 100.0) == ""
    found, values = row.read(), worker_values(row.read(), 100.0)
    assert (found["took"], found["times"][90], found["sequence"] % 2) == (0.25, 9, 0)
    known = {key: value for key, value in values.items() if value is not None}
    assert known == {
        "requests": 10,
        "in_flight": 2,
        "oldest": 1.5,
        "rate": 0.0,
        "answered": {"1xx": 0, "2xx": 9, "3xx": 0, "4xx": 0, "5xx": 0},
        **{f"p{share}": quantile(found["times"], share / 100) for share in (50, 99)},
    }
    writer.add(os.getpid(), ReportedFigures(0, {"in_flight": 0, "oldest": 0.0}), 101.0)
    values = worker_values(row.read(), 101.0)
    assert (values["in_flight"], values["oldest"], values["requests"]) == (0, 0.0, 10)


def test_the_rate_is_that_of_the_last_seconds_and_ends_with_the_reports(row: Row) -> None:
    writer = FiguresWriter(row)
    for second in range(61):
        writer.add(os.getpid(), ReportedFigures(0, {"requests": 50 * second}), 100.0 + second)
    assert worker_values(row.read(), 160.2)["rate"] == pytest.approx(50.0, rel=0.01)
    writer.add(os.getpid(), ReportedFigures(0, {"requests": 3000}), 160.0)  # at the same moment
    assert worker_values(row.read(), 160.2)["rate"] == pytest.approx(50.0, rel=0.01)
    assert worker_values(row.read(), 170.0)["rate"] == 0.0


def test_what_was_in_flight_in_a_process_that_ended_is_not_any_more(row: Row) -> None:
    writer = FiguresWriter(row)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        writer.add(process.pid, ReportedFigures(0, {"requests": 5, "in_flight": 3}), 100.0)
    writer.add(os.getpid(), ReportedFigures(0, {"requests": 1, "in_flight": 1}), 106.0)
    values = worker_values(row.read(), 106.0)
    assert (values["requests"], values["in_flight"]) == (6, 1)


def test_each_kind_of_complaint_is_made_once(row: Row) -> None:
    writer = FiguresWriter(row)
    wrong = ReportedFigures(0, {"in_flight": 1}, {}, ("X_PREFORK_REQUESTS",))
    complaint = writer.add(os.getpid(), wrong, 100.0)
    assert complaint == f"its process {os.getpid()} reports a malformed X_PREFORK_REQUESTS"
    assert writer.add(os.getpid(), wrong, 100.0) == ""
    for thread in range(1, MAX_SENDERS):
        assert writer.add(os.getpid(), ReportedFigures(thread, {"requests": 1}), 100.0) == ""
    more = ReportedFigures(MAX_SENDERS, {"requests": 1})
    assert writer.add(os.getpid(), more, 100.0) == (
        f"more than {MAX_SENDERS} of its processes and threads report figures; those of the "
        "others are not counted"
    )
    assert writer.add(os.getpid(), more, 100.0) == ""
    assert worker_values(row.read(), 100.0)["requests"] == MAX_SENDERS - 1
