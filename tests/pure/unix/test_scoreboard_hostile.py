"""Every reader makes finite numbers of any bits in a worker's row, and none raises."""

import json
import math
import os
import struct
import time
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from prefork.cli.registry.windowed_stats import WindowedStats
from prefork.master.autoscale_readings import WorkerLoadSampler
from prefork.observe.status.history import History
from prefork.observe.status.metrics import format_metrics
from prefork.observe.status.scoreboard_view import ScoreboardView
from prefork.pool.scaling import Bounds, Reading, Scaler
from prefork.unix.poller import LONGEST_WAIT, Poller
from prefork.unix.scoreboard import SEQUENCE, Row, Scoreboard
from prefork.wire.row_values import app_values, worker_values
from prefork.wire.scoreboard import ROW_SIZE

BOARD = Scoreboard()
HOSTILE = [BOARD.acquire_row(1), BOARD.acquire_row(2)]
for each in HOSTILE:
    BOARD.set_row_fields(each, pid=os.getpid(), slot=each.number, state=3)

WORDS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.floats(width=64).map(lambda value: int.from_bytes(struct.pack("=d", value), "little")),
    st.sampled_from(
        [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
        + [
            int.from_bytes(struct.pack("=d", value), "little")
            for value in (math.nan, math.inf, -math.inf, -1.0, 1e300, 5e-324, 1e12)
        ]
    ),
)
BITS = st.lists(WORDS, min_size=8, max_size=32)


def fill(row: Row, words: list[int]) -> None:
    """Repeat ``words`` over the whole row, as a hostile worker could at any moment."""
    for place in range(ROW_SIZE // 8):
        row.counts[place] = words[place % len(words)]
    row.loads[row.number] = words[0]


@given(BITS, BITS, st.floats(0.0, 1e9))
def test_readers_make_finite_numbers_of_any_bits(
    first: list[int], second: list[int], now: float
) -> None:
    sampler, lately, history, scaler = (
        WorkerLoadSampler(),
        WindowedStats(),
        History(),
        Scaler(Bounds(1, 8)),
    )
    view = ScoreboardView("web", BOARD.rows, 1)
    view.note_viewer()
    for step, words in enumerate((first, second, [0])):
        for row in HOSTILE:
            fill(row, words)
        rows, at = list(BOARD.rows), now + step + 1
        assert [row["worker"] for row in rows] == [1, 2]
        busy, lag, wait = sampler.sample({row["worker"]: row for row in rows}, at)
        numbers = {"busy": busy, "lag": lag, "wait": wait}
        scaler.decide(Reading(target=2, ready=2, **numbers), at)
        history.add_sample(BOARD.rows.head(), rows, {}, at, at)
        view.sample()
        seen = [
            numbers,
            *(worker_values(row, at) for row in rows),
            app_values(rows, at),
            lately.add_to({"workers": rows}, rows, at)["figures"],
            history.since(0.0),
            view.status(0.0),
        ]
        json.dumps(seen, allow_nan=False)
        values = [
            line.split()[-1] for line in format_metrics("web", view.head(), rows, {}).splitlines()
        ]
        assert not {"nan", "inf", "-inf"} & set(values)


def test_a_row_that_is_always_being_written_costs_a_reader_little() -> None:
    row = Scoreboard().acquire_row(1)
    row.counts[SEQUENCE] = 1
    began = time.thread_time()
    assert row.read()["torn"]
    assert time.thread_time() - began < 0.1


@pytest.mark.parametrize("seconds", [LONGEST_WAIT * 1000, 2.0**31, 1e300, math.inf])
def test_a_deadline_however_far_away_is_waited_for(tmp_path: Path, seconds: float) -> None:
    poller = Poller()
    reader, writer = os.pipe()
    heard: list[int] = []
    poller.add_reader(reader, lambda: heard.append(reader))
    os.write(writer, b"x")
    for react in poller.wait(seconds):
        react()
    assert heard == [reader]
    poller.close_copy()
    os.close(reader)
    os.close(writer)
