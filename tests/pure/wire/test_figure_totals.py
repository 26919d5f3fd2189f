"""The sums of what the processes of a program report, against a model that knows each request."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from prefork.wire.figure_totals import MAX_SENDERS, FigureTotals
from prefork.wire.figures_message import CLASSES, ReportedFigures
from prefork.wire.histogram import BUCKET_COUNT, count_by_bucket
from prefork.wire.scoreboard import MAX_COUNT, MAX_TIME

PIDS = st.integers(1, 3)
THREADS = st.integers(0, 1)


class Process:
    """The counts of one process, or of one thread of it."""

    def __init__(self) -> None:
        self.requests, self.in_flight, self.took = 0, 0, 0.0
        self.times: dict[int, int] = {}

    def figures(self, thread: int) -> ReportedFigures:
        fields = {"requests": self.requests, "in_flight": self.in_flight, "took": self.took}
        return ReportedFigures(thread, fields, dict(self.times))


class Sums(RuleBasedStateMachine):
    """Processes serve, report, lose reports, end, and begin with a pid that was used before."""

    def __init__(self) -> None:
        super().__init__()
        self.totals = FigureTotals()
        self.alive: dict[tuple[int, int], Process] = {}
        self.reported: dict[tuple[int, int], Process] = {}
        self.requests, self.took, self.times = 0, 0.0, [0] * BUCKET_COUNT

    @rule(pid=PIDS, thread=THREADS, seconds=st.floats(0, 1e3), in_flight=st.integers(0, 5))
    def serve(self, pid: int, thread: int, seconds: float, in_flight: int) -> None:
        process = self.alive.setdefault((pid, thread), Process())
        process.requests += 1
        process.in_flight, process.took = in_flight, process.took + seconds
        for bucket, count in count_by_bucket([seconds]):
            process.times[bucket] = process.times.get(bucket, 0) + count

    @rule(pid=PIDS, thread=THREADS)
    def report(self, pid: int, thread: int) -> None:
        process = self.alive.get((pid, thread))
        if process is None:
            return
        before = self.reported.get((pid, thread), Process())
        self.requests += process.requests - before.requests
        self.took += process.took - before.took
        for bucket, count in process.times.items():
            self.times[bucket] += count - before.times.get(bucket, 0)
        copy = Process()
        copy.__dict__.update(process.__dict__, times=dict(process.times))
        self.reported[pid, thread] = copy
        assert self.totals.add(pid, process.figures(thread))

    @rule(pid=PIDS)
    def end(self, pid: int) -> None:
        for thread in (0, 1):
            self.alive.pop((pid, thread), None)
            self.reported.pop((pid, thread), None)
        self.totals.keep_living(lambda each: each != pid)

    @invariant()
    def sums_are_those_of_all_reports(self) -> None:
        found = self.totals.fields()
        assert found.get("requests", 0) == self.requests
        assert abs(found.get("took", 0.0) - self.took) < 1e-6 * (1 + self.took)
        assert self.totals.times == self.times
        in_flight = sum(each.in_flight for each in self.reported.values())
        assert found.get("in_flight", 0) == in_flight
        assert self.totals.senders == len(self.reported)


TestSums = Sums.TestCase
TestSums.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def report(totals: FigureTotals, pid: int, **fields: float) -> bool:
    return totals.add(pid, ReportedFigures(0, fields))


def test_a_count_that_falls_is_that_of_another_process() -> None:
    totals = FigureTotals()
    report(totals, 7, requests=100)
    report(totals, 7, requests=3)
    assert totals.fields()["requests"] == 103
    totals.add(7, ReportedFigures(0, {}, {5: 9}))
    totals.add(7, ReportedFigures(0, {}, {5: 2}))
    assert totals.times[5] == 11


def test_a_field_that_is_not_reported_is_not_known() -> None:
    totals = FigureTotals()
    report(totals, 7, in_flight=2)
    assert totals.known == {"in_flight"}
    assert dict(totals.fields()) == {"in_flight": 2}
    report(totals, 7, answered_5xx=1)
    assert totals.known == {"in_flight", *CLASSES}
    totals.add(7, ReportedFigures(0, {}, {}))
    assert "times" in totals.known


def test_gauges_are_those_of_living_processes() -> None:
    totals = FigureTotals()
    report(totals, 1, in_flight=2, oldest=1.5)
    report(totals, 2, in_flight=3, oldest=0.5)
    report(totals, 3, connections=4)
    assert dict(totals.fields()) == {"in_flight": 5, "connections": 4, "oldest": 1.5}
    totals.keep_living(lambda pid: pid == 2)
    assert dict(totals.fields()) == {"in_flight": 3, "connections": 0, "oldest": 0.5}
    totals.keep_living(lambda _pid: False)
    assert dict(totals.fields()) == {"in_flight": 0, "connections": 0, "oldest": 0.0}


def test_the_number_of_senders_is_bounded_and_the_dead_make_room() -> None:
    totals = FigureTotals()
    assert all(report(totals, pid, requests=1) for pid in range(MAX_SENDERS))
    assert not report(totals, MAX_SENDERS, requests=1)
    assert report(totals, 0, requests=2)
    totals.keep_living(lambda pid: pid == 0)
    assert report(totals, MAX_SENDERS, requests=1)
    assert totals.fields()["requests"] == MAX_SENDERS + 2
    assert (totals.has_sender(0), totals.has_sender(1)) == (True, False)


def test_sums_stay_in_the_range_of_the_scoreboard() -> None:
    totals = FigureTotals()
    for pid in range(3):
        totals.add(pid, ReportedFigures(0, {"requests": MAX_COUNT, "in_flight": MAX_COUNT}))
        totals.add(pid, ReportedFigures(0, {"took": MAX_TIME}, {9: MAX_COUNT}))
    found = totals.fields()
    assert (found["requests"], found["in_flight"]) == (MAX_COUNT, MAX_COUNT)
    assert (found["took"], totals.times[9]) == (MAX_TIME, MAX_COUNT)
