"""Samples of the last minutes, and the last records of logs."""

from pathlib import Path
from typing import Any

from prefork.observe.status.history import MAX_SAMPLES, History
from prefork.observe.status.recent_records import MAX_RECORDS, TAIL_BYTES, read_recent_records
from prefork.unix.scoreboard import EMPTY_ROW
from prefork.wire import histogram
from prefork.wire.scoreboard import HEAD, NOTHING_COUNTED

HEADER: dict[str, Any] = {field.name: 0 for field in HEAD}


def row(worker: int, slot: int = 0, requests: int = 0, took: float = 0.01) -> dict[str, Any]:
    times = [0] * histogram.BUCKET_COUNT
    for bucket, count in histogram.count_by_bucket([took] * requests):
        times[bucket] += count
    return {**EMPTY_ROW, "worker": worker, "slot": slot, "requests": requests, "times": times}


def test_a_sample_describes_the_time_since_the_last_one() -> None:
    history = History()
    history.set_baseline([row(1, requests=1000, took=5.0)], now=10.0)
    later = row(1, requests=1000, took=5.0)
    more = row(1, requests=20, took=0.01)
    later["requests"] += 20
    later["times"] = [a + b for a, b in zip(later["times"], more["times"], strict=True)]
    history.add_sample(HEADER, [later], {1: 7}, now=12.0, at=100.0)
    (sample,) = history.since(0)
    assert sample["rate"] == 10.0
    assert 0.009 < sample["p50"] == sample["p99"] < 0.011
    assert sample["memory"] == 7
    assert history.since(100.0) == []


def test_a_new_worker_counts_from_zero_and_a_dead_one_subtracts_nothing() -> None:
    history = History()
    history.set_baseline([row(1, requests=50), row(2, slot=1, requests=5)], now=0.0)
    history.add_sample(
        HEADER, [row(3, requests=4), row(2, slot=1, requests=6)], {}, now=1.0, at=1.0
    )
    (sample,) = history.since(0)
    assert sample["rate"] == 5.0
    assert {slot: told["rate"] for slot, told in sample["slots"].items()} == {"0": 4.0, "1": 1.0}


def test_without_requests_there_are_no_quantiles() -> None:
    history = History()
    history.set_baseline([], now=0.0)
    history.add_sample(HEADER, [], {}, now=1.0, at=1.0)
    (sample,) = history.since(0)
    assert (sample["rate"], sample["p50"], sample["p99"]) == (0.0, None, None)


def test_the_number_of_samples_is_bounded() -> None:
    history = History()
    history.set_baseline([], now=0.0)
    for second in range(1, MAX_SAMPLES + 11):
        history.add_sample(HEADER, [], {}, now=float(second), at=float(second))
    kept = [sample["at"] for sample in history.since(0)]
    assert (len(kept), kept[0]) == (MAX_SAMPLES, 11.0)


def records(*paths: Path) -> list[dict[str, Any]]:
    files = [path.open("rb") for path in paths]
    try:
        return read_recent_records([file.fileno() for file in files])
    finally:
        for file in files:
            file.close()


def test_records_of_several_files_are_merged_by_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text(
        "2026-01-01 00:00:01.000 [7] INFO first\n"
        "2026-01-01 00:00:03.000 [7] ERROR third\nTraceback\n  of it\n"
    )
    other.write_bytes(b"2026-01-01 00:00:02.000 [8] 1 err <b>second</b> \xff\nunfinished")
    found = records(one, other)
    assert [each["text"] for each in found] == [
        "INFO first",
        "<b>second</b> \\xff",
        "ERROR third",
        "Traceback",
        "  of it",
    ]
    assert (found[1]["slot"], found[1]["stream"]) == (1, "err")
    assert found[3]["time"] == found[2]["time"]


def test_only_the_end_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = "2026-01-01 00:00:01.000 [7] 0 out {:06d} " + "x" * 50 + "\n"
    path.write_text("".join(line.format(number) for number in range(TAIL_BYTES // 40)))
    found = records(path)
    assert len(found) == MAX_RECORDS
    numbers = [int(each["text"][:6]) for each in found]
    assert numbers == list(range(numbers[0], numbers[0] + MAX_RECORDS))
    assert numbers[-1] == TAIL_BYTES // 40 - 1


def test_the_first_line_that_is_read_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = "2026-01-01 00:00:01.000 [7] 0 out {:02d}" + "x" * 3000 + "\n"
    path.write_text("".join(line.format(number) for number in range(40)))
    numbers = [int(each["text"][:2]) for each in records(path)]
    assert numbers == list(range(numbers[0], 40))
    assert numbers[0] > 0


def test_an_empty_log_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    assert records(path) == []


def test_what_no_worker_counts_is_none_in_a_sample() -> None:
    history = History()
    program = {**row(1), "uncounted": NOTHING_COUNTED}
    history.set_baseline([program], now=0.0)
    history.add_sample(HEADER, [program], {}, now=1.0, at=1.0)
    (sample,) = history.since(0)
    counted = ("rate", "errors", "p50", "p99", "in_flight", "connections")
    assert {sample[name] for name in counted} == {None}
    assert sample["slots"] == {"0": {"rate": None, "busy": None, "in_flight": None}}
    history.add_sample(HEADER, [program, row(2, 1, requests=3)], {}, now=2.0, at=2.0)
    assert history.since(1.0)[0]["rate"] == 3.0
