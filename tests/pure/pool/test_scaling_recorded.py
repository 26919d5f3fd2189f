"""The scaler under load that was recorded: what a real master read, second by second.

The machine was full of other work, so these readings are as noisy as any. For a minute one client
came twice a second, but for a quarter of it in which a crowd of 30 (``computes``: 15) never rested.
"""

import json
from pathlib import Path

from prefork.pool.scaling import Bounds, Decision, Reading, Scaler, Veto

RECORDS = Path(__file__).parents[2] / "corpus/load"


def replay(name: str) -> list[tuple[Reading, Decision]]:
    """Each reading, and what is decided now. What was decided then is in the next one."""
    scaler = Scaler(Bounds(1, 6, 3.0))
    decided = []
    for line in (RECORDS / f"{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        at = record.pop("at")
        reading = Reading(**record)
        decided.append((reading, scaler.decide(reading, at)))
    return decided


def test_an_app_that_sleeps_follows_its_crowd_once_up_and_once_down() -> None:
    decided = replay("sleeps")
    changes = [to.target for reading, to in decided if to.target != reading.target]
    assert changes == [2, 4, 6, 5, 4, 3, 2, 1]
    assert {to.veto for _, to in decided} == {None, Veto.MAX_WORKERS}
    begun = next(n for n, (reading, _) in enumerate(decided) if reading.queue)
    assert [to.target for _, to in decided[begun : begun + 3]] == [2, 4, 6]


def test_an_app_that_computes_on_a_full_machine_stays_as_it_is() -> None:
    decided = replay("computes")
    assert {to.target for _, to in decided} == {1}
    assert Veto.CPU in {to.veto for _, to in decided}
