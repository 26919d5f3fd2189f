"""Compute the values for people and programs from the rows of the scoreboard. PURE.

Their keys, formulas and explanations follow from the declarations (wire/fields.py).
"""

import textwrap
from collections.abc import Mapping
from typing import Any

from prefork.wire.fields import VALUES
from prefork.wire.row_formulas import RowReadings
from prefork.wire.scoreboard import is_counted

KEY_WIDTH = 23
"""Width of the column of keys in the explanation, in characters."""

TEXT_WIDTH = 68
"""Width of the column of texts beside it."""


def worker_values(row: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the values of one worker at ``now`` (monotonic).

    ``row``: as ``unix.scoreboard.Rows`` reads it. Times are in seconds.
    """
    return app_values([row], now)


def app_values(rows: RowReadings, now: float) -> dict[str, Any]:
    """Return the values of all given workers together, with the keys of ``worker_values``.

    They are sums, maxima (lag, oldest, silent) and the quantiles of all requests. Workers that have
    ended are not included. None: no worker counts what the value is made of.
    """
    values: dict[str, Any] = {}
    for value in VALUES:
        counted = [row for row in rows if is_counted(row, value.made_of or value.key)]
        is_known = counted or not rows
        values[value.key] = value.formula(value.key, counted, now) if is_known else None
    return values


def explain_values(indent: str) -> str:
    """Return a line for each key with its explanation; longer ones are folded."""
    blank = " " * KEY_WIDTH
    return "\n".join(
        textwrap.fill(
            value.text,
            len(indent) + KEY_WIDTH + TEXT_WIDTH,
            initial_indent=indent + value.key.ljust(KEY_WIDTH),
            subsequent_indent=indent + blank,
        )
        for value in VALUES
    )
