"""The pace of a measurement: its interval, or fifty times the processor time that it took."""

import os
import select
import time

from prefork.unix.measurement_pace import PAUSE_FACTOR, MeasurementPace


def test_the_first_measurement_is_due_at_once_and_the_next_after_the_interval() -> None:
    pace = MeasurementPace(1000.0)
    assert pace.is_due(time.monotonic())
    before = time.monotonic()
    with pace.measure():
        pass
    assert before + 1000.0 <= pace.due_at
    assert not pace.is_due(time.monotonic())
    assert pace.is_due(pace.due_at)


def test_after_a_costly_measurement_the_pause_is_longer() -> None:
    pace = MeasurementPace(0.0)
    before = time.monotonic()
    with pace.measure():
        _compute()
    assert pace.due_at >= before + (1 + PAUSE_FACTOR) * 0.01


def test_the_factor_of_the_pause_may_be_chosen() -> None:
    pace = MeasurementPace(factor=1000)
    before = time.monotonic()
    with pace.measure():
        _compute()
    assert pace.due_at >= before + 1001 * 0.01


def test_the_time_that_a_measurement_waited_for_a_core_costs_no_pause() -> None:
    pace = MeasurementPace(factor=1000)
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "wb"):
        with pace.measure():
            select.select([reader], [], [], 0.05)
        assert pace.due_at < time.monotonic() + 0.05 * 1000


def test_a_measurement_that_fails_is_not_repeated_at_once() -> None:
    pace = MeasurementPace(1000.0)
    try:
        with pace.measure():
            raise OSError
    except OSError:
        assert not pace.is_due(time.monotonic())


def _compute() -> None:
    """Use the processor for 10 ms."""
    begins = time.thread_time()
    while time.thread_time() - begins < 0.01:
        pass
