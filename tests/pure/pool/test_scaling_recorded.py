"""The scaler with recorded readings of a real master, second by second.

The machine was full of other work, so the readings are noisy. For a minute one client sent two
requests a second; for a quarter of it 30 clients (``computes``: 15) sent without pause.
"""

import json
from pathlib import Path

from prefork.pool.scaling import Bounds, Decision, Reading, Scaler, Veto

RECORDS = Path(__file__).parents[2] / "corpus/load"


def replay(name: str) -> list[tuple[Reading, Decision]]:
    """Return each reading with the decision of today; the decision of then is in the next
    reading."""
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
