"""The file with the last deaths: it outlives its master, and any other process may have written."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prefork.wire.death_file import VERSION, decode_deaths, encode_deaths

JSON = st.recursive(
    st.none() | st.booleans() | st.text() | st.floats() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def death(at: float = 0.0, reason: str = "") -> dict[str, Any]:
    return {
        "at": at,
        "slot": 0,
        "pid": 7,
        "generation": 1,
        "cause": "boot failure",
        "detail": "exit code 102",
        "killed": False,
        "reason": reason,
        "why": "",
    }


DEATHS = st.lists(st.builds(death, st.floats(0, 9), reason=st.text()))


@given(DEATHS)
def test_what_was_written_is_read_in_the_order_of_time(deaths: list[dict[str, Any]]) -> None:
    expected = sorted(deaths, key=lambda each: float(each["at"]))
    assert decode_deaths(encode_deaths(deaths).encode()) == expected


@given(st.binary() | JSON.map(lambda content: json.dumps(content).encode()))
def test_a_file_of_anything_else_has_no_deaths(data: bytes) -> None:
    assert decode_deaths(data) == []


@given(st.sampled_from(sorted(death())), JSON)
def test_an_entry_that_is_no_death_is_left_out(key: str, value: object) -> None:
    good = death(2.0)
    for each in decode_deaths(encode_deaths([{**good, key: value}, value, good]).encode()):
        assert {name: type(of) for name, of in each.items()} in (
            {name: type(of) for name, of in good.items()},
            {**{name: type(of) for name, of in good.items()}, key: type(value)},
        )
        assert isinstance(each["reason"] + each["why"] + each["cause"], str)


def test_times_that_no_clock_shows_and_later_versions_are_left_out() -> None:
    assert decode_deaths(encode_deaths([death(1e300), death(float("nan"))]).encode()) == []
    later = json.dumps({"v": VERSION + 1, "deaths": [death()]}).encode()
    assert decode_deaths(later) == []
    assert decode_deaths(b"[" * 100_000) == []
