"""The load figures that the autoscaler computes from the rows of the workers."""

from typing import Any

import pytest

from prefork.http.tick import TICK_PERIOD
from prefork.master.autoscale_readings import WorkerLoadSampler


def row(beat: float, busy: float, **more: float) -> dict[str, Any]:
    values = {"beat": beat, "due": beat + TICK_PERIOD, "busy": busy, "lag": 0.0}
    values |= {"accept_wait": 0.0, "accept_asked": 0}
    return {**values, **more}


def test_shares_are_of_the_time_since_the_last_sample() -> None:
    sampler = WorkerLoadSampler()
    sampler.sample({1: row(10.0, 5.0), 2: row(10.0, 1.0)}, 10.0)
    busy, _, _ = sampler.sample({1: row(12.0, 7.0), 2: row(12.0, 2.0)}, 12.0)
    assert busy == pytest.approx(0.75)


def test_a_blocked_worker_is_busy_since_its_tick_was_due_and_is_counted_once() -> None:
    sampler = WorkerLoadSampler()
    sampler.sample({1: row(10.0, 5.0)}, 10.0)
    busy, lag, _ = sampler.sample({1: row(10.0, 5.0)}, 12.0)
    assert busy == pytest.approx((2.0 - TICK_PERIOD) / 2.0)
    assert lag == pytest.approx(2.0 - TICK_PERIOD)
    # Its tick came, and the row tells how late it was.
    busy, lag, _ = sampler.sample(
        {1: row(14.0, 5.0 + 4.0 - TICK_PERIOD, lag=4.0 - TICK_PERIOD)}, 14.0
    )
    assert busy == pytest.approx(1.0)
    assert lag == pytest.approx(4.0 - TICK_PERIOD)


def test_a_new_worker_counts_from_its_second_sample_on() -> None:
    sampler = WorkerLoadSampler()
    sampler.sample({1: row(10.0, 5.0)}, 10.0)
    busy, _, _ = sampler.sample({1: row(11.0, 6.0), 2: row(11.0, 0.0)}, 11.0)
    assert busy == pytest.approx(1.0)
    busy, _, _ = sampler.sample({1: row(12.0, 7.0), 2: row(12.0, 0.0)}, 12.0)
    assert busy == pytest.approx(0.5)


def test_the_wait_is_that_of_the_connections_since_the_last_sample() -> None:
    sampler = WorkerLoadSampler()
    sampler.sample({1: row(10.0, 5.0, accept_wait=100.0, accept_asked=10)}, 10.0)
    assert sampler.sample({1: row(11.0, 5.0, accept_wait=100.0, accept_asked=10)}, 11.0)[2] == 0.0
    _, _, wait = sampler.sample({1: row(12.0, 5.0, accept_wait=102.0, accept_asked=14)}, 12.0)
    assert wait == pytest.approx(0.5)


def test_a_worker_that_counts_no_busy_time_is_not_taken_for_idle() -> None:
    sampler = WorkerLoadSampler()
    assert sampler.sample({}, 9.0) == (None, 0.0, 0.0)
    sampler.sample({1: row(10.0, 0.0)}, 10.0)
    assert sampler.sample({1: row(11.0, 0.0)}, 11.0)[0] is None


def test_an_idle_worker_that_beats_rarely_is_not_taken_for_blocked() -> None:
    sampler = WorkerLoadSampler()
    sampler.sample({1: row(10.0, 5.0, due=18.0)}, 10.0)
    busy, lag, _ = sampler.sample({1: row(10.0, 5.0, due=18.0)}, 14.0)
    assert (busy, lag) == (0.0, 0.0)
    busy, lag, _ = sampler.sample({1: row(10.0, 5.0, due=18.0)}, 20.0)
    assert (busy, lag) == (pytest.approx(2.0 / 6.0), 2.0)
