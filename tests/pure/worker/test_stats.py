"""The statistics of a worker, made of the times that its requests left behind."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.unix.scoreboard import Row, Scoreboard
from prefork.wire import histogram
from prefork.wire.row_formulas import RATE_TIME_CONSTANT
from prefork.worker.monitor.stats import MAX_COUNTED, WorkerStats
from tests.fuzz.memory import MemoryServer


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer(False) as made:
        yield made


def read_row(row: Row) -> dict[str, object]:
    """Return the row as other processes read it."""
    return row.read()


def test_answers_are_counted_by_class_and_time(server: MemoryServer) -> None:
    row = Scoreboard().acquire_row(1)
    stats = WorkerStats(row, 1, 100.0)
    service = server.state
    service.counters.response_times[200] += [0.001, 0.002]
    service.counters.response_times[404].append(0.1)
    service.counters.response_times[503].append(2.0)
    service.counters.response_times[0].append(0.5)
    service.counters.requests, service.counters.body_bytes_sent = 5, 1234
    stats.publish(service, 100.25, 0.25)
    read = read_row(row)
    assert (read["answered_2xx"], read["answered_4xx"], read["answered_5xx"]) == (2, 1, 1)
    assert (read["unanswered"], read["requests"], read["sent"]) == (1, 5, 1234)
    assert read["took"] == pytest.approx(2.603)
    assert read["torn"] is False
    assert sum(row.read()["times"]) == 5
    assert not service.counters.response_times, "they are counted once"


def test_idleness_before_the_first_request_is_no_time_between_answers(
    server: MemoryServer,
) -> None:
    stats = WorkerStats(Scoreboard().acquire_row(1), 1, 100.0)
    service = server.state
    stats.publish(service, 100.25, 8.0)
    stats.resume_after_idle(106.0, 0.25)
    service.counters.requests += 100
    service.counters.response_times[200] += [0.001] * 100
    stats.publish(service, 106.25, 0.25)
    assert stats.answer_interval == pytest.approx(0.0025)
    stats.publish(service, 106.50, 8.0)
    stats.publish(service, 114.75, 0.25)
    assert stats.lateness == 0.0, "no request waited for the heartbeat of an idle worker"
    stats.publish(service, 115.25, 0.25)
    assert stats.lateness == pytest.approx(0.25)


@given(st.integers(1, 4 * MAX_COUNTED))
def test_all_requests_are_counted_however_many_there_are(count: int) -> None:
    with MemoryServer(False) as server:
        row = Scoreboard().acquire_row(1)
        stats = WorkerStats(row, 1, 0.0)
        durations = server.state.counters.response_times
        durations[200] += [0.001] * (count // 2) + [1.0] * (count - count // 2)
        stats.publish(server.state, 0.25, 0.25)
        times = row.read()["times"]
        assert sum(times) == count
        assert all(part >= 0 for part in times)
        assert histogram.quantile(times, 1.0) == pytest.approx(1.0, rel=0.1)


def test_a_late_loop_was_busy_and_lags(server: MemoryServer) -> None:
    row = Scoreboard().acquire_row(1)
    stats = WorkerStats(row, 0, 100.0)
    stats.publish(server.state, 100.25, 0.25)
    stats.publish(server.state, 102.5, 0.25)
    read = read_row(row)
    assert read["lag"] == pytest.approx(2.0)
    assert read["busy"] == pytest.approx(2.0, abs=0.3)
    assert stats.busy_share == pytest.approx(2.0 / 2.25, abs=0.2)
    stats.publish(server.state, 102.75, 0.25)
    assert read_row(row)["lag"] == pytest.approx(2.0), "the worst of the last second"
    stats.publish(server.state, 104.0, 0.25)
    assert read_row(row)["lag"] == pytest.approx(1.0)


def test_calls_that_block_count_as_busy_time(server: MemoryServer) -> None:
    row = Scoreboard().acquire_row(1)
    stats = WorkerStats(row, 2, 100.0)
    server.state.counters.response_times[200] += [0.1, 0.1, 0.1, 0.1]
    stats.publish(server.state, 100.25, 0.25)
    assert read_row(row)["busy"] == pytest.approx(0.2, abs=0.05)


def test_the_rate_follows_the_answered_requests(server: MemoryServer) -> None:
    row = Scoreboard().acquire_row(1)
    now = 100.0
    stats = WorkerStats(row, 1, now)
    for _ in range(int(10 * RATE_TIME_CONSTANT)):
        now += 0.25
        server.state.counters.requests += 50
        stats.publish(server.state, now, 0.25)
    assert read_row(row)["rate"] == pytest.approx(200, rel=0.1)


def test_the_time_in_the_queue_is_asked_for_now_and_then() -> None:
    row = Scoreboard().acquire_row(1)
    stats = WorkerStats(row, 1, 0.0)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        for _ in range(3):
            stats.count_accepted(accepted.fileno())
    read = row.read()
    assert (read["accepted"], read["accept_asked"]) == (3, 1)
