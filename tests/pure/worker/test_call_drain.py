"""When a draining worker notifies and cancels the calls of its app."""

from hypothesis import given
from hypothesis import strategies as st

from prefork.worker.asgi.call_drain import DrainTimes, drain_times

SECONDS = st.floats(0.001, 1e6)


@given(SECONDS, st.floats(0.0, 1e6))
def test_all_calls_end_before_the_kill_timeout(kill: float, stream: float) -> None:
    times = drain_times(kill, stream)
    assert 0 <= times.stream <= times.disconnect < times.cancel < kill
    assert times.disconnect + times.grace <= times.cancel * (1 + 1e-9)


def test_the_schedule_with_the_defaults_and_with_watch() -> None:
    assert drain_times(30, 10) == DrainTimes(10, 23, 25, 2)
    assert drain_times(2, 2) == DrainTimes(1.25, 1.25, 1.5, 0.25)
