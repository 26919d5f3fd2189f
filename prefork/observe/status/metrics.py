"""The scoreboard as metrics: the text format of Prometheus, version 0.0.4.

Names, kinds and help follow from the declarations of the fields (wire/scoreboard.py), so a new
field is a new metric. A worker is told apart by its pid as well, because an heir and its incumbent
share slot and generation for a while, and a counter must never get smaller.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prefork.printable import printable_line
from prefork.wire import histogram
from prefork.wire.scoreboard import FIELDS, HEAD, STATES, WORKER_STATES, Field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DURATION = "prefork_request_duration_seconds"

_UNITS = {"s": "_seconds", "bytes": "_bytes", "1/s": "_per_second"}
_CLASS = re.compile(r"(.+)_(\dxx)")
_SUM = "took"
"""The field that is the sum of the histogram."""

_OCTAVES = range(-11, 7)
_EDGES = [
    next(b for b in range(histogram.BUCKET_COUNT) if histogram.upper_bound(b) == 2.0**n)
    for n in _OCTAVES
]
"""Buckets at whose ends the metric's own buckets end: powers of two from 0.5 ms to 64 s, which are
ends of the histogram's, too, so that nothing is guessed."""

Labels = Mapping[str, object]


def format_metrics(
    app: str,
    head: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    memory: Mapping[int, int],
) -> str:
    """All metrics. ``memory``: resident bytes by pid."""
    lines = [*_of_master(app, head), *_of_states(app, rows)]
    for field in FIELDS:
        if field.kind and field.name != _SUM:
            lines += _of_field(app, field, rows)
    lines += _described("prefork_memory_bytes", "gauge", "resident memory of the worker")
    for row in rows:
        if row["pid"] in memory:
            lines.append(_line("prefork_memory_bytes", _labels(app, row), memory[row["pid"]]))
    lines += _of_times(app, rows)
    return "\n".join(lines) + "\n"


def name_of(field: Field) -> tuple[str, dict[str, str]]:
    """The metric that a field is, and the labels that its name stands for."""
    base, labels = field.name, {}
    if found := _CLASS.fullmatch(base):
        base, labels = found[1], {"class": found[2]}
    unit = _UNITS.get(field.unit, "")
    return f"prefork_{base}{unit}{'_total' if field.kind == 'counter' else ''}", labels


def _of_master(app: str, head: Mapping[str, Any]) -> Iterator[str]:
    for field in HEAD:
        if field.kind:
            name, _ = name_of(field)
            yield from _described(name, field.kind, field.text)
            yield _line(name, {"app": app}, head[field.name])
    yield from _described("prefork_state", "gauge", "1 for the state that the master is in")
    for number, state in enumerate(STATES):
        if state:
            labels = {"app": app, "state": state}
            yield _line("prefork_state", labels, int(number == head["state"]))


def _of_states(app: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    states = [row["state"] for row in rows]
    yield from _described("prefork_workers", "gauge", "workers by their state")
    for number, state in enumerate(WORKER_STATES):
        if state:
            yield _line("prefork_workers", {"app": app, "state": state}, states.count(number))


def _of_field(app: str, field: Field, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    name, also = name_of(field)
    if also.get("class") in (None, "1xx"):  # the first of several that are one metric
        yield from _described(
            name, field.kind, "answers by the class of their status" if also else field.text
        )
    for row in rows:
        yield _line(name, {**_labels(app, row), **also}, row[field.name])


def _of_times(app: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield from _described(DURATION, "histogram", "times that requests took")
    for row in rows:
        labels = _labels(app, row)
        so_far = list(accumulate(row["times"]))
        for edge in _EDGES:
            bound = _number(histogram.upper_bound(edge))
            yield _line(f"{DURATION}_bucket", {**labels, "le": bound}, so_far[edge])
        yield _line(f"{DURATION}_bucket", {**labels, "le": "+Inf"}, so_far[-1])
        yield _line(f"{DURATION}_sum", labels, row[_SUM])
        yield _line(f"{DURATION}_count", labels, so_far[-1])


def _labels(app: str, row: Mapping[str, Any]) -> dict[str, object]:
    return {"app": app, **{name: row[name] for name in ("slot", "generation", "pid")}}


def _described(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {_escaped(text)}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, labels: Labels, value: float) -> str:
    told = ",".join(f'{key}="{_quoted(str(text))}"' for key, text in labels.items())
    return f"{name}{{{told}}} {_number(value)}"


def _number(value: float) -> str:
    return repr(value) if isinstance(value, int) else repr(float(value)).removesuffix(".0")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(printable_line(text)).replace('"', '\\"')
