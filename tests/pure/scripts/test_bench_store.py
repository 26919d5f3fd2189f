"""scripts/bench store: the calls of an operation, percentiles, tables, targets."""

import json
from pathlib import Path

import pytest
from benchmarks.report import PAGE, replace_section
from benchmarks.store import __main__ as command
from benchmarks.store.clients import CLIENTS, Calls, script_of
from benchmarks.store.driver import carry_out, summarize
from benchmarks.store.results import Cell, Run, StoreFigures, as_json, from_json, render_tables
from benchmarks.store.stores import NEAREST_REDIS, OPERATIONS, OURS, PROCESSES, STORES, why_missing

ABOUT = {
    "date": "2026-01-02 03:04+00:00",
    "rounds": 3,
    "seconds": 0.4,
    "machine": {"cores": "2"},
    "versions": {"lmdb": "3"},
}


def cell(*medians: int) -> Cell:
    return Cell(list(medians), [10 * each for each in medians], [1000 * each for each in medians])


RUN: Run = {
    OURS: StoreFigures(
        {
            f"{operation} {count}": cell(2000, 9000, 4000)
            for operation in OPERATIONS
            for count in PROCESSES
        }
    ),
    NEAREST_REDIS: StoreFigures(
        {"get 1": cell(40_000), "set 1": cell(8000)}, {"incr": "ConnectionError: refused"}
    ),
}


def cells(line: str) -> list[str]:
    return [each.strip() for each in line.strip("|").split("|")]


def row(text: str, lines: list[str]) -> list[str]:
    return next(cells(line) for line in lines if line.startswith(f"| {text}"))


def test_a_row_has_the_median_of_the_rounds_and_the_worst_of_all() -> None:
    assert row(OURS, render_tables(RUN))[:4] == [OURS, "4.0", "40", "9.0"]


def test_what_was_not_measured_is_a_dash() -> None:
    assert row(NEAREST_REDIS, render_tables(RUN))[4:7] == ["-", "-", "-"]


def test_targets_are_judged_and_failures_told() -> None:
    lines = render_tables(RUN)
    assert row("get in at most 5 µs", lines)[1:] == ["4.0", "4.0", "4.0"]
    assert row("get, times faster", lines)[1:] == ["10.0", "?", "?"]
    assert row("set, times faster", lines)[1] == "2.0, missed"
    assert lines[-1] == f"{NEAREST_REDIS} failed (incr): ConnectionError: refused"


def test_a_run_survives_the_way_through_json_without_unknown_stores() -> None:
    found = json.loads(json.dumps(as_json(RUN) | {"etcd": {}}))
    assert from_json(found) == RUN


def test_percentiles_are_those_of_sorted_latencies() -> None:
    assert summarize([]) == {"calls": 0}
    assert summarize([7]) == {"calls": 1, "median_ns": 7, "p999_ns": 7, "worst_ns": 7}
    found = summarize(list(range(10_000)))
    assert (found["median_ns"], found["p999_ns"], found["worst_ns"]) == (5000, 9990, 9999)


def test_a_mix_is_nine_gets_and_a_set() -> None:
    calls = Calls(str.lower, str.upper)
    mixed = [call for call, _ in script_of(calls, "mixed")]
    assert mixed.count(calls.set) * 9 == mixed.count(calls.get)
    with pytest.raises(LookupError):
        script_of(calls, "incr")


def test_each_store_has_a_client_and_a_store_without_its_library_is_left_out() -> None:
    assert {store.client for store in STORES} == set(CLIENTS)
    for store in STORES:
        assert store.over.format(folder="/f", socket="/s", port=1)
    assert why_missing(STORES[3], {}) == "redis is not installed"


@pytest.mark.parametrize("client", ["prefork", "lmdb", "sqlite"])
def test_processes_measure_a_store_of_this_machine(client: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    address = str(tmp_path / "lmdb") if client == "lmdb" else str(tmp_path)
    Path(address).mkdir(exist_ok=True)
    assert carry_out(client, address, "fill", 1, 0) == {"calls": 0}
    for operation in OPERATIONS:
        found = carry_out(client, address, operation, 2, 0.01)
        assert found["calls"] >= 2
        assert 0 < found["median_ns"] <= found["p999_ns"] <= found["worst_ns"]


def test_a_process_that_fails_is_told() -> None:
    found = carry_out("sqlite", "/nowhere", "get", 2, 0.01)
    assert found["error"].startswith("OperationalError: unable to open")


def test_the_manual_has_the_markers() -> None:
    page = (Path(__file__).parents[3] / PAGE).read_text()
    lines = command.render_section(ABOUT, RUN)
    assert "times faster than" in replace_section(page, "store", lines)
