"""How many connections an overloaded worker closes."""

import pytest

from prefork.http.load import CONNECTION, REQUEST, UNAVAILABLE
from prefork.worker.accept.rebalance import count_surplus


@pytest.mark.parametrize(
    ("connections", "surplus"),
    [
        ([20, 0], 5),
        ([20, 20], 0),
        ([20, 18], 0),
        ([5, 0], 0),
        ([100, 90, 20], 15),
        ([20], 0),
    ],
)
def test_half_of_the_surplus_is_closed(connections: list[int], surplus: int) -> None:
    loads = [3 * REQUEST + count * CONNECTION + 7 for count in connections]
    assert count_surplus(loads, 0) == surplus


def test_a_worker_that_accepts_nothing_does_not_count() -> None:
    assert count_surplus([20 * CONNECTION, UNAVAILABLE], 0) == 0
    assert count_surplus([UNAVAILABLE, 20 * CONNECTION, 0], 0) == 0
