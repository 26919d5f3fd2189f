"""The scaler, one property at a time, and properties that hold for all readings."""

import copy
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from prefork.pool.scaling import (
    BACKOFF_DECAY_AFTER,
    MAX_BACKOFF,
    Bounds,
    Decision,
    Reading,
    Scaler,
    Veto,
)

MB = 2**20


class Days:
    """A scaler and its clock; a tick is a second."""

    def __init__(self, least: int = 1, most: int = 8, calm: float = 10.0) -> None:
        self.scaler = Scaler(Bounds(least, most, calm))
        self.now = 100.0
        self.target = least

    def tick(self, seconds: int = 1, **read: Any) -> Decision:
        """Pass this reading for so many ticks; return the last decision. Workers boot in no
        time."""
        for _ in range(seconds):
            self.now += 1
            reading = Reading(**{"target": self.target, "ready": self.target, **read})
            decision = self.scaler.decide(reading, self.now)
            self.target = decision.target
        return decision


# Up.


def test_a_long_queue_is_answered_at_once() -> None:
    days = Days()
    assert days.tick(queue=14) == Decision(2, "14 connections wait")


def test_a_short_queue_has_to_last() -> None:
    assert Days().tick(queue=8).target == 1
    days = Days()
    assert days.tick(queue=2).target == 1
    assert days.tick(queue=2).target == 2
    assert days.tick(queue=2).target == 2, "there is one for each"


def test_evidence_that_went_away_counts_no_more() -> None:
    days = Days()
    days.tick(queue=2)
    days.tick()
    assert days.tick(queue=2).target == 1


def test_busy_workers_are_evidence_for_more() -> None:
    days = Days()
    assert days.tick(2, busy=0.79).target == 1
    assert days.tick(2, busy=0.8) == Decision(2, "workers are busy 80% of the time")


def test_cpu_time_counts_where_the_busy_share_is_unknown() -> None:
    """A program counts no busy time, but its CPU time is known; no other process is busy here."""
    days = Days()
    assert days.tick(2, busy=None, running=0.95, cpu=0.25, cores=4).target == 2


def test_requests_that_wait_are_evidence_unless_there_is_time_to_spare() -> None:
    """One slow request blocks its event loop as well, and another worker would not have helped."""
    assert Days().tick(3, lag=3.0, busy=0.6).target == 1
    assert Days().tick(1, lag=3.0, busy=0.7) == Decision(2, "requests wait 3.0 s")
    assert Days().tick(1, wait=0.2, busy=0.7).target == 1
    assert Days().tick(2, wait=0.2, busy=0.7).target == 2
    assert Days().tick(2, wait=0.2).target == 2, "the busy share is unknown"


def test_steps_double_while_the_evidence_lasts() -> None:
    days = Days(most=64)
    targets = [days.tick(queue=1000).target for _ in range(7)]
    assert targets == [2, 4, 8, 12, 18, 27, 40]


def test_after_a_while_without_evidence_steps_begin_small_again() -> None:
    days = Days(most=64)
    days.tick(3, queue=1000)
    days.tick(6, busy=0.7)
    assert days.tick(queue=1000).target == 9


def test_workers_that_boot_are_counted_on() -> None:
    days = Days()
    assert days.tick(2, target=2, ready=1, booting=1, busy=0.9).target == 2
    assert days.tick(2, target=2, ready=1, booting=1, lag=0.2, busy=0.9).target == 2
    assert days.tick(1, target=2, ready=1, booting=1, lag=0.9, busy=0.9).target == 3


def test_evidence_is_kept_while_a_worker_boots() -> None:
    days = Days()
    days.tick(queue=2)
    days.tick(target=1, ready=1, booting=1)
    assert days.tick(queue=2).target == 2


# Down.


def test_one_leaves_after_a_calm_time_and_the_next_after_another() -> None:
    days = Days()
    days.tick(3, queue=1000)
    assert days.tick(10, busy=0.1).target == 8
    assert days.tick(1, busy=0.1) == Decision(7, "workers are busy 10% of the time")
    assert days.tick(9, busy=0.1).target == 7
    assert days.tick(1, busy=0.1).target == 6


def test_the_rest_must_be_able_to_carry_the_load() -> None:
    """Two workers at 30 % would be one at 60 %."""
    days = Days()
    days.tick(queue=9)
    assert days.tick(60, busy=0.3).target == 2
    assert days.tick(11, busy=0.25).target == 1


@pytest.mark.parametrize(
    "read", [{"busy": 0.7}, {"queue": 1}, {"wait": 0.2}, {"booting": 1}, {"ready": 1}]
)
def test_a_moment_without_calm_begins_the_wait_anew(read: dict[str, Any]) -> None:
    days = Days()
    days.tick(queue=9)
    days.tick(10, busy=0.1)
    days.tick(1, **read)
    assert days.tick(10, busy=0.1).target == 2
    assert days.tick(1, busy=0.1).target == 1


def test_a_worker_with_requests_in_flight_is_kept_for_a_bounded_time() -> None:
    days = Days()
    days.tick(2, queue=1000)
    assert days.tick(20, busy=0.1, occupied=True).target == 4
    assert days.tick(1, busy=0.1).target == 3
    assert days.tick(39, busy=0.1, occupied=True).target == 3
    assert days.tick(1, busy=0.1, occupied=True).target == 2


def test_a_worker_whose_app_is_in_busy_work_is_not_stopped() -> None:
    days = Days()
    days.tick(2, queue=1000)
    assert days.tick(1000, busy=0.1, working=True).target == 4
    assert days.tick(10, busy=0.1).target == 4
    assert days.tick(1, busy=0.1).target == 3


def test_an_empty_queue_is_the_reason_where_the_busy_share_is_unknown() -> None:
    days = Days()
    days.tick(queue=9)
    assert days.tick(11) == Decision(1, "no connection waits")


def test_the_minimum_of_workers_stays() -> None:
    days = Days(least=2)
    assert days.tick(100, busy=0.0) == Decision(2)


def test_a_step_down_that_is_taken_back_doubles_the_calm_time() -> None:
    days = Days()
    days.tick(2, queue=1000)
    days.tick(11, busy=0.1)
    assert days.target == 3
    days.tick(queue=1000)
    assert days.target == 4
    assert days.scaler.calm_seconds == 20.0
    assert days.tick(20, busy=0.1).target == 4
    assert days.tick(1, busy=0.1).target == 3


def test_the_calm_time_is_bounded_and_shrinks_again() -> None:
    days = Days(calm=10.0)
    days.tick(2, queue=1000)
    for _ in range(10):
        days.tick(round(days.scaler.calm_seconds) + 1, busy=0.1)
        days.tick(queue=1000)
    assert days.scaler.calm_seconds == 10.0 * MAX_BACKOFF
    days.tick(round(BACKOFF_DECAY_AFTER * days.scaler.calm_seconds) + 1, busy=0.7)
    assert days.scaler.calm_seconds == 10.0 * MAX_BACKOFF / 2
    days.tick(5000, busy=0.7)
    assert days.scaler.calm_seconds == 10.0


def test_an_old_step_down_does_not_lengthen_the_calm_time() -> None:
    days = Days()
    days.tick(queue=9)
    days.tick(11, busy=0.1)
    days.tick(21, busy=0.1)
    days.tick(queue=9)
    assert days.target == 2
    assert days.scaler.calm_seconds == 10.0


# Vetoes.


def test_nothing_moves_during_a_reload_and_all_begins_anew_after_it() -> None:
    days = Days()
    assert days.tick(queue=1000, rolling=True) == Decision(1, veto=Veto.RELOAD)
    days.tick(queue=9)
    days.tick(10, busy=0.1)
    assert days.tick(busy=0.1, rolling=True).target == 2
    assert days.tick(10, busy=0.1).target == 2
    assert days.tick(1, busy=0.1).target == 1


def test_workers_that_keep_failing_are_a_veto() -> None:
    decision = Days().tick(queue=14, failing=True)
    assert decision == Decision(1, "14 connections wait", Veto.FAILING)


def test_a_step_that_was_forbidden_does_not_make_the_next_one_larger() -> None:
    days = Days()
    days.tick(4, queue=1000, failing=True)
    assert days.tick(queue=1000).target == 2


def test_no_more_workers_than_max_workers() -> None:
    days = Days(most=3)
    days.tick(queue=1000)
    assert days.tick(queue=1000) == Decision(3, "1000 connections wait", Veto.MAX_WORKERS)
    assert days.tick(queue=1000) == Decision(3, "1000 connections wait", Veto.MAX_WORKERS)


def test_a_full_cpu_that_the_workers_want_is_a_veto() -> None:
    days = Days()
    days.tick(1, queue=1000, busy=1.0, running=1.0, cpu=0.5, cores=2)
    assert days.target == 1, "it was not there a tick ago, so its share is not in the reading"
    days.tick(1, queue=1000, busy=1.0, running=1.0, cpu=0.5, cores=2)
    assert days.target == 2
    decision = days.tick(1, queue=1000, busy=1.0, running=1.0, cpu=1.0, cores=2)
    assert decision == Decision(2, "1000 connections wait", Veto.CPU)


def test_a_worker_that_waits_for_a_core_wants_the_cpu() -> None:
    days = Days()
    assert days.tick(3, busy=1.0, running=0.3, starving=0.7, cpu=1.0).veto is Veto.CPU


def test_workers_that_sleep_grow_beyond_the_cores_even_if_others_use_them() -> None:
    days = Days(most=100)
    days.tick(9, queue=1000, busy=1.0, running=0.01, starving=0.01, cpu=1.0, cores=2)
    assert days.target > 20


def test_workers_that_sleep_are_added_until_they_fill_the_cpu() -> None:
    days = Days(most=100)
    decision = days.tick(9, queue=1000, busy=1.0, running=0.2, starving=0.1, cpu=1.0, cores=2)
    assert (decision.target, decision.veto) == (5, Veto.CPU), "five use one core, half of them"


def test_workers_are_added_as_long_as_they_fit_above_the_memory_reserve() -> None:
    days = Days()
    memory = {"free": 400 * MB, "total": 1000 * MB, "each": 100 * MB}
    days.tick(1, queue=1000, **memory)
    memory["free"] = 250 * MB
    assert days.tick(1, queue=1000, **memory) == Decision(3, "1000 connections wait", Veto.MEMORY)
    memory["free"] = 150 * MB
    assert days.tick(1, queue=1000, **memory).target == 3
    assert days.tick(1, queue=1000, free=0, total=1000 * MB).target > 3, (
        "the size of a worker is unknown"
    )


def test_workers_that_boot_count_with_their_memory_to_come() -> None:
    days = Days()
    memory = {"free": 350 * MB, "total": 1000 * MB, "each": 100 * MB}
    assert days.tick(1, target=3, ready=1, booting=2, queue=1000, **memory).veto is Veto.MEMORY


# Changes from outside.


def test_without_a_worker_there_is_nothing_to_read() -> None:
    assert Days().tick(5, queue=1000, ready=0) == Decision(1)


def test_a_requested_number_stands_until_there_is_evidence() -> None:
    days = Days()
    days.tick(9, busy=0.1)
    days.target = 5
    assert days.tick(10, busy=0.1).target == 5
    assert days.tick(1, busy=0.1).target == 4
    days.target = 2
    assert days.tick(queue=1000).target == 3


def test_new_bounds_hold_at_once() -> None:
    days = Days()
    days.scaler.set_bounds(Bounds(4, 6, 10.0))
    assert days.tick() == Decision(4, "min-workers")
    days.scaler.set_bounds(Bounds(1, 3, 5.0))
    assert days.tick() == Decision(3, "max-workers")
    assert days.scaler.calm_seconds == 5.0


# Properties for all readings.

SHARES = st.floats(0.0, 1.0)
READINGS = st.builds(
    dict,
    ready=st.integers(0, 20),
    booting=st.integers(0, 4),
    queue=st.integers(0, 50) | st.just(10**6),
    wait=st.floats(0.0, 2.0),
    busy=st.none() | SHARES,
    lag=st.floats(0.0, 2.0),
    running=SHARES,
    starving=SHARES,
    cpu=SHARES,
    cores=st.integers(1, 64),
    free=st.integers(0, 1000 * MB),
    total=st.sampled_from([0, 1000 * MB]),
    each=st.sampled_from([0, 50 * MB]),
    rolling=st.booleans(),
    failing=st.booleans(),
    occupied=st.booleans(),
    working=st.booleans(),
)
QUIET = {"ready": 8, "busy": 0.05}
STORIES = st.lists(st.tuples(READINGS | st.just(QUIET), st.integers(1, 40)), max_size=30)
BOUNDS = st.tuples(st.integers(1, 5), st.integers(0, 20)).map(
    lambda pair: Bounds(pair[0], sum(pair), 10.0)
)


@settings(deadline=None, max_examples=150)
@given(bounds=BOUNDS, story=STORIES)
def test_it_stays_in_its_bounds_goes_down_singly_and_never_right_after_up(
    bounds: Bounds, story: list[tuple[dict[str, Any], int]]
) -> None:
    scaler, target, now, moved = Scaler(bounds), bounds.min_workers, 100.0, 0.0
    for read, seconds in story:
        for _ in range(seconds):
            now += 1.0
            decision = scaler.decide(Reading(target=target, **read), now)
            assert bounds.min_workers <= decision.target <= bounds.max_workers
            assert decision.target >= target - 1
            assert decision.target == target or not (read.get("rolling") or not read["ready"])
            if decision.target < target:
                assert now - moved >= bounds.scale_down_after
            if decision.target != target:
                assert decision.reason
                moved, target = now, decision.target


@settings(deadline=None, max_examples=150)
@given(bounds=BOUNDS, story=STORIES, last=READINGS, less=st.integers(0, 1000 * MB))
def test_less_memory_and_a_fuller_cpu_never_mean_more_workers(
    bounds: Bounds, story: list[tuple[dict[str, Any], int]], last: dict[str, Any], less: int
) -> None:
    scaler, target, now = Scaler(bounds), bounds.min_workers, 100.0
    for read, seconds in story:
        for _ in range(seconds):
            now += 1.0
            target = scaler.decide(Reading(target=target, **read), now).target
    reading = Reading(target=target, **last)
    for worse in (
        replace(reading, free=max(0, reading.free - less)),
        replace(reading, cpu=1.0),
        replace(reading, failing=True),
    ):
        better_off, worse_off = copy.deepcopy(scaler), copy.deepcopy(scaler)
        assert (
            worse_off.decide(worse, now + 1.0).target
            <= better_off.decide(reading, now + 1.0).target
        )
