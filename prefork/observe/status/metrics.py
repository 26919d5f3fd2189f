"""Format the scoreboard as metrics, in the text format of Prometheus, version 0.0.4.

Names, types and help texts follow from the declarations of the scoreboard's fields
(wire/fields.py), so that a new field is a new metric.

Design
------
- **Each worker has a time series of its own, by the label pid.** By slot and generation alone, an
  heir and its incumbent would share one series, whose sum becomes smaller when one of them ends,
  which looks like a restart.
- **What no process counts is absent,** samples and header: a program that reports no requests has
  no ``prefork_requests_total``, rather than one that is always 0 and looks like an idle app.
- **The buckets of the histogram end at powers of two,** where the buckets of the scoreboard's own
  histogram do, so that the counts are exact.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prefork.printable import printable_line
from prefork.wire import histogram
from prefork.wire.fields import FIELDS, HEAD, STATES, WORKER_STATES, Field
from prefork.wire.scoreboard import TIMES, is_counted

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MEMORY = "prefork_memory_bytes"
DURATION = "prefork_request_duration_seconds"
STATE_TEXT = "1 for the state that the master is in"
WORKERS_TEXT = "workers by their state"
CLASSES_TEXT = "answers by the class of their status"
DURATION_TEXT = "times that requests took"
MEMORY_TEXT = "memory of the worker and the processes below it; shared pages are divided (PSS)"

_UNITS = {"s": "_seconds", "bytes": "_bytes", "1/s": "_per_second"}
_CLASS = re.compile(r"(.+)_(\dxx)")

_OCTAVES = range(-11, 7)
_EDGES = [
    next(b for b in range(histogram.BUCKET_COUNT) if histogram.upper_bound(b) == 2.0**n)
    for n in _OCTAVES
]
"""Indexes of the scoreboard's buckets whose ends are the bounds of the metric's buckets: powers of
two from 0.5 ms to 64 s."""

Labels = Mapping[str, object]


def format_metrics(
    app: str,
    head: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    memory: Mapping[int, int],
) -> str:
    """Return all metrics of an app as text.

    ``head`` is the master's row of the scoreboard, ``rows`` are those of the workers, and
    ``memory`` holds bytes by pid.
    """
    lines = [*_format_master(app, head), *_format_states(app, rows)]
    for field in FIELDS:
        if field.kind:
            lines += _format_field(app, field, rows)
    lines += _format_header(MEMORY, "gauge", MEMORY_TEXT)
    for row in rows:
        if row["pid"] in memory:
            lines.append(_format_sample(MEMORY, _labels(app, row), memory[row["pid"]]))
    lines += _format_durations(app, rows)
    return "\n".join(lines) + "\n"


def metric_name(field: Field) -> tuple[str, dict[str, str]]:
    """Return the metric name of a scoreboard field, and the labels that are part of its name."""
    base, labels = field.name, {}
    if found := _CLASS.fullmatch(base):
        base, labels = found[1], {"class": found[2]}
    unit = _UNITS.get(field.unit, "")
    return f"prefork_{base}{unit}{'_total' if field.kind == 'counter' else ''}", labels


def _format_master(app: str, head: Mapping[str, Any]) -> Iterator[str]:
    for field in HEAD:
        if field.kind:
            name, _ = metric_name(field)
            yield from _format_header(name, field.kind, field.text)
            yield _format_sample(name, {"app": app}, head[field.name])
    yield from _format_header("prefork_state", "gauge", STATE_TEXT)
    for number, state in enumerate(STATES):
        if state:
            labels = {"app": app, "state": state}
            yield _format_sample("prefork_state", labels, int(number == head["state"]))


def _format_states(app: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    states = [row["state"] for row in rows]
    yield from _format_header("prefork_workers", "gauge", WORKERS_TEXT)
    for number, state in enumerate(WORKER_STATES):
        if state:
            yield _format_sample(
                "prefork_workers", {"app": app, "state": state}, states.count(number)
            )


def _format_field(app: str, field: Field, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    name, also = metric_name(field)
    # The five fields of a class share one metric, and one process counts all of them or none.
    shared = "answered_2xx" if also else field.name
    counted = [row for row in rows if is_counted(row, shared)]
    if also.get("class") in (None, "1xx") and (counted or not rows):
        yield from _format_header(name, field.kind, CLASSES_TEXT if also else field.text)
    for row in counted:
        yield _format_sample(name, {**_labels(app, row), **also}, row[field.name])


def _format_durations(app: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    counted = [row for row in rows if is_counted(row, TIMES)]
    if counted or not rows:
        yield from _format_header(DURATION, "histogram", DURATION_TEXT)
    for row in counted:
        labels = _labels(app, row)
        so_far = list(accumulate(row["times"]))
        for edge in _EDGES:
            bound = _format_number(histogram.upper_bound(edge))
            yield _format_sample(f"{DURATION}_bucket", {**labels, "le": bound}, so_far[edge])
        yield _format_sample(f"{DURATION}_bucket", {**labels, "le": "+Inf"}, so_far[-1])
        yield _format_sample(f"{DURATION}_sum", labels, row["took"])
        yield _format_sample(f"{DURATION}_count", labels, so_far[-1])


def _labels(app: str, row: Mapping[str, Any]) -> dict[str, object]:
    return {"app": app, **{name: row[name] for name in ("slot", "generation", "pid")}}


def _format_header(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {_escape_help(text)}"
    yield f"# TYPE {name} {kind}"


def _format_sample(name: str, labels: Labels, value: float) -> str:
    pairs = ",".join(f'{key}="{_escape_label(str(text))}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {_format_number(value)}"


def _format_number(value: float) -> str:
    return repr(value) if isinstance(value, int) else repr(float(value)).removesuffix(".0")


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_label(text: str) -> str:
    return _escape_help(printable_line(text)).replace('"', '\\"')
