"""What ``prefork list --sort`` puts first."""

import pytest

from prefork.cli.sorting import SORTS, Row, in_order

ROWS = [
    Row(
        {
            "name": "busy",
            "state": "running",
            "pid": 9,
            "ready": 1,
            "generation": 3,
            "restarts": 0,
            "started": 50.0,
            "namespace": "shop",
        },
        90.0,
        1000,
    ),
    Row(
        {
            "name": "able",
            "state": "running",
            "pid": 11,
            "ready": 4,
            "generation": 1,
            "restarts": 7,
            "started": 10.0,
            "namespace": "",
        },
        1.0,
        5000,
    ),
    Row({"name": "cold", "state": "dead", "pid": 3, "started": 1.0}),
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
        ("memory", "able busy cold"),
    ],
)
def test_order(sort: str, names: str) -> None:
    assert [row.app["name"] for row in in_order(ROWS, sort)] == names.split()


def test_each_key_has_its_test() -> None:
    assert len(SORTS) == 10
    assert [row.app["name"] for row in in_order(reversed(ROWS), "name")] == ["able", "busy", "cold"]
