"""The table of the metrics in the manual, made from their declarations by ``scripts/docs``."""

from collections.abc import Iterator

from prefork.observe.status.metrics import (
    CLASSES_TEXT,
    DURATION,
    DURATION_TEXT,
    MEMORY,
    MEMORY_TEXT,
    STATE_TEXT,
    WORKERS_TEXT,
    metric_name,
)
from prefork.wire.fields import FIELDS, HEAD

_APP, _WORKER = "app", "worker"
"""The subject of a metric. Metrics of workers have the labels slot, generation and pid as well."""


def metrics_table() -> str:
    """Return the table of all metrics, in Markdown."""
    lines = ["| metric | type | of | meaning |", "|---|---|---|---|"]
    lines += dict.fromkeys(_rows())  # the fields of a class are one metric
    return "\n".join(lines) + "\n"


def _rows() -> Iterator[str]:
    for field in HEAD:
        if field.kind:
            yield _row(metric_name(field)[0], field.kind, _APP, field.text)
    yield _row("prefork_state", "gauge", f"{_APP}, by `state`", STATE_TEXT)
    yield _row("prefork_workers", "gauge", f"{_APP}, by `state`", WORKERS_TEXT)
    for field in FIELDS:
        if field.kind:
            name, also = metric_name(field)
            text = CLASSES_TEXT if also else field.text
            labels = "".join(f", by `{label}`" for label in also)
            yield _row(name, field.kind, _WORKER + labels, text)
    yield _row(MEMORY, "gauge", _WORKER, MEMORY_TEXT)
    yield _row(DURATION, "histogram", _WORKER, DURATION_TEXT)


def _row(name: str, kind: str, of: str, text: str) -> str:
    return f"| `{name}` | {kind} | {of} | {text} |"
