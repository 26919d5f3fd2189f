"""The state of the pool as JSON: dumped in each state, loaded, and gone on with."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from prefork.pool import Pool, facts
from prefork.pool.goals import load_goal, refusal_reason
from tests.pure.pool.goals_world import STATES, VERBS, World


def hand_over(pool: Pool) -> Pool:
    """Return the pool that goes on from the dump of this one."""
    return Pool.load(json.loads(json.dumps(pool.dump())), Random(1))


class HandedOver(World):
    """A world whose master is replaced by a successor after every fact."""

    def tell(self, fact: facts.Fact) -> None:
        rng = self.pool._rng
        self.pool = hand_over(self.pool)
        self.pool._rng = rng
        if self.goal is not None:
            dumped = json.loads(json.dumps(self.goal.dump()))
            self.goal = load_goal(dumped, self.pool)
        super().tell(fact)


def play(world: World, state: Callable[[World], None], verb: str, fate: str) -> list[object]:
    """Let a client ask for a verb, and return all that happened until it got its verdict."""
    state(world)
    if refusal_reason(world.pool) and verb != "stop":
        return []
    world.fate = fate
    VERBS[verb](world)
    verdict = world.verdict()
    return [verdict, world.since, world.state(), world.now, world.pool.dump()]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_successor_goes_on_as_the_pool_would(state: Callable[[World], None], verb: str) -> None:
    for fate in ("healthy", "boots fail", "crashes"):
        one, other = World(), HandedOver()
        assert play(other, state, verb, fate) == play(one, state, verb, fate)


def test_a_dump_says_what_a_person_looks_for() -> None:
    world = World(workers=2, stop_exit_codes=frozenset({9, 7}))
    world.step()
    dumped: dict[str, Any] = json.loads(json.dumps(world.pool.dump()))
    assert dumped["state"] == "running"
    assert (dumped["plan"]["generation"], dumped["plan"]["target"]) == (1, 2)
    assert dumped["plan"]["policy"]["stop_exit_codes"] == [7, 9]
    first = dumped["workers"]["live"]["1"]
    assert (first["slot"], first["generation"], first["pid"], first["state"]) == (
        0,
        1,
        1001,
        "ready",
    )


def test_a_pool_has_no_state_that_is_not_declared() -> None:
    with pytest.raises(AttributeError):
        World().pool.another = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("change", [{"state": "asleep"}, {"plan": None}, {"mood": "good"}])
def test_a_dump_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"asleep|None|mood"):
        Pool.load({**World().pool.dump(), **change}, Random(1))


def test_a_goal_that_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="no goal 'happiness'"):
        load_goal({"goal": "happiness"}, World().pool)


def test_the_dump_of_a_failed_goal_keeps_its_reason() -> None:
    world = World()
    world.fate = "boots fail"
    VERBS["reload"](world)
    world.verdict()
    assert world.goal is not None
    loaded = load_goal(json.loads(json.dumps(world.goal.dump())), world.pool)
    assert loaded.verdict() == world.goal.verdict()
