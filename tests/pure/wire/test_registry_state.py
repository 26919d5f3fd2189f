"""The leader in a state file, which another process may have written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.wire.registry_state import (
    MAX_TOKEN,
    LeaderRecord,
    decode_state,
    encode_state,
)

KNOWN = st.builds(LeaderRecord, st.integers(0, 2**22), st.integers(0), st.integers(0, MAX_TOKEN))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(KNOWN)
def test_a_leader_is_read_as_it_was_written(leader: LeaderRecord) -> None:
    keys = {"pid": leader.pid, "started": leader.started, "token": leader.token}
    stored = decode_state(encode_state({"leader": keys}).encode())
    assert LeaderRecord.parse(stored.keys["leader"]) == leader


@pytest.mark.parametrize("wrong", [{"pid": -1}, {"started": -1}, {"token": MAX_TOKEN + 1}])
def test_numbers_that_no_master_wrote_are_no_leader(wrong: dict[str, int]) -> None:
    assert LeaderRecord.parse({"pid": 1, "started": 1, "token": 1} | wrong) == LeaderRecord()


@given(JSON | st.fixed_dictionaries({"pid": JSON, "started": JSON, "token": JSON}))
def test_anything_else_is_no_leader(stored: object) -> None:
    found = LeaderRecord.parse(json.loads(json.dumps(stored)))
    assert min(found.pid, found.started, found.token) >= 0
    assert found.token <= MAX_TOKEN
