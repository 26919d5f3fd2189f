"""When a draining worker notifies and cancels the calls of its app."""

from hypothesis import given
from hypothesis import strategies as st

from prefork.config.drain_times import DrainTimes, drain_times, kill_timeout_for

SECONDS = st.floats(0.001, 1e6)


@given(SECONDS, st.floats(0.0, 1e6))
def test_all_calls_end_before_the_kill_timeout(kill: float, stream: float) -> None:
    times = drain_times(kill, stream)
    assert 0 <= times.stream <= times.disconnect < times.cancel < kill
    assert times.disconnect + times.grace <= times.cancel * (1 + 1e-9)


def test_the_schedule_with_the_defaults_and_with_watch() -> None:
    assert drain_times(30, 10) == DrainTimes(10, 23, 25, 2)
    assert drain_times(2, 2) == DrainTimes(1.25, 1.25, 1.5, 0.25)


@given(SECONDS)
def test_a_kill_timeout_is_found_that_leaves_calls_alone_for_a_time(seconds: float) -> None:
    found = drain_times(kill_timeout_for(seconds), seconds).disconnect
    assert abs(found - seconds) <= 1e-9 * max(1.0, seconds)


def test_usual_graceful_timeouts_as_kill_timeouts() -> None:
    assert [kill_timeout_for(seconds) for seconds in (5, 10, 15, 30)] == [8, 16, 22, 37]
