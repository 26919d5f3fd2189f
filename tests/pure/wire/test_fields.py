"""The declarations of scoreboard fields, and all that follows from the declaration of one."""

import json
from pathlib import Path
from typing import Any

import pytest

from prefork.cli.view.app_columns import FORMATS
from prefork.unix.scoreboard import EMPTY_ROW
from prefork.wire.fields import VALUES
from prefork.wire.row_values import app_values, explain_values, worker_values
from prefork.wire.scoreboard import (
    ALIVE_FIELDS,
    CONNECTION_FIELDS,
    NOTHING_COUNTED,
    REQUEST_FIELDS,
    WORKER_FIELDS,
    uncounted_bits,
)
from tests.package_copy import copy_package, insert_before, run_in_copy

POSITIONS = [
    *("sequence", "deadline", "beat", "requests", "in_flight", "connections", "oldest"),
    *("accepted", "accept_wait", "accept_asked"),
    *("answered_1xx", "answered_2xx", "answered_3xx", "answered_4xx", "answered_5xx"),
    *("unanswered", "sent", "busy", "lag", "took", "shares", "rate", "working", "due"),
    "uncounted",
]
"""The worker's fields in the order of the layout ``prefork2``."""

DECLARATION = """\
    Field("toys", "Q", "bytes", "worker", "toys that the worker has made", "counter",
          formula=total, column=TableColumn("toy size", apps=15, workers=16, is_sort_key=True),
          phrase=Phrase("toys", "{} of toys")),
"""

EVERYTHING = """
import json
from prefork import Client
from prefork.cli.view.sort_order import SORT_KEYS
from prefork.cli.view.app_columns import APP_COLUMNS, WORKER_COLUMNS
from prefork.cli.view.figure_lines import figure_lines
from prefork.observe.status.metrics import format_metrics
from prefork.observe.status.scoreboard_view import ScoreboardView
from prefork.unix.scoreboard import Scoreboard
from prefork.wire.fields import HEAD
from prefork.wire.row_values import app_values, worker_values
from prefork.wire.scoreboard import FIELD_INDEX

board = Scoreboard()
for serial in (1, 2):
    row = board.acquire_row(serial)
    board.set_row_fields(row, pid=100 + serial)
    row.counts[FIELD_INDEX["requests"]] = 1
    row.counts[FIELD_INDEX["toys"]] = 2048 * serial
rows = list(board.rows)
worker = {"slot": 0, **worker_values(rows[0], 0.0)}
app = {"figures": app_values(rows, 0.0)}
print(json.dumps({
    "index": FIELD_INDEX,
    "row": rows[0]["toys"],
    "worker": worker["toys"],
    "app": app["figures"]["toys"],
    "metrics": format_metrics("web", board.rows.head(), rows, {}),
    "help": Client.__doc__,
    "app column": {c.name: c.cell(app) for c in APP_COLUMNS if c.name == "toy size"},
    "worker column": {c.name: c.cell(worker) for c in WORKER_COLUMNS if c.name == "toy size"},
    "unknown": [c.cell({"figures": {"requests": 1}}) for c in APP_COLUMNS if c.name == "toy size"],
    "sorted": SORT_KEYS["toys"][0](app),
    "lines": list(figure_lines(app["figures"])),
    "page": ScoreboardView("web", board.rows, 1).status(0.0),
}))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The output of prefork after the field ``toys`` was declared, and written by two workers."""
    package = copy_package(tmp_path_factory.mktemp("copy"))
    fields: Path = package / "wire" / "fields.py"
    insert_before(fields, ')\n"""The fields of a row.', DECLARATION)
    found: dict[str, Any] = json.loads(run_in_copy(package, EVERYTHING))
    return found


def test_a_declared_field_has_a_place_behind_all_others_in_the_row(shown: dict[str, Any]) -> None:
    assert shown["row"] == 2048
    assert shown["index"]["toys"] == len(WORKER_FIELDS)


def test_a_declared_field_is_a_metric(shown: dict[str, Any]) -> None:
    lines = shown["metrics"].splitlines()
    assert "# HELP prefork_toys_bytes_total toys that the worker has made" in lines
    assert "# TYPE prefork_toys_bytes_total counter" in lines
    labels = 'app="web",slot="0",generation="0",pid'
    assert f'prefork_toys_bytes_total{{{labels}="102"}} 4096' in lines


def test_a_declared_field_is_a_key_with_its_explanation(shown: dict[str, Any]) -> None:
    assert (shown["worker"], shown["app"]) == (2048, 3 * 2048)
    assert f" {'toys':<23}toys that the worker has made\n" in shown["help"]


def test_a_declared_field_is_a_column_and_a_sort_key(shown: dict[str, Any]) -> None:
    assert shown["app column"] == {"toy size": "6.0k"}
    assert shown["worker column"] == {"toy size": "2.0k"}
    assert shown["sorted"] == 3 * 2048


def test_a_declared_field_is_a_line_of_show(shown: dict[str, Any]) -> None:
    assert shown["lines"][-1] == ["toys", "6.0k of toys"]


def test_a_declared_field_is_a_column_of_the_status_page(shown: dict[str, Any]) -> None:
    page = shown["page"]
    assert page["columns"][-1] == {"key": "toys", "title": "toy size", "unit": "bytes"}
    assert [worker["toys"] for worker in page["workers"]] == [2048, 4096]


def test_a_master_of_an_older_version_leaves_the_column_empty(shown: dict[str, Any]) -> None:
    assert shown["unknown"] == ["-"]


def test_a_field_that_is_declared_later_moves_no_other() -> None:
    assert [field.name for field in WORKER_FIELDS][: len(POSITIONS)] == POSITIONS


def test_each_key_is_declared_once() -> None:
    keys = [value.key for value in VALUES]
    assert sorted(set(keys)) == sorted(keys)


def test_a_worker_and_an_app_have_the_same_keys() -> None:
    keys = {value.key for value in VALUES}
    assert set(worker_values(EMPTY_ROW, 0.0)) == set(app_values([], 0.0)) == keys


def test_what_no_worker_counts_is_none() -> None:
    program = {**EMPTY_ROW, "uncounted": NOTHING_COUNTED}
    counted = [key for key, value in worker_values(program, 0.0).items() if value is not None]
    assert counted == [], "in none of REQUEST_FIELDS, CONNECTION_FIELDS and ALIVE_FIELDS"
    main = {**EMPTY_ROW, "uncounted": uncounted_bits(REQUEST_FIELDS), "accepted": 3}
    known = {key for key, value in worker_values(main, 0.0).items() if value is not None}
    alive = set(ALIVE_FIELDS) & {value.key for value in VALUES}
    assert known == {*CONNECTION_FIELDS, *alive, "silent", "leads"}
    app = {**EMPTY_ROW, "requests": 5, "accepted": 1}
    assert app_values([program, main, app], 0.0)["requests"] == 5
    assert app_values([program, main, app], 0.0)["accepted"] == 4


def test_each_key_has_a_line_of_explanation() -> None:
    lines = explain_values("").splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        value.key for value in VALUES
    ]
    assert all(value.text for value in VALUES)


def test_each_unit_of_a_column_has_a_format() -> None:
    assert {value.unit for value in VALUES if value.column is not None} <= set(FORMATS)
