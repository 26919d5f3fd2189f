"""What a worker tells about itself, from what its requests left behind."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.unix.scoreboard import Row, Scoreboard
from prefork.wire import histogram
from prefork.wire.row_values import RATE_TIME_CONSTANT
from prefork.worker.monitor.stats import MAX_SORTED, WorkerStats
from tests.fuzz.memory import MemoryServer


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False) as made:
        yield made


def told(row: Row) -> dict[str, object]:
    """As others read it."""
    return row.read()


def test_answers_are_counted_by_class_and_time(server: MemoryServer) -> None:
    row = Scoreboard().acquire_row(1)
    figures = WorkerStats(row, 1, 100.0)
    service = server.state
    service.response_times[200] += [0.001, 0.002]
    service.response_times[404].append(0.1)
    service.response_times[503].append(2.0)
    service.response_times[0].append(0.5)
    service.requests, service.body_bytes_sent = 5, 1234
    figures.publish(service, 100.25, 0.25)
    read = told(row)
    assert (read["answered_2xx"], read["answered_4xx"], read["answered_5xx"]) == (2, 1, 1)
    assert (read["unanswered"], read["requests"], read["sent"]) == (1, 5, 1234)
    assert read["took"] == pytest.approx(2.603)
    assert read["torn"] is False
    assert sum(row.read()["times"]) == 5
    assert not service.response_times, "they are told once"


def test_idleness_before_the_first_request_is_no_time_between_answers(
    server: MemoryServer,
) -> None:
    figures = WorkerStats(Scoreboard().acquire_row(1), 1, 100.0)
    service = server.state
    figures.publish(service, 100.25, 8.0)
    figures.resume_after_idle(106.0, 0.25)
    service.requests += 100
    service.response_times[200] += [0.001] * 100
    figures.publish(service, 106.25, 0.25)
    assert figures.answer_interval == pytest.approx(0.0025)
    figures.publish(service, 106.50, 8.0)
    figures.publish(service, 114.75, 0.25)
    assert figures.lateness == 0.0, "no request waited for the beat of an idle worker"
    figures.publish(service, 115.25, 0.25)
    assert figures.lateness == pytest.approx(0.25)


@given(st.integers(1, 4 * MAX_SORTED))
def test_none_is_lost_of_however_many(count: int) -> None:
    with MemoryServer(False) as server:
        row = Scoreboard().acquire_row(1)
        figures = WorkerStats(row, 1, 0.0)
        server.state.response_times[200] += [0.001] * (count // 2) + [1.0] * (count - count // 2)
        figures.publish(server.state, 0.25, 0.25)
        times = row.read()["times"]
        assert sum(times) == count
        assert all(part >= 0 for part in times)
        assert histogram.quantile(times, 1.0) == pytest.approx(1.0, rel=0.1)


def test_a_late_loop_was_busy_and_lags(server: MemoryServer) -> None:
    row = Scoreboard().acquire_row(1)
    figures = WorkerStats(row, 0, 100.0)
    figures.publish(server.state, 100.25, 0.25)
    figures.publish(server.state, 102.5, 0.25)
    read = told(row)
    assert read["lag"] == pytest.approx(2.0)
    assert read["busy"] == pytest.approx(2.0, abs=0.3)
    assert figures.busy_share == pytest.approx(2.0 / 2.25, abs=0.2)
    figures.publish(server.state, 102.75, 0.25)
    assert told(row)["lag"] == pytest.approx(2.0), "the worst of the last second"
    figures.publish(server.state, 104.0, 0.25)
    assert told(row)["lag"] == pytest.approx(1.0)


def test_calls_that_block_are_busy_time_of_who_has_one_at_a_time(server: MemoryServer) -> None:
    row = Scoreboard().acquire_row(1)
    figures = WorkerStats(row, 2, 100.0)
    server.state.response_times[200] += [0.1, 0.1, 0.1, 0.1]
    figures.publish(server.state, 100.25, 0.25)
    assert told(row)["busy"] == pytest.approx(0.2, abs=0.05)


def test_the_rate_follows_what_is_answered(server: MemoryServer) -> None:
    row = Scoreboard().acquire_row(1)
    now = 100.0
    figures = WorkerStats(row, 1, now)
    for _ in range(int(10 * RATE_TIME_CONSTANT)):
        now += 0.25
        server.state.requests += 50
        figures.publish(server.state, now, 0.25)
    assert told(row)["rate"] == pytest.approx(200, rel=0.1)


def test_who_waited_in_the_queue_is_asked_now_and_then() -> None:
    row = Scoreboard().acquire_row(1)
    figures = WorkerStats(row, 1, 0.0)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        for _ in range(3):
            figures.count_accepted(accepted.fileno())
    read = row.read()
    assert (read["accepted"], read["accept_asked"]) == (3, 1)
