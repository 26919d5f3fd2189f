"""The restart schedule with a clock that jumps."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from prefork.master.restart_schedule import MAX_WAIT, RestartSchedule

AT_FOUR = ("0 4 * * *",)
DAY = 86400.0


class Clock:
    """A wall clock that a test sets, and its time zone."""

    def __init__(self, hour: float) -> None:
        self.now = datetime(2026, 11, 26, tzinfo=UTC).timestamp() + hour * 3600
        self.zone: tzinfo = UTC
        self.schedule = RestartSchedule(lambda: self.now, lambda: self.zone)
        self.came: list[str] = []

    def look(self, *expressions: str) -> None:
        came = self.schedule.pop_due(expressions)
        self.came += [came] if came else []

    def later(self, hours: float, *expressions: str) -> int:
        """Let time pass as the master waits; return how often a restart was due."""
        before, until = len(self.came), self.now + hours * 3600
        while self.now < until:
            patience = self.schedule.seconds_to_next_check()
            self.now = min(until, self.now + (MAX_WAIT if patience is None else patience))
            self.look(*expressions)
        return len(self.came) - before


def test_nothing_is_due_without_an_expression() -> None:
    clock = Clock(3)
    clock.look()
    assert clock.schedule.seconds_to_next_check() is None
    assert clock.schedule.next_due is None
    assert clock.later(30) == 0


def test_each_time_is_due_once() -> None:
    clock = Clock(3)
    clock.look(*AT_FOUR)
    assert clock.later(0.999, *AT_FOUR) == 0
    assert clock.later(0.002, *AT_FOUR) == 1
    assert clock.later(23.9, *AT_FOUR) == 0
    assert clock.later(0.2, *AT_FOUR) == 1


def test_the_clock_is_read_again_soon_because_it_may_jump() -> None:
    clock = Clock(3)
    clock.look(*AT_FOUR)
    assert clock.schedule.seconds_to_next_check() == MAX_WAIT
    clock.now += 3600 - 5
    assert clock.schedule.seconds_to_next_check() == 5
    clock.now += 10
    assert clock.schedule.seconds_to_next_check() == 0


def test_times_that_passed_while_the_machine_slept_are_made_up_for_once() -> None:
    clock = Clock(3)
    clock.look(*AT_FOUR)
    clock.now += 5 * DAY
    clock.look(*AT_FOUR)
    assert clock.came == ["0 4 * * *"]
    assert clock.later(0.9, *AT_FOUR) == 0
    assert clock.later(0.2, *AT_FOUR) == 1


def test_a_clock_that_is_put_back_a_little_makes_no_time_due_twice() -> None:
    clock = Clock(3)
    clock.look(*AT_FOUR)
    assert clock.later(1.01, *AT_FOUR) == 1
    clock.now -= 600
    assert clock.later(2, *AT_FOUR) == 0
    assert clock.later(24, *AT_FOUR) == 1


def test_a_clock_that_is_put_back_far_was_wrong_before() -> None:
    clock = Clock(3)
    clock.look(*AT_FOUR)
    clock.now += 40 * DAY
    clock.look(*AT_FOUR)
    clock.now -= 40 * DAY
    clock.look(*AT_FOUR)
    clock.came.clear()
    assert clock.later(1.1, *AT_FOUR) == 1


def test_a_clock_that_is_put_back_before_the_first_time() -> None:
    clock = Clock(3)
    clock.look(*AT_FOUR)
    clock.now -= DAY
    clock.look(*AT_FOUR)
    assert clock.later(1.1, *AT_FOUR) == 1


def test_a_reload_changes_the_expressions() -> None:
    clock = Clock(3)
    clock.look(*AT_FOUR)
    assert clock.later(2, "0 5 * * *") == 1
    assert clock.came == ["0 5 * * *"]
    clock.look()
    assert clock.schedule.next_due is None


def test_times_are_those_of_the_zone() -> None:
    clock = Clock(2.5)
    clock.zone = ZoneInfo("Europe/Berlin")
    clock.look(*AT_FOUR)
    assert clock.schedule.next_due is not None
    assert clock.schedule.next_due[0].isoformat() == "2026-11-26T04:00:00+01:00"
    assert clock.later(0.6, *AT_FOUR) == 1
