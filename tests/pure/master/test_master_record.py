"""The state of a master: dumped as JSON and loaded again, for any contents."""

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.json_records import dump_record, load_record
from prefork.master.master_record import (
    VERSION,
    AuxiliaryRecord,
    ChildRecord,
    ClientRecord,
    GenerationRecord,
    ListenerRecord,
    MasterRecord,
    OutputRecord,
    load_master,
)
from prefork.pool.goals import ReloadGoal, ScaleGoal, StableGoal, StopGoal
from prefork.pool.pool_state import PoolState
from prefork.wire.log_writer_messages import WorkerStream
from prefork.wire.versions import LaterVersionError
from tests.pure.pool.goals_world import STATES, World

NUMBERS = st.integers(0, 2**22)
DESCRIPTORS = st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3)


def pool_in(state: Any) -> PoolState:
    """Return the pool in one of the states of the small world."""
    world = World()
    state(world)
    return load_record(PoolState, world.pool.dump())


def goals() -> list[dict[str, Any] | None]:
    pool = World().pool
    kinds = (StableGoal(pool), ScaleGoal(pool, 4), ReloadGoal(pool, 2), StopGoal(pool))
    return [None, *(goal.dump() for goal in kinds)]


POOLS = st.sampled_from([pool_in(state) for state in STATES])
LISTENERS = st.builds(
    ListenerRecord, st.text(), NUMBERS, st.none() | st.lists(NUMBERS, min_size=2, max_size=2)
)
RECORDS = st.builds(
    MasterRecord,
    prefork=st.text(),
    pid=NUMBERS,
    now=st.floats(0, 1e9),
    pool=POOLS,
    workers=st.lists(st.builds(ChildRecord, NUMBERS, NUMBERS, NUMBERS, DESCRIPTORS, st.text())),
    generations=st.dictionaries(
        NUMBERS,
        st.builds(
            GenerationRecord,
            st.text(),
            st.lists(st.text(), max_size=3),
            st.dictionaries(NUMBERS, st.sampled_from(["http", "https"]), max_size=2),
            st.dictionaries(st.text(), st.text() | NUMBERS | st.none(), max_size=3),
        ),
        max_size=3,
    ),
    listeners=st.lists(LISTENERS, max_size=3),
    status_listeners=st.lists(LISTENERS, max_size=3),
    auxiliary=st.lists(
        st.builds(AuxiliaryRecord, st.text(), NUMBERS, st.floats(0, 99), DESCRIPTORS), max_size=3
    ),
    outputs=st.lists(
        st.builds(
            OutputRecord, st.builds(WorkerStream, NUMBERS, NUMBERS, NUMBERS, st.text()), NUMBERS
        ),
        max_size=3,
    ),
    clients=st.lists(
        st.builds(
            ClientRecord,
            NUMBERS,
            NUMBERS,
            st.booleans(),
            NUMBERS,
            st.booleans(),
            st.sampled_from(goals()),
        ),
        max_size=3,
    ),
    descriptors=DESCRIPTORS,
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: MasterRecord) -> None:
    assert load_master(json.loads(json.dumps(dump_record(record)))) == record


@given(RECORDS)
def test_a_record_that_lacks_a_part_is_refused(record: MasterRecord) -> None:
    dumped = dump_record(record)
    assert dumped["version"] == VERSION
    for part in ("pool", "workers", "clients", "descriptors"):
        with pytest.raises(ValueError, match=f"MasterRecord lacks {part}"):
            load_master({key: dumped[key] for key in dumped if key != part})


@given(RECORDS)
def test_a_record_of_a_later_version_is_refused(record: MasterRecord) -> None:
    later = {**dump_record(record), "version": VERSION + 1}
    with pytest.raises(LaterVersionError, match=f"version {VERSION + 1} .* knows {VERSION}"):
        load_master(later)
