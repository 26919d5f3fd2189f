"""A root master among hostile children of another user: it lives, and answers every ping.

``scripts/hostile`` runs the same attacks for longer, and tells how long the pings took.
"""

import pytest

from tests.hostile.attack_runner import ATTACKS, Attack, is_possible, run_attack

SECONDS = 1.5
"""Of each attack: some hundred rounds of it."""

LEAST_PINGS = 5


@pytest.mark.skipif(not is_possible(), reason="only root may become another user")
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_the_master_lives_and_answers_every_ping(attack: Attack) -> None:
    assert len(run_attack(attack, SECONDS).pings) >= LEAST_PINGS
