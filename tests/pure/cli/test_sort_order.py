"""The keys of ``prefork list --sort``, and the order that each makes."""

import pytest

from prefork.cli.view.sort_order import SORT_KEYS, sort_apps

ROWS = [
    {
        "name": "busy",
        "state": "running",
        "pid": 9,
        "ready": 1,
        "generation": 3,
        "restarts": 0,
        "started": 50.0,
        "namespace": "shop",
        "cpu": 90.0,
        "memory": 1000,
        "figures": {"rate": 1.0, "p50": 0.2, "p99": 0.3},
    },
    {
        "name": "able",
        "state": "running",
        "pid": 11,
        "ready": 4,
        "generation": 1,
        "restarts": 7,
        "started": 10.0,
        "namespace": "",
        "cpu": 1.0,
        "memory": 5000,
        "figures": {"rate": 2.0, "p50": 0.1, "p99": 0.4},
    },
    {"name": "cold", "state": "dead", "pid": 3, "started": 1.0},
]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("name", "able busy cold"),
        ("namespace", "busy able cold"),
        ("state", "cold able busy"),
        ("pid", "busy able cold"),
        ("workers", "able busy cold"),
        ("gen", "busy able cold"),
        ("restarts", "able busy cold"),
        ("uptime", "able busy cold"),
        ("cpu", "busy able cold"),
        ("rate", "able busy cold"),
        ("p50", "busy able cold"),
        ("p99", "able busy cold"),
        ("memory", "able busy cold"),
    ],
)
def test_each_key_sorts_the_apps(sort: str, names: str) -> None:
    assert [row["name"] for row in sort_apps(ROWS, sort)] == names.split()


def test_every_key_is_tested_and_ties_are_sorted_by_name() -> None:
    assert len(SORT_KEYS) == 13
    assert [row["name"] for row in sort_apps(reversed(ROWS), "name")] == ["able", "busy", "cold"]
