"""The text of /metrics, parsed by Prometheus' own parser, for all rows and names of apps."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from prefork.observe.status.metrics import DURATION, format_metrics, metric_name
from prefork.observe.status.metrics_reference import metrics_table
from prefork.printable import printable_line
from prefork.unix.scoreboard import EMPTY_ROW
from prefork.wire import histogram
from prefork.wire.fields import FIELDS, HEAD, STATES, WORKER_STATES, Field
from prefork.wire.scoreboard import (
    ALIVE_FIELDS,
    CONNECTION_FIELDS,
    NOTHING_COUNTED,
    REQUEST_FIELDS,
    TIMES,
    is_counted,
    uncounted_bits,
)

MEASURED = [*CONNECTION_FIELDS, *REQUEST_FIELDS, *ALIVE_FIELDS]
_NUMBER = {"Q": st.integers(0, 2**53), "d": st.floats(0, 1e12)}


def filled(fields: tuple[Field, ...], **also: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({field.name: _NUMBER[field.code] for field in fields} | also)


def times() -> st.SearchStrategy[list[int]]:
    counts = st.dictionaries(st.integers(0, histogram.BUCKET_COUNT - 1), st.integers(1, 2**40))
    return counts.map(lambda by: [by.get(bucket, 0) for bucket in range(histogram.BUCKET_COUNT)])


HEADS = filled(HEAD, state=st.integers(0, len(STATES) - 1))
ROWS = st.lists(
    filled(
        FIELDS,
        state=st.integers(0, len(WORKER_STATES) - 1),
        times=times(),
        uncounted=st.sets(st.sampled_from(MEASURED)).map(uncounted_bits),
    ),
    max_size=4,
    unique_by=lambda row: row["pid"],
)
EMPTY_HEAD = {field.name: 0 for field in HEAD}


def parsed(text: str) -> dict[str, Metric]:
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "a metric in two places"
    return {family.name: family for family in families}


def series(sample: Any) -> tuple[Any, ...]:
    return sample.name, tuple(sorted(sample.labels.items()))


@given(app=st.text(st.characters(codec=None, categories=None)), head=HEADS, rows=ROWS)
@example(app='a"b\\n\nc\\', head=EMPTY_HEAD, rows=[EMPTY_ROW])
def test_prometheus_parses_the_values_of_the_rows(
    app: str, head: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    memory = {row["pid"]: number for number, row in enumerate(rows)}
    found = parsed(format_metrics(app, head, rows, memory))
    every = [sample for family in found.values() for sample in family.samples]
    assert len(set(map(series, every))) == len(every), "a series twice"
    assert {sample.labels["app"] for sample in every} == {printable_line(app)}
    assert all(family.documentation and family.type != "unknown" for family in found.values())
    for row in rows:
        values = {
            (sample.name, sample.labels.get("class")): sample.value
            for sample in every
            if sample.labels.get("pid") == str(row["pid"])
        }
        for field in FIELDS:
            if field.kind:
                name, labels = metric_name(field)
                counter = "answered_2xx" if labels else field.name
                expected = row[field.name] if is_counted(row, counter) else None
                assert values.get((name, labels.get("class"))) == expected
        assert values["prefork_memory_bytes", None] == memory[row["pid"]]


@given(rows=ROWS)
def test_the_buckets_have_the_counts_of_the_histogram(rows: list[dict[str, Any]]) -> None:
    found = parsed(format_metrics("web", EMPTY_HEAD, rows, {}))
    buckets = defaultdict(list)
    sums = {}
    timed = [row for row in rows if is_counted(row, TIMES)]
    if rows and not timed:
        assert DURATION not in found
        return
    for sample in found[DURATION].samples:
        if sample.name.endswith("_bucket"):
            buckets[sample.labels["pid"]].append((float(sample.labels["le"]), sample.value))
        else:
            sums[sample.name, sample.labels["pid"]] = sample.value
    assert {pid for _, pid in sums} == {str(row["pid"]) for row in timed}
    for row in timed:
        pid = str(row["pid"])
        assert buckets[pid] == sorted(buckets[pid])
        for edge, count in buckets[pid]:
            below = [n for b, n in enumerate(row["times"]) if histogram.upper_bound(b) <= edge]
            assert count == float(sum(below))
        assert buckets[pid][-1] == (float("inf"), sums[DURATION + "_count", pid])
        assert sums[DURATION + "_sum", pid] == row["took"]


@pytest.mark.parametrize("fields", [HEAD, FIELDS])
def test_metric_names_follow_the_rules_of_prometheus(fields: tuple[Field, ...]) -> None:
    for field in fields:
        if field.kind:
            name, _ = metric_name(field)
            assert re.fullmatch("prefork_[a-z_]+", name)
            assert name.endswith("_total") == (field.kind == "counter")
            assert ("_seconds" in name) == (field.unit == "s")


def test_classes_of_responses_are_one_metric() -> None:
    row = {**EMPTY_ROW, "pid": 1, "answered_2xx": 7, "answered_5xx": 2}
    found = parsed(format_metrics("web", EMPTY_HEAD, [row], {}))
    values = {s.labels["class"]: s.value for s in found["prefork_answered"].samples}
    assert values == {"1xx": 0, "2xx": 7, "3xx": 0, "4xx": 0, "5xx": 2}


def test_a_worker_that_counts_nothing_has_no_metric_of_its_requests() -> None:
    row = {**EMPTY_ROW, "pid": 1, "state": 3, "uncounted": NOTHING_COUNTED}
    text = format_metrics("web", EMPTY_HEAD, [row], {1: 4096})
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names == {
        *(metric_name(field)[0] for field in HEAD if field.kind),
        *("prefork_state", "prefork_workers", "prefork_memory_bytes"),
    }
    assert 'prefork_memory_bytes{app="web",slot="0",generation="0",pid="1"} 4096' in text


def test_the_manual_has_each_metric_with_its_type() -> None:
    page = Path(__file__).parents[3] / "prefork" / "docs" / "status.md"
    assert metrics_table() in page.read_text(), "run scripts/docs"
    rows = [[cell.strip("` ") for cell in row.split("|")] for row in metrics_table().splitlines()]
    told = {row[1]: row[2] for row in rows[2:]}
    text = format_metrics("web", EMPTY_HEAD, [{**EMPTY_ROW, "pid": 1}], {1: 4096})
    types = [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE")]
    assert told == dict(types)
