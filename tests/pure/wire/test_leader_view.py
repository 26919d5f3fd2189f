"""The leader, from rows that workers wrote: any numbers may stand there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.unix.scoreboard import EMPTY_ROW
from prefork.wire.fields import LEASE_STATES
from prefork.wire.leader_view import find_leader, find_lease


def row(**fields: int) -> dict[str, Any]:
    return {**EMPTY_ROW, "slot": 1, "pid": 5, **fields}


def test_the_leader_of_one_machine_has_the_token_of_its_master() -> None:
    assert find_leader([row(), row(named=1, leads=1)], 9) == {"slot": 1, "pid": 5, "token": 9}
    assert find_lease([row(), row(named=1, leads=1)]) is None
    assert find_leader([row(named=1)], 9) is None
    assert find_lease([row()]) is None


def test_a_leader_by_a_lease_has_its_token() -> None:
    rows = [row(named=1, leads=1, lease=LEASE_STATES.index("held"), lease_token=77)]
    assert find_leader(rows, 9) == {"slot": 1, "pid": 5, "token": 77}
    assert find_lease(rows) == "held"


@pytest.mark.parametrize("state", LEASE_STATES[1:])
def test_a_candidate_tells_why_it_does_not_lead(state: str) -> None:
    found = find_lease([row(named=1, lease=LEASE_STATES.index(state))])
    assert found == ("waiting" if state == "held" else state)  # its time is over


@given(st.integers(0, 2**63))
def test_any_number_is_a_state_or_none(number: int) -> None:
    assert find_lease([row(named=1, lease=number)]) in (*LEASE_STATES[1:], None)
