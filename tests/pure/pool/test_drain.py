"""A worker that drains: its heartbeats, its kill timeout, and what it reports before its end."""

import pytest

from prefork.pool import MasterState, facts, orders
from prefork.pool.orders import Cause
from tests.pure.pool.story import Story

REPORT = "GET /slow from 127.0.0.1:4711 for 30.0s, at app.py:7 in slow"


def serving(**policy: object) -> Story:
    """Return a pool whose workers all serve, at the time 100."""
    story = Story(**policy)
    story.ready(*range(1, story.policy.workers + 1))
    return story


def the_end(story: Story, worker: int = 1) -> orders.WorkerGone:
    """Let the killed worker end; return the event."""
    story.exit(worker, None, "SIGKILL")
    (gone,) = story.all(orders.WorkerGone)
    assert isinstance(gone, orders.WorkerGone)
    return gone


def test_a_request_that_hangs_is_ended_by_the_timeout_while_its_worker_drains() -> None:
    story = serving(kill_timeout=300.0)
    story.tell(facts.Heartbeats({1: 130.0}))
    story.hup()
    story.ready(2)
    assert orders.Stop(1, False) in story.ordered
    story.tell(facts.Heartbeats({1: 130.0}))
    assert orders.DumpStacks(1) not in story.later(29.0)
    assert orders.DumpStacks(1) in story.later(1.0)
    (hung,) = story.all(orders.WorkerHung)
    assert (hung.cause, hung.exceeded) == (Cause.RELOAD, "timeout")
    assert orders.Kill(1) in story.tell(facts.Stuck(1, REPORT))
    gone = the_end(story)
    assert (gone.cause, gone.killed, gone.exceeded) == (Cause.RELOAD, True, "timeout")
    assert gone.reason == REPORT


def test_a_hang_in_a_drain_is_no_failure_of_its_slot() -> None:
    story = serving(kill_timeout=300.0)
    story.tell(facts.Heartbeats({1: 130.0}))
    story.hup()
    story.ready(2)
    story.later(30.0)
    story.tell(facts.Stuck(1, REPORT))
    assert the_end(story).retry_in is None
    assert story.pool.workers.budget(0).failures == 0
    assert story.pool.state is MasterState.RUNNING


def test_a_worker_that_beats_drains_for_as_long_as_the_kill_timeout() -> None:
    story = serving(kill_timeout=300.0)
    story.tell(facts.StopRequested())
    for _ in range(14):
        story.tell(facts.Heartbeats({1: story.now + 30.0}))
        assert not story.later(20.0)
    story.tell(facts.Heartbeats({1: story.now + 30.0}))
    assert orders.DumpStacks(1) in story.later(20.0)
    (hung,) = story.all(orders.WorkerHung)
    assert (hung.cause, hung.exceeded) == (Cause.STOP, "kill-timeout")


def test_a_worker_without_requests_has_the_kill_timeout_for_its_shutdown() -> None:
    """It takes its deadline back."""
    story = serving(kill_timeout=300.0)
    story.tell(facts.Heartbeats({1: 130.0}))
    story.tell(facts.StopRequested())
    story.tell(facts.Heartbeats({}))
    assert not story.later(299.0)
    assert orders.DumpStacks(1) in story.later(1.0)


def test_the_kill_timeout_reports_the_requests_that_it_cuts() -> None:
    story = serving(kill_timeout=5.0)
    story.tell(facts.StopRequested())
    assert orders.DumpStacks(1) in story.later(5.0)
    assert orders.Kill(1) not in story.ordered
    assert orders.Kill(1) in story.tell(facts.Stuck(1, REPORT))
    gone = the_end(story)
    assert (gone.cause, gone.exceeded, gone.reason) == (Cause.STOP, "kill-timeout", REPORT)
    assert story.all(orders.Exit) == [orders.Exit(None)]


def test_a_worker_that_does_not_report_in_its_drain_is_killed_all_the_same() -> None:
    story = serving(kill_timeout=5.0, hang_grace=2.0)
    story.tell(facts.StopRequested())
    story.later(5.0)
    assert orders.DumpStacks(1, by_force=True) in story.later(2.0)
    assert orders.Kill(1) in story.later(2.0)
    assert the_end(story).reason == "the log has its stacks"


def test_a_worker_that_waits_for_threads_only_is_killed_at_once_with_that_reason() -> None:
    story = serving(kill_timeout=5.0)
    story.tell(facts.Heartbeats({1: 102.0}))
    story.tell(facts.StopRequested())
    story.tell(facts.Leaving(1))
    story.tell(facts.Leaving(1, "threads of the app"))
    story.tell(facts.Heartbeats({1: 102.0}))
    assert not story.later(4.0), "it needs no heartbeat any more"
    assert orders.Kill(1) in story.later(1.0)
    assert not story.all(orders.DumpStacks)
    gone = the_end(story)
    assert (gone.exceeded, gone.reason) == ("kill-timeout", "it waited for threads of the app")


def test_a_program_that_drains_is_killed_without_questions() -> None:
    """It could not answer them, and its watchdog ends with the stop, as under systemd."""
    story = serving(kill_timeout=5.0, reports_requests=False)
    story.tell(facts.Heartbeats({1: 102.0}))
    story.tell(facts.StopRequested())
    story.tell(facts.Heartbeats({1: 102.0}))
    assert not story.later(4.0)
    assert orders.Kill(1) in story.later(1.0)
    assert not story.all(orders.DumpStacks)
    gone = the_end(story)
    assert (gone.exceeded, gone.reason) == ("kill-timeout", "")


def test_a_program_that_hangs_in_its_boot_has_no_stacks_in_the_log() -> None:
    story = Story(boot_timeout=30.0, reports_requests=False)
    story.later(40.0)
    (ending,) = story.all(orders.Ending)
    assert ending.reason == "worker 0: not ready within --boot-timeout 30s"


def test_a_quick_stop_asks_no_worker_for_its_requests() -> None:
    story = serving(kill_timeout=60.0)
    story.tell(facts.StopRequested())
    story.tell(facts.StopRequested(quick=True))
    assert orders.Kill(1) in story.later(2.0)
    assert not story.all(orders.DumpStacks)
    assert the_end(story).exceeded == ""


def test_a_worker_that_hangs_in_its_drain_does_not_hold_up_the_roll() -> None:
    story = serving(kill_timeout=300.0)
    story.tell(facts.Heartbeats({1: 130.0}))
    story.hup()
    story.ready(2)
    assert not story.all(orders.RollDone), "the old worker may accept connections"
    story.later(30.0)
    assert story.all(orders.RollDone)


@pytest.mark.parametrize("row", [130.0, None])
def test_a_machine_that_was_suspended_makes_no_worker_hang(row: float | None) -> None:
    """The master reads rows that are as old as its sleep, before any worker could beat."""
    story = serving(workers=2)
    story.tell(facts.Heartbeats({1: 130.0, 2: 130.0}))
    story.tell(facts.Leaving(2))
    story.now += 3600
    rows = {} if row is None else {1: row, 2: row}
    story.tell(facts.Heartbeats(rows))
    assert story.all(orders.Overslept)
    assert not story.all(orders.WorkerHung)


# Boots.


def test_a_boot_that_is_not_ready_in_time_fails_with_the_place_where_it_is() -> None:
    story = Story(boot_timeout=30.0)
    story.later(30.0)
    assert not story.all(orders.Ending), "its reason is not known yet"
    assert orders.Kill(1) in story.tell(facts.Stuck(1, "it is at app.py:12 in connect"))
    (ending,) = story.all(orders.Ending)
    wanted = "not ready within --boot-timeout 30s: it is at app.py:12 in connect"
    assert ending.reason == f"worker 0: {wanted}"
    assert the_end(story).reason == wanted


def test_a_boot_that_holds_the_interpreter_fails_with_the_limit() -> None:
    story = Story(boot_timeout=0.5)
    story.later(10.0)
    (ending,) = story.all(orders.Ending)
    text = "not ready within --boot-timeout 0.5s: the log has its stacks"
    assert ending.reason == f"worker 0: {text}"


def test_a_boot_that_ends_while_it_is_asked_fails_with_the_limit() -> None:
    story = Story(boot_timeout=30.0)
    story.later(30.0)
    story.exit(1, None, "SIGABRT")
    (ending,) = story.all(orders.Ending)
    assert ending.reason == "worker 0: not ready within --boot-timeout 30s"


def test_a_boot_that_reported_its_failure_and_hangs_keeps_its_reason() -> None:
    story = Story(boot_timeout=30.0)
    story.tell(facts.BootFailed(1, "ImportError: gone"))
    story.later(30.0)
    story.tell(facts.Stuck(1, "it is at app.py:12 in close"))
    (ending,) = story.all(orders.Ending)
    assert ending.reason == "worker 0: ImportError: gone"


def test_the_slot_of_a_boot_that_hangs_waits_for_its_end() -> None:
    story = serving(boot_timeout=30.0, surge=2)
    story.hup()
    assert not [order for order in story.later(30.0) if isinstance(order, orders.Spawn)]
    story.tell(facts.Stuck(2, "it is at app.py:12 in connect"))
    assert story.pool.failure.endswith("in connect")
    assert story.pool.failed_at == story.now
    assert story.pool.state is MasterState.FROZEN


def test_a_later_reload_takes_the_place_of_a_boot_that_hangs() -> None:
    story = serving(boot_timeout=30.0)
    story.hup()
    story.later(30.0)
    story.hup()
    story.tell(facts.Stuck(2, "it is at app.py:12 in connect"))
    assert story.pool.state is MasterState.RELOADING


def test_a_roll_that_does_not_end_names_the_workers_that_it_waits_for() -> None:
    story = serving(workers=8, surge=8, boot_timeout=60.0, reload_timeout=10.0)
    story.hup()
    story.later(10.0)
    text = story.pool.failure
    assert text.startswith("it did not end within --reload-timeout 10s: worker 0 (gen 2) is boot")
    assert text.endswith("worker 4 (gen 2) is booting and 3 more")


def test_a_roll_that_waits_for_no_worker_names_its_limit() -> None:
    story = serving(reload_timeout=10.0, min_ready=60.0)
    story.hup()
    story.ready(2)
    story.exit(1)
    story.later(10.0)
    assert story.pool.failure == "it did not end within --reload-timeout 10s"
