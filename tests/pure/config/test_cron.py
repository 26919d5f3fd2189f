"""Cron expressions: valid ones, errors, and the next time of each."""

import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.config import cron
from prefork.config.sources import Layer, resolve
from prefork.errors import MachineError, UsageError

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("0 4 * * *", ("0 4 * * *",)),
        ("  0  4 * *   mon-fri ", ("0 4 * * mon-fri",)),
        ("0 4 * * *; 30 12 * * SUN", ("0 4 * * *", "30 12 * * SUN")),
        (["0 4 * * *", "@daily", "0 4 * * *"], ("0 4 * * *", "@daily")),
        ("*/10 * * * * *", ("*/10 * * * * *",)),
        ("off", ()),
        ("", ()),
        ([], ()),
        (["off"], ()),
    ],
)
def test_expressions_are_a_list_or_text_with_semicolons(
    raw: object, expected: tuple[str, ...]
) -> None:
    assert cron.parse(raw) == expected


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("0 4 * *", "wrong number of fields"),
        ("61 4 * * *", "bad minute"),
        ("0 4 * * *;", "wrong number of fields"),
        ("@sometimes", "wrong number of fields"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 */31 * MON#5", "never comes"),
        (4, "in quotes"),
        ([4], "in quotes"),
    ],
)
def test_an_invalid_expression_is_refused_with_the_reason(raw: object, why: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve([Layer("prefork.toml", {"cron": raw})])
    assert "prefork.toml: cron = " in str(error.value)
    assert why in str(error.value)


@given(
    st.sampled_from(["*", "*/7", "0", "59", "5-9", "1,30"]),
    st.sampled_from(["*", "*/5", "0", "23", "8-17"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
)
def test_the_next_time_is_the_first_that_fits(minute: str, hour: str, moment: datetime) -> None:
    def fits(field: str, number: int) -> bool:
        if field.startswith("*"):
            return number % int(field[2:] or 1) == 0
        parts = [part.split("-") for part in field.split(",")]
        return any(int(part[0]) <= number <= int(part[-1]) for part in parts)

    moment = moment.replace(tzinfo=UTC)
    found = cron.next_time_after(f"{minute} {hour} * * *", moment)
    assert found is not None
    looked = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not (fits(minute, looked.minute) and fits(hour, looked.hour)):
        looked += timedelta(minutes=1)
    assert found == looked


@given(
    st.sampled_from(["* * * * *", "30 2 * * *", "*/20 2 * * *", "0 4 * * *", "@hourly"]),
    st.datetimes(datetime(2026, 3, 1), datetime(2026, 11, 30), timezones=st.just(BERLIN)),
)
def test_times_increase_also_when_the_clock_is_changed(expression: str, moment: datetime) -> None:
    found = cron.next_time_after(expression, moment)
    assert found is not None
    assert found.timestamp() > moment.timestamp()


@pytest.mark.parametrize(
    ("expression", "moment", "expected"),
    [
        ("30 2 * * *", datetime(2026, 3, 29, 0, 0), "2026-03-29 03:00 +0200"),
        ("30 2 * * *", datetime(2026, 10, 25, 0, 0), "2026-10-25 02:30 +0200"),
        ("30 2 * * *", datetime(2026, 10, 25, 2, 30), "2026-10-26 02:30 +0100"),
        ("*/30 * * * *", datetime(2026, 10, 25, 2, 30), "2026-10-25 02:00 +0100"),
        ("0 4 * * *", datetime(2026, 3, 29, 0, 0), "2026-03-29 04:00 +0200"),
    ],
)
def test_daylight_saving_time(expression: str, moment: datetime, expected: str) -> None:
    found = cron.next_time_after(expression, moment.replace(tzinfo=BERLIN))
    assert found is not None
    assert f"{found:%Y-%m-%d %H:%M %z}" == expected


def test_the_first_time_of_several_expressions_counts() -> None:
    moment = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
    found = cron.first_time_after(["@daily", "0 4 * * *", "30 12 * * *"], moment)
    assert found == (datetime(2026, 11, 26, 4, 0, tzinfo=UTC), "0 4 * * *")
    assert cron.first_time_after([], moment) is None


def test_in_an_hour_that_comes_twice_the_first_pass_counts() -> None:
    moment = datetime(2026, 10, 25, 2, 50, tzinfo=BERLIN)
    found = cron.first_time_after(["0 3 * * *", "*/30 * * * *"], moment)
    assert found is not None
    assert f"{found[0]:%H:%M %z}" == "02:00 +0100"


def test_a_missing_library_is_an_error_that_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This happens when the Python environment of a running master was moved."""
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(MachineError, match="restart the master"):
        cron.parse(["0 4 * * *"])
