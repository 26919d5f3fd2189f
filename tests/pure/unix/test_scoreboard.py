"""The scoreboard: its layout, its memory, and the values that are read from it."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.http.load import CONNECTION, REQUEST, UNAVAILABLE, Load, count_requests
from prefork.unix import shared_memory
from prefork.unix.scoreboard import (
    DEADLINE,
    EMPTY_ROW,
    SEQUENCE,
    WORKER,
    Scoreboard,
    open_scoreboard,
)
from prefork.wire import histogram
from prefork.wire.row_formulas import RATE_TIME_CONSTANT, STALE_AFTER
from prefork.wire.row_values import app_values, worker_values
from prefork.wire.scoreboard import (
    FIELD_INDEX,
    FIELDS,
    HEAD,
    HISTOGRAM_INDEX,
    MASTER_SIZE,
    ROWS,
    VERSION,
    row_offset,
)
from tests.pure.children import fork_child

REQUESTS = FIELD_INDEX["requests"]


def test_the_parent_reads_what_a_child_writes_into_its_row() -> None:
    board = Scoreboard()
    other, row = board.acquire_row(8), board.acquire_row(9)

    def life() -> int:
        row.floats[DEADLINE] = 1.5
        row.counts[REQUESTS] = 3
        return 0

    fork_child(life).reap()
    assert (row.record[WORKER], row.floats[DEADLINE], row.counts[REQUESTS]) == (9, 1.5, 3)
    assert (other.record[WORKER], other.floats[DEADLINE], other.counts[REQUESTS]) == (8, 0.0, 0)


def test_a_released_row_is_clean_and_comes_back() -> None:
    board = Scoreboard()
    rows = [board.acquire_row(number + 1) for number in range(ROWS)]
    assert len({row.number for row in rows}) == ROWS
    rows[5].counts[REQUESTS] = 7
    board.release_row(rows[5])
    again = board.acquire_row(99)
    assert again.number == rows[5].number
    assert (again.record[WORKER], again.counts[REQUESTS]) == (99, 0)


def test_an_acquired_row_is_clean_although_a_process_of_its_last_owner_wrote_to_it() -> None:
    board = Scoreboard()
    row = board.acquire_row(1)
    board.release_row(row)

    def life() -> int:
        row.counts[:] = memoryview(b"\xff" * len(row.counts) * 8).cast("Q")
        row.loads[row.number] = 5
        return 0

    fork_child(life).reap()
    again = board.acquire_row(2)
    assert again.number == row.number
    assert {**again.read(), "worker": 0} == EMPTY_ROW


def test_there_is_no_row_beyond_the_last() -> None:
    with pytest.raises(IndexError, match="4096"):
        row_offset(ROWS)


def test_every_field_has_a_description() -> None:
    for fields in (HEAD, FIELDS):
        assert len({field.name for field in fields}) == len(fields)
        for field in fields:
            assert field.text
            assert field.code in "Qd"
            assert field.writer in ("master", "worker")
            assert field.kind in ("", "counter", "gauge")


def test_other_processes_read_the_scoreboard_by_the_masters_descriptor() -> None:
    board = Scoreboard()
    board.set_head_fields(target=3, began=1.5)
    row = board.acquire_row(7)
    row.counts[REQUESTS] = 12
    board.set_row_fields(row, slot=2)
    seen = open_scoreboard(board.path)
    assert (seen.head()["pid"], seen.head()["target"], seen.head()["began"]) == (
        os.getpid(),
        3,
        1.5,
    )
    (read,) = seen
    assert (read["worker"], read["slot"], read["requests"], read["load"]) == (7, 2, 12, UNAVAILABLE)
    board.release_row(row)
    assert list(seen) == []
    path = board.path
    board.close_copy()
    with pytest.raises(FileNotFoundError):
        open_scoreboard(path)


def test_a_file_that_is_no_scoreboard_is_refused() -> None:
    fd = os.memfd_create("other")
    os.ftruncate(fd, MASTER_SIZE)
    with pytest.raises(ValueError, match="not a scoreboard: its size may change"):
        open_scoreboard(f"/proc/self/fd/{fd}")
    os.close(fd)
    fd = shared_memory.create_sealed_file("other", MASTER_SIZE)
    with pytest.raises(ValueError, match=r"^not a scoreboard$"):
        open_scoreboard(f"/proc/self/fd/{fd}")
    os.close(fd)


def test_a_scoreboard_of_another_version_is_refused_by_its_number() -> None:
    board = Scoreboard()
    board.set_head_fields(magic=int.from_bytes(b"prefork1", "little"))
    with pytest.raises(ValueError, match=f"a scoreboard of version '1', .* version {VERSION}$"):
        open_scoreboard(board.path)
    board.close_copy()


def test_a_row_that_is_being_written_is_torn() -> None:
    row = Scoreboard().acquire_row(1)
    assert row.read()["torn"] is False
    row.counts[SEQUENCE] += 1
    assert row.read()["torn"] is True


@given(st.floats(min_value=1e-5, max_value=200.0))
def test_a_time_is_told_within_a_tenth(seconds: float) -> None:
    ((bucket, count),) = histogram.count_by_bucket([seconds])
    counts = [0] * histogram.BUCKET_COUNT
    counts[bucket] = count
    assert histogram.quantile(counts, 0.5) == pytest.approx(seconds, rel=0.1)
    assert (
        (histogram.upper_bound(bucket - 1) if bucket else 0.0)
        <= seconds
        <= histogram.upper_bound(bucket)
    )


def test_times_beyond_both_ends_are_counted_there() -> None:
    counts = [0] * histogram.BUCKET_COUNT
    for bucket, count in histogram.count_by_bucket([0.0, 1e-9, 5000.0, 5000.0]):
        counts[bucket] += count
    assert (counts[0], counts[-1]) == (2, 2)
    assert histogram.upper_bound(histogram.BUCKET_COUNT - 1) == math.inf
    assert histogram.quantile([0] * (histogram.BUCKET_COUNT - 1) + [1], 0.5) > 200
    assert histogram.quantile([0] * histogram.BUCKET_COUNT, 0.5) == 0.0
    assert 0 < histogram.quantile([1] + [0] * (histogram.BUCKET_COUNT - 1), 0.5) < 1e-5


@given(st.lists(st.floats(min_value=1e-5, max_value=200.0), min_size=1), st.floats(0, 1))
def test_a_quantile_is_one_of_the_times(times: list[float], share: float) -> None:
    counts = [0] * histogram.BUCKET_COUNT
    for bucket, count in histogram.count_by_bucket(times):
        counts[bucket] += count
    assert sum(counts) == len(times)
    exact = sorted(times)[max(0, math.ceil(share * len(times)) - 1)]
    assert histogram.quantile(counts, share) == pytest.approx(exact, rel=0.1)


def test_recent_figures_of_a_silent_worker_fade() -> None:
    row = Scoreboard().acquire_row(1)
    row.floats[FIELD_INDEX["beat"]], row.floats[FIELD_INDEX["rate"]] = 100.0, 7.0
    row.floats[FIELD_INDEX["oldest"]] = 99.0
    assert worker_values(row.read(), 100.5)["rate"] == 7.0
    later = worker_values(row.read(), 100.5 + STALE_AFTER)
    assert (later["rate"], later["lag"], later["oldest"]) == (
        0.0,
        0.5 + STALE_AFTER,
        1.5 + STALE_AFTER,
    )
    row.clear()
    assert worker_values(row.read(), 100.0)["silent"] == 0.0


def test_an_idle_worker_is_silent_only_when_its_beat_is_overdue_and_its_rate_fades() -> None:
    row = Scoreboard().acquire_row(1)
    row.floats[FIELD_INDEX["beat"]], row.floats[FIELD_INDEX["due"]] = 100.0, 108.0
    row.floats[FIELD_INDEX["rate"]] = 7.0
    then = worker_values(row.read(), 107.0)
    assert (then["silent"], then["lag"]) == (0.0, 0.0)
    assert then["rate"] == pytest.approx(7.0 * math.exp(-7.0 / RATE_TIME_CONSTANT), abs=0.001)
    late = worker_values(row.read(), 108.5 + STALE_AFTER)
    assert (late["silent"], late["lag"], late["rate"]) == (
        0.5 + STALE_AFTER,
        0.5 + STALE_AFTER,
        0.0,
    )
    row.floats[FIELD_INDEX["due"]] = 100.25
    assert worker_values(row.read(), 101.0)["rate"] == 7.0, "it is only late"


def test_all_workers_together_are_their_sums_the_worst_and_the_quantiles_of_all_requests() -> None:
    board = Scoreboard()
    rows = [board.acquire_row(1), board.acquire_row(2)]
    for row, requests, took, asked in zip(rows, (90, 10), (0.001, 1.0), (4, 0), strict=True):
        row.counts[REQUESTS] = row.counts[FIELD_INDEX["answered_2xx"]] = requests
        row.counts[FIELD_INDEX["accept_asked"]] = asked
        row.floats[FIELD_INDEX["accept_wait"]] = asked * 0.25
        row.floats[FIELD_INDEX["beat"]] = row.floats[FIELD_INDEX["oldest"]] = 100.0 - took
        row.floats[FIELD_INDEX["rate"]] = 2.5
        for bucket, count in histogram.count_by_bucket([took] * requests):
            row.counts[HISTOGRAM_INDEX + bucket] = count
    values = app_values([row.read() for row in rows], 100.0)
    assert (values["requests"], values["answered"]["2xx"], values["rate"]) == (100, 100, 5.0)
    assert (values["oldest"], values["silent"], values["accept_wait"]) == (1.0, 1.0, 0.25)
    assert values["p50"] == pytest.approx(0.001, rel=0.1)
    assert values["p99"] == pytest.approx(1.0, rel=0.1)
    assert set(values) == set(worker_values(rows[0].read(), 100.0))


@given(st.lists(st.sampled_from(["accept", "begin", "end", "hide", "show"]), max_size=30))
def test_requests_in_flight_are_those_of_this_moment(steps: list[str]) -> None:
    """Also while siblings see no load; a connection without a request is none."""
    row = Scoreboard().acquire_row(1)
    load = Load(row.loads, row.number, row.own_words)
    load.mark_available()
    row.floats[FIELD_INDEX["due"]] = 50.0
    pending = running = 0
    for step in steps:
        if step == "accept":
            load.add(CONNECTION)
            load.add_expected_requests(+1)
            pending += 1
        elif step == "begin" and pending:
            load.add_expected_requests(-1)
            load.add(REQUEST)
            pending, running = pending - 1, running + 1
        elif step == "end" and running:
            load.add(-REQUEST)
            running -= 1
        elif step == "hide":
            load.mark_unavailable()
        elif step == "show":
            load.mark_available()
        values = worker_values(row.read(), 60.0)
        assert values["in_flight"] == running
        assert values["oldest"] == (10.0 if running else 0.0), "as old as the heartbeat is late"


def test_requests_of_the_last_heartbeat_are_shown_where_no_load_is_told() -> None:
    """As of a program, which reports its figures."""
    row = Scoreboard().acquire_row(1)
    row.counts[FIELD_INDEX["in_flight"]], row.floats[FIELD_INDEX["oldest"]] = 3, 40.0
    values = worker_values(row.read(), 60.0)
    assert (values["in_flight"], values["oldest"]) == (3, 20.0)


def test_the_age_of_the_last_heartbeat_stands_while_its_request_runs() -> None:
    row = Scoreboard().acquire_row(1)
    load = Load(row.loads, row.number, row.own_words)
    load.add(CONNECTION + REQUEST)
    row.counts[FIELD_INDEX["in_flight"]], row.floats[FIELD_INDEX["oldest"]] = 1, 40.0
    assert worker_values(row.read(), 60.0)["oldest"] == 20.0
    load.add(-REQUEST)
    assert worker_values(row.read(), 60.0)["oldest"] == 0.0, "it has ended since"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_the_words_of_a_hostile_worker_make_a_plausible_number(
    word: int, hidden: int, expected: int
) -> None:
    counted = count_requests(word, hidden, expected)
    assert counted is None or 0 <= counted <= 2**20


def test_the_sum_of_no_workers_is_zero() -> None:
    values = app_values([], 100.0)
    assert (values["requests"], values["oldest"], values["accept_wait"], values["p99"]) == (
        0,
        0,
        0,
        0,
    )
