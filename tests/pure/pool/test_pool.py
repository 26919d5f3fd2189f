"""The pool, one property at a time, by short histories."""

from random import Random

import pytest

from prefork.pool import MasterState, Policy, Pool, facts, orders
from prefork.pool.budget import MAX_DELAY, RESET_AFTER, Budget
from prefork.pool.orders import Cause
from prefork.pool.policy import MAX_WORKERS, ManualTarget
from prefork.pool.workers import WorkerState
from prefork.printable import MAX_TEXT_LENGTH
from tests.pure.pool.story import Story


def running(**policy: object) -> Story:
    """Return a story in which every slot is served, by workers 1 to n."""
    story = Story(**policy)
    story.ready(*range(1, story.policy.workers + 1))
    story.ordered.clear()
    return story


# Start.


def test_a_start_spawns_a_worker_for_each_slot() -> None:
    story = Story(workers=3)
    assert [(o.slot, o.generation) for o in story.all(orders.Spawn)] == [(0, 1), (1, 1), (2, 1)]
    assert story.pool.state is MasterState.STARTING


def test_the_first_ready_worker_makes_the_service_run() -> None:
    story = Story(workers=2)
    story.ready(2)
    assert story.pool.state is MasterState.RUNNING
    assert len(story.all(orders.Running)) == 1
    story.ready(1)
    assert len(story.all(orders.Running)) == 1


def test_a_first_generation_that_cannot_boot_ends_the_master_with_its_reason() -> None:
    story = Story(workers=2)
    story.tell(facts.BootFailed(1, "ImportError: no module"))
    story.exit(1, 102)
    assert story.pool.is_stopping
    assert [o.worker for o in story.all(orders.Stop)] == [2]
    assert story.all(orders.WorkerGone)[0].retry_in is None
    story.exit(2, None, "SIGTERM")
    assert story.all(orders.Exit) == [orders.Exit("worker 0: ImportError: no module", 102)]


def test_the_exit_code_tells_the_fault_of_a_failed_boot() -> None:
    story = Story()
    story.tell(facts.BootFailed(1, "cannot enter /srv", code=111))
    story.exit(1, 111)
    assert story.all(orders.Exit) == [orders.Exit("worker 0: cannot enter /srv", 111)]


def test_the_first_reason_of_a_failed_boot_stands() -> None:
    """A child that could not exec reports why, and its exit code is no better reason."""
    story = Story()
    story.tell(facts.BootFailed(1, "no such program"))
    story.tell(facts.BootFailed(1, "it ended before it was ready", code=111))
    story.exit(1, 102)
    assert story.all(orders.Exit) == [orders.Exit("worker 0: no such program", 102)]


def test_a_boot_that_is_given_up_is_stopped_and_ends_the_first_start() -> None:
    story = Story(workers=2)
    story.tell(facts.BootFailed(1, "nothing accepts", lives=True))
    assert story.pool.is_stopping
    assert [o.worker for o in story.all(orders.Stop)] == [1, 2]
    story.exit(1, None, "SIGTERM")
    story.exit(2, None, "SIGTERM")
    assert [each.reason for each in story.all(orders.WorkerGone)] == ["nothing accepts", ""]
    assert story.all(orders.Exit) == [orders.Exit("worker 0: nothing accepts", 102)]


def test_a_boot_that_is_given_up_counts_as_a_failure_of_its_slot() -> None:
    """Although it was told to stop; and it is killed if it does not."""
    story = running(workers=1, kill_timeout=5.0, reports_requests=False)
    story.tell(facts.ScaleRequested(+1))
    for worker in (2, 3, 4):
        story.tell(facts.BootFailed(worker, "nothing accepts", lives=True))
        story.tell(facts.BootFailed(worker, "again", lives=True))
        if worker == 4:
            story.later(5.0)
            assert [o.worker for o in story.all(orders.Kill)] == [worker]
        story.exit(worker)
        story.later(1.0)
    gone = story.all(orders.WorkerGone)
    assert {(each.cause, each.reason) for each in gone} == {(Cause.BOOT_FAILURE, "nothing accepts")}
    assert all(each.retry_in is not None for each in gone)
    assert story.pool.failing_slots() == [1]


def test_a_boot_that_is_given_up_in_a_roll_keeps_the_old_generation() -> None:
    story = running(workers=2)
    story.hup()
    story.tell(facts.BootFailed(3, "nothing accepts", lives=True))
    assert story.pool.state is MasterState.FROZEN
    assert story.pool.failure == "worker 0: nothing accepts"
    story.exit(3, 0)
    assert [w.generation for w in story.pool.workers] == [1, 1]


def test_what_a_worker_waited_for_is_the_reason_when_its_boot_timeout_passes() -> None:
    story = running(boot_timeout=10.0, hang_grace=1.0, reports_requests=False)
    story.hup()
    story.tell(facts.NotReady(2, "nothing listens"))
    story.tell(facts.NotReady(2, "it listens elsewhere"))
    story.later(12.0)
    reason = "not ready within --boot-timeout 10s: it listens elsewhere"
    assert story.pool.failure == f"worker 0: {reason}"
    story.exit(2, None, "SIGKILL")
    assert story.all(orders.WorkerGone)[-1].reason == reason
    story.tell(facts.NotReady(1, "a worker that serves is ready"))
    assert story.pool.workers.ready()[0].unready_reason == ""


def test_an_app_whose_slots_keep_failing_is_shown_as_failing() -> None:
    story = running(workers=2)
    for _ in range(3):
        newest = max(w.id for w in story.pool.workers if w.slot == 1)
        story.exit(newest, 1)
        assert story.pool.shown_state is story.pool.state or newest > 3
        story.later(1.0)
        story.ready(max(w.id for w in story.pool.workers))
    assert story.pool.failing_slots() == [1]
    assert story.pool.state is MasterState.RUNNING
    assert story.pool.shown_state is MasterState.FAILING
    story.tell(facts.ReloadRefused("no valid TOML"))
    assert story.pool.shown_state is MasterState.FAILING
    story.later(1.0)
    assert story.pool.shown_state is MasterState.FROZEN
    assert story.pool.failing_slots() == []


def test_a_slot_that_keeps_failing_ends_a_roll_although_each_of_its_workers_was_ready() -> None:
    story = running(workers=1, surge=1)
    story.hup()
    story.ready(2)
    for worker in (2, 3, 4):
        assert story.pool.state is MasterState.RELOADING
        story.exit(worker, 1)
        story.later(1.0)
        if worker < 4:
            story.ready(worker + 1)
    assert story.pool.state is MasterState.FROZEN
    assert story.pool.failure == "worker 0: exited by itself (exit code 1)"


def test_a_reload_of_slots_that_kept_failing_waits_until_their_workers_have_lived() -> None:
    """Otherwise it would end well in the moment before they die again."""
    story = running(workers=1, min_uptime=5.0)
    story.exit(1, 1)
    story.later(1.0)
    story.ready(2)
    story.hup()
    story.ready(3)
    story.exit(2)
    assert not story.all(orders.RollDone)
    story.later(5.0)
    assert len(story.all(orders.RollDone)) == 1
    story.hup()
    story.ready(4)
    story.exit(3)
    assert len(story.all(orders.RollDone)) == 2


def test_a_fork_that_fails_is_a_boot_failure() -> None:
    story = Story()
    worker = story.pool.workers.get(1)
    assert worker is not None
    worker.enter(WorkerState.SPAWNING, None)
    story.tell(facts.SpawnFailed(1, "cannot fork"))
    assert story.all(orders.Exit) == [orders.Exit("worker 0: cannot fork", 111)]
    story.tell(facts.SpawnFailed(1, "said twice"))


def test_a_later_slot_that_cannot_boot_waits_while_the_first_serves() -> None:
    story = Story(workers=2)
    story.ready(1)
    story.exit(2, 1)
    assert story.pool.state is MasterState.RUNNING
    gone = story.all(orders.WorkerGone)[0]
    assert gone.cause is Cause.BOOT_FAILURE
    assert gone.retry_in > 0
    spawned = [o for o in story.later(1) if isinstance(o, orders.Spawn)]
    assert [o.slot for o in spawned] == [1]


def test_a_later_failure_is_announced_with_the_reason_of_the_worker() -> None:
    story = running(workers=1)
    story.later(5)
    story.exit(1, None, "SIGKILL")
    story.tell(facts.BootFailed(2, "ImportError: gone"))
    story.exit(2, 102)
    gone = story.all(orders.WorkerGone)[-1]
    assert (gone.detail, gone.reason) == ("exit code 102", "ImportError: gone")


def test_a_worker_that_is_not_ready_in_time_shows_its_stacks_and_is_killed() -> None:
    story = Story(boot_timeout=5.0)
    got = story.later(5.0)
    assert orders.DumpStacks(1) in got
    assert orders.Kill(1) in story.later(1.0)
    assert len(story.all(orders.Spawn)) == 1
    story.exit(1, None, "SIGKILL")
    assert story.all(orders.WorkerGone)[0].retry_in is None
    assert "not ready within --boot-timeout 5s" in story.all(orders.Exit)[0].failed


# Reload.


def test_a_roll_relieves_one_slot_after_another() -> None:
    story = running(workers=2)
    generation = story.hup()
    assert [(o.slot, o.generation) for o in story.all(orders.Spawn)] == [(0, generation)]
    assert not story.all(orders.Stop)
    story.ready(3)
    assert story.all(orders.Stop) == [orders.Stop(1, False)]
    assert len(story.all(orders.Spawn)) == 1, "the next waits until the old one is gone"
    story.exit(1)
    story.ready(4)
    assert story.pool.state is MasterState.RELOADING, "an old worker may still answer"
    assert story.pool.needed_generations() == {1, generation}
    story.tell(facts.Leaving(2))
    assert story.pool.state is MasterState.RUNNING
    assert story.all(orders.RollDone)[0].generation == generation
    story.exit(2)
    assert story.pool.needed_generations() == {generation}


def test_surge_changes_several_slots_at_once() -> None:
    story = running(workers=4, surge=3)
    story.hup()
    assert [o.slot for o in story.all(orders.Spawn)] == [0, 1, 2]


def test_a_failed_boot_freezes_the_roll_and_the_old_generation_serves_whole() -> None:
    story = running(workers=2)
    story.hup()
    story.tell(facts.BootFailed(3, "SyntaxError"))
    story.exit(3, 102)
    assert story.pool.state is MasterState.FROZEN
    assert story.pool.failure == "worker 0: SyntaxError"
    assert story.slots() == {1: (0, WorkerState.READY), 2: (1, WorkerState.READY)}
    assert not story.all(orders.Stop)
    assert story.all(orders.RollFailed)[0].kept == 1


def test_a_roll_that_fails_half_way_is_rolled_back() -> None:
    story = running(workers=2)
    story.hup()
    story.ready(3)
    story.exit(1)
    story.exit(4, 1)
    assert story.pool.state is MasterState.FROZEN
    back = story.all(orders.Spawn)[-1]
    assert (back.slot, back.generation) == (0, 1)
    story.ready(back.worker)
    assert orders.Stop(3, False) in story.ordered
    assert {w.generation for w in story.pool.workers.ready()} == {1}


def test_fixed_code_reloads_after_a_failure() -> None:
    story = running()
    story.later(1.0)
    story.hup()
    story.exit(2, 1)
    story.hup()
    story.ready(3)
    story.exit(1)
    assert story.pool.state is MasterState.RUNNING
    assert story.pool.failure == ""


def test_a_boot_that_hangs_costs_no_old_worker() -> None:
    story = running(boot_timeout=2.0)
    story.tell(facts.Heartbeats({1: 1000.0}))
    story.hup()
    story.later(2.5)
    story.exit(2, None, "SIGKILL")
    assert story.pool.state is MasterState.FROZEN
    assert story.slots() == {1: (0, WorkerState.READY)}


def test_a_second_reload_goes_on_with_the_newest_generation() -> None:
    story = running(workers=2)
    story.hup()
    newest = story.hup()
    assert story.all(orders.Stop) == [orders.Stop(3, False)], "the stale heir has not served"
    story.tell(facts.BootFailed(3, "too late to matter"))
    story.exit(3, 102)
    assert story.pool.state is MasterState.RELOADING
    heir = story.all(orders.Spawn)[-1]
    assert heir.generation == newest


def test_a_refused_reload_changes_nothing_but_is_remembered() -> None:
    story = running()
    story.tell(facts.ReloadRefused("prefork.toml: no option is called 'wrokers'"))
    assert story.pool.state is MasterState.FROZEN
    assert "wrokers" in story.pool.failure
    assert not story.all(orders.Spawn)
    story.hup()
    story.ready(2)
    story.exit(1)
    story.tell(facts.StopRequested())
    story.tell(facts.ReloadRefused("too late"))
    assert story.pool.failure == ""


def test_a_reason_as_long_as_a_file_is_shortened() -> None:
    story = running()
    story.tell(facts.ReloadRefused("begin" + "x" * 1_000_000 + "end"))
    (failed,) = story.all(orders.RollFailed)
    assert failed.reason == story.pool.failure
    assert len(failed.reason) < 2 * MAX_TEXT_LENGTH
    assert (failed.reason[:5], failed.reason[-3:]) == ("begin", "end")


def test_a_refusal_during_a_roll_lets_the_roll_go_on() -> None:
    story = running()
    story.hup()
    story.tell(facts.ReloadRefused("broken"))
    assert story.pool.state is MasterState.RELOADING


def test_a_reload_while_starting_is_still_the_start() -> None:
    story = Story()
    story.hup()
    story.exit(1, None, "SIGTERM")
    assert story.pool.state is MasterState.STARTING
    story.exit(2, 1)
    assert story.all(orders.Exit)


def test_the_rollback_to_a_generation_that_was_never_reached_ends_with_its_roll_done() -> None:
    """The roll to it began while starting, and a later roll failed before it was done."""
    story = Story(workers=2)
    story.hup()
    story.exit(1)
    story.exit(2)
    story.ready(3)
    assert story.pool.state is MasterState.RUNNING
    story.later(2.0)
    story.hup()
    story.exit(5, 1)
    story.exit(4)
    story.later(5.0)
    assert [each.kept for each in story.all(orders.RollFailed)] == [2]
    assert not story.all(orders.RollDone)
    story.ready(story.all(orders.Spawn)[-1].worker)
    story.later(1.0)
    assert story.all(orders.RollDone) == [orders.RollDone(2, took=8.0)]
    assert story.pool.state is MasterState.FROZEN
    assert story.pool.failure == "worker 1: boot failure (exit code 1)"


def test_a_roll_that_failed_is_not_done_when_the_old_generation_serves_again() -> None:
    story = running(workers=2)
    story.hup()
    story.ready(3)
    story.exit(1)
    story.exit(4, 1)
    story.ready(story.all(orders.Spawn)[-1].worker)
    story.exit(3)
    assert {w.generation for w in story.pool.workers} == {1}
    assert story.pool.state is MasterState.FROZEN
    assert not story.all(orders.RollDone)
    story.later(5.0)
    story.hup()
    for worker in (6, 7):
        story.ready(worker)
        story.exit(next(w.id for w in story.pool.workers if w.state is WorkerState.DRAINING))
    assert story.all(orders.RollDone) == [orders.RollDone(3, took=0.0)]


def test_a_roll_that_does_not_end_freezes() -> None:
    story = running(workers=2, reload_timeout=3.0, boot_timeout=60.0)
    story.hup()
    story.later(3.0)
    assert story.pool.state is MasterState.FROZEN
    assert "within --reload-timeout 3s" in story.pool.failure


def test_a_roll_deadline_that_passes_while_stopping_means_nothing() -> None:
    story = running(reload_timeout=3.0, kill_timeout=30.0)
    story.hup()
    story.tell(facts.StopRequested())
    story.later(4.0)
    assert story.pool.is_stopping
    assert not story.all(orders.RollFailed)


def test_a_crash_during_a_roll_is_refilled_with_the_new_generation() -> None:
    story = running(workers=2)
    story.later(5)
    generation = story.hup()
    story.exit(2, 1)
    assert story.all(orders.Spawn)[-1].generation == generation
    assert story.pool.state is MasterState.RELOADING


# Scale.


def test_scaling_up_fills_new_slots_and_down_takes_the_highest() -> None:
    story = running(workers=2)
    story.tell(facts.ScaleRequested(+2))
    assert [o.slot for o in story.all(orders.Spawn)] == [2, 3]
    story.ready(3, 4)
    story.tell(facts.ScaleRequested(-1))
    assert story.all(orders.Stop) == [orders.Stop(4, False)]
    story.exit(4)
    assert story.all(orders.WorkerGone)[0].cause is Cause.SCALE


def test_the_number_of_workers_has_bounds() -> None:
    story = running()
    story.tell(facts.ScaleRequested(-5))
    assert story.pool.target == 1
    story.tell(facts.ScaleRequested(10_000))
    assert story.pool.target == MAX_WORKERS


def test_the_operators_limits_hold_for_every_request_and_for_the_next_generation() -> None:
    story = running(workers=2, min_workers=2, max_workers=3)
    story.tell(facts.ScaleRequested(+5, "14 connections wait"))
    assert story.all(orders.Scaled) == [orders.Scaled(3, 2, "14 connections wait")]
    story.tell(facts.ScaleRequested(-5))
    assert story.pool.target == 2
    story.hup(workers=2, min_workers=4, max_workers=6)
    assert story.pool.target == 4
    story.hup(workers=2, min_workers=3, max_workers=6)
    assert story.pool.target == 4, "other bounds are no other wish"
    assert Story(workers=1, min_workers=3).pool.target == 3


def test_a_scaled_number_survives_a_reload_unless_the_file_changed_its_mind() -> None:
    story = running(workers=1)
    story.tell(facts.ScaleRequested(+1))
    story.hup()
    assert story.pool.target == 2
    story.hup(workers=3)
    assert story.pool.target == 3


def test_a_scale_during_a_roll_outlives_the_roll_s_failure() -> None:
    story = running(workers=1)
    story.hup()
    story.tell(facts.ScaleRequested(+1))
    story.exit(2, 1)
    assert story.pool.state is MasterState.FROZEN
    assert story.pool.target == 2


def test_draining_keeps_the_master_and_scaling_or_reloading_brings_workers_back() -> None:
    story = running(workers=2)
    story.tell(facts.DrainRequested())
    assert len(story.all(orders.Stop)) == 2
    story.exit(1)
    story.exit(2)
    assert not story.all(orders.Exit)
    assert story.pool.next_deadline() is None
    story.hup()
    assert story.pool.target == 2
    story.tell(facts.DrainRequested())
    story.tell(facts.ScaleRequested(+1))
    assert story.pool.target == 3


def test_a_number_that_was_set_by_hand_outlives_the_pool() -> None:
    story = running(workers=2)
    assert story.pool.plan.manual_target is None
    story.tell(facts.ScaleRequested(+1, "the workers are busy"))
    assert story.pool.plan.manual_target is None
    story.tell(facts.ScaleRequested(+1))
    kept = ManualTarget.parse(story.pool.plan.manual_target)
    assert kept == ManualTarget(4, settings=2)
    assert Pool(Policy(workers=2), Random(1), kept).target == 4
    assert Pool(Policy(workers=2, max_workers=3), Random(1), kept).target == 3
    assert Pool(Policy(workers=5), Random(1), kept).target == 5, "the settings changed later"
    story.hup(workers=2, surge=2)
    assert story.pool.plan.manual_target == {"workers": 4, "settings": 2}
    story.hup(workers=3)
    assert story.pool.plan.manual_target is None


@pytest.mark.parametrize(
    "stored",
    [None, 3, {}, {"workers": 3}, {"workers": "3", "settings": 1}, {"workers": 0, "settings": 1}],
)
def test_a_number_that_is_none_is_not_kept(stored: object) -> None:
    assert ManualTarget.parse(stored) is None


# Failures and the restart budget.


def test_a_first_crash_after_a_stable_life_is_answered_at_once() -> None:
    story = running()
    story.later(5)
    story.exit(1, None, "SIGSEGV")
    gone = story.all(orders.WorkerGone)[0]
    assert (gone.cause, gone.detail, gone.retry_in) == (Cause.SIGNAL, "SIGSEGV", 0.0)
    assert story.all(orders.Spawn)


def test_out_of_memory_is_named() -> None:
    story = running()
    story.tell(facts.Exited(1, None, "SIGKILL", out_of_memory=True))
    assert story.all(orders.WorkerGone)[0].cause is Cause.OUT_OF_MEMORY


def test_failures_in_a_row_wait_longer_and_longer_up_to_a_limit() -> None:
    budget, rng, delays = Budget(), Random(1), []
    for _ in range(60):
        budget.charge(0.0, 0.0, 1.0, rng)
        delays.append(budget.due_at)
    assert delays[0] < 0.2
    assert delays[5] > delays[0]
    assert delays[-1] == pytest.approx(MAX_DELAY, rel=0.11)
    budget.charge(0.0, RESET_AFTER, 1.0, rng)
    assert (budget.failures, budget.due_at) == (1, 0.0)


def test_an_unstable_worker_makes_its_slot_wait() -> None:
    story = running(min_uptime=10.0)
    story.exit(1, 1)
    assert not story.all(orders.Spawn)
    assert [o for o in story.later(1) if isinstance(o, orders.Spawn)]


def test_the_master_gives_up_only_when_no_worker_serves() -> None:
    story = running(workers=2, max_restarts=1)
    for worker in (1, 3, 4):
        story.exit(worker, 1)
        story.later(1)
    assert not story.pool.is_stopping, "slot 1 serves"
    story.exit(2, 1)
    story.exit(5, 1)
    assert story.pool.is_stopping


def test_a_worker_may_say_by_its_exit_code_that_it_is_not_to_be_replaced() -> None:
    story = running(workers=2, stop_exit_codes=frozenset({7}))
    story.exit(1, 7)
    assert story.all(orders.WorkerGone)[0].retry_in is None
    story.later(100)
    assert not story.all(orders.Spawn)
    story.exit(2, 7)
    assert story.all(orders.Exit)[0] == orders.Exit(None)


def test_a_worker_that_is_done_before_it_counts_as_ready_has_not_failed() -> None:
    story = Story(workers=1, max_restarts=0, stop_exit_codes=frozenset({0}))
    story.exit(1, 0)
    assert story.all(orders.WorkerGone)[0].cause is Cause.EXIT
    done = "every worker ended with an exit code of stop-exit-codes"
    assert story.all(orders.Ending) == [orders.Ending("", 0, done)]
    assert story.all(orders.Exit)[0] == orders.Exit(None)


def test_a_worker_that_reported_a_failure_is_not_done() -> None:
    story = Story(workers=1, stop_exit_codes=frozenset({0}))
    story.tell(facts.BootFailed(1, "ImportError"))
    story.exit(1, 0)
    assert story.all(orders.Exit)[0].failed == "worker 0: ImportError"


def test_a_new_generation_that_is_done_at_once_sends_the_old_one_away() -> None:
    story = running(workers=1, stop_exit_codes=frozenset({0}))
    story.hup()
    story.exit(2, 0)
    assert story.all(orders.Stop) == [orders.Stop(1, False)]
    story.tell(facts.Leaving(1))
    assert story.all(orders.RollDone)
    assert story.pool.state is MasterState.RUNNING


def test_a_worn_worker_is_stopped_when_its_heir_ends_with_the_work_done() -> None:
    story = running(workers=2, stop_exit_codes=frozenset({7}))
    story.tell(facts.RecycleRequested("--cron 0 4 * * *"))
    story.exit(3, 7)
    assert story.all(orders.Stop) == [orders.Stop(1, False)]
    story.exit(1)
    assert story.all(orders.WorkerGone)[-1].cause is Cause.RECYCLE
    assert story.all(orders.Spawn)[-1].slot == 1, "and the next one is recycled"
    story.exit(4, 7)
    story.exit(2)
    assert story.all(orders.Exit)[0] == orders.Exit(None)


def test_a_closed_slot_does_not_keep_a_roll_from_ending() -> None:
    story = running(workers=2, stop_exit_codes=frozenset({7}))
    story.hup()
    story.ready(3)
    story.exit(1)
    story.exit(3, 7)
    story.ready(4)
    story.exit(2)
    assert story.pool.state is MasterState.RUNNING


# Hang.


def test_a_hung_worker_shows_its_stacks_is_killed_and_is_replaced_meanwhile() -> None:
    story = running()
    story.tell(facts.Heartbeats({1: 130.0, 99: 1.0}))
    got = story.later(30.0)
    assert orders.DumpStacks(1) in got
    assert story.all(orders.WorkerHung)[0].cause is Cause.HANG
    assert story.all(orders.Spawn), "the slot does not wait for the funeral"
    assert orders.Kill(1) not in story.ordered
    assert orders.Kill(1) in story.tell(facts.Stuck(1, "GET /slow for 30.1s"))
    assert story.tell(facts.Stuck(1, "again")) == []
    story.exit(1, None, "SIGKILL")
    gone = story.all(orders.WorkerGone)[0]
    assert (gone.killed, gone.reason) == (True, "GET /slow for 30.1s")


def test_a_hung_worker_that_does_not_tell_has_its_stacks_taken_before_it_is_killed() -> None:
    story = running(hang_grace=2.0)
    story.tell(facts.Heartbeats({1: 130.0}))
    story.later(30.0)
    assert orders.DumpStacks(1, by_force=True) not in story.later(1.9)
    assert orders.DumpStacks(1, by_force=True) in story.later(0.2)
    assert orders.Kill(1) not in story.later(1.7)
    assert orders.Kill(1) in story.later(0.3)


def test_a_worker_that_was_not_asked_for_its_stacks_is_not_killed_for_telling() -> None:
    story = running()
    assert story.tell(facts.Stuck(1, "GET /slow")) == []
    story.exit(1, 1)
    assert story.all(orders.WorkerGone)[0].reason == ""


def test_a_worker_that_beats_never_hangs() -> None:
    story = running()
    for _ in range(10):
        story.tell(facts.Heartbeats({1: story.now + 30}))
        story.later(20)
    assert not story.all(orders.WorkerHung)


def test_a_suspended_machine_makes_no_worker_hang() -> None:
    story = running()
    story.tell(facts.Heartbeats({1: 130.0}))
    story.now += 3600
    story.tell(facts.Tick())
    assert story.all(orders.Overslept)
    assert not story.all(orders.WorkerHung)


def test_a_roll_is_given_the_time_that_the_machine_slept() -> None:
    story = running(reload_timeout=10.0, boot_timeout=5.0)
    story.hup()
    story.now += 3600
    story.tell(facts.Tick())
    assert story.pool.state is MasterState.RELOADING


# Recycle.


def test_a_worn_worker_is_replaced_by_one_that_is_ready_first() -> None:
    story = running()
    story.tell(facts.Worn(1, "1000 requests"))
    assert [o.slot for o in story.all(orders.Spawn)] == [0]
    assert not story.all(orders.Stop)
    story.ready(2)
    story.exit(1)
    gone = story.all(orders.WorkerGone)[0]
    assert (gone.cause, gone.why) == (Cause.RECYCLE, "1000 requests")
    assert story.all(orders.WorkerLeaving)[0].why == "1000 requests"


def test_a_worn_worker_that_is_busy_gets_its_heir_when_its_work_is_done() -> None:
    story = running()
    story.tell(facts.Heartbeats({}, frozenset({1})))
    story.tell(facts.Worn(1, "1000 requests"))
    story.later(100.0)
    assert not story.all(orders.Spawn)
    assert [told.why for told in story.all(orders.RecycleWaits)] == ["1000 requests"]
    assert story.pool.next_deadline() == story.now + 1.0
    story.tell(facts.Heartbeats({}))
    assert len(story.all(orders.Spawn)) == 1
    story.ready(2)
    assert orders.Stop(1, quick=False) in story.ordered


def test_a_busy_worker_is_stopped_and_reloaded_like_any_other() -> None:
    story = running()
    story.tell(facts.Heartbeats({}, frozenset({1})))
    story.hup()
    story.ready(2)
    assert orders.Stop(1, quick=False) in story.ordered


def test_workers_that_wait_for_their_threads_do_not_hold_up_a_roll() -> None:
    story = running(workers=4)
    story.hup()
    for heir in range(5, 9):
        story.ready(heir)
        story.tell(facts.Leaving(heir - 4))
        story.tell(facts.Leaving(heir - 4, "threads"))
    assert story.pool.state is MasterState.RUNNING
    assert len(story.pool.workers) == 8
    # But reloads that follow each other do not fill the memory.
    story.hup()
    assert len(story.pool.workers) == 9
    story.ready(9)
    story.tell(facts.Leaving(5))
    story.tell(facts.Leaving(5, "threads"))
    assert len(story.pool.workers) == 9
    story.exit(1)
    assert len(story.pool.workers) == 9
    assert {w.slot for w in story.pool.workers if w.state is WorkerState.BOOTING} == {1}


def test_worn_workers_are_replaced_one_after_another_whatever_the_surge() -> None:
    story = running(workers=3, surge=3)
    for worker in (1, 2, 3):
        story.tell(facts.Worn(worker, "512 MB"))
    for heir, slot in ((4, 0), (5, 1), (6, 2)):
        assert [o.slot for o in story.all(orders.Spawn)][-1] == slot
        assert len(story.all(orders.Spawn)) == slot + 1
        story.ready(heir)


def test_an_old_worker_has_left_before_the_next_one_is_recycled() -> None:
    story = running(workers=2)
    story.tell(facts.Worn(1, "512 MB"))
    story.tell(facts.Worn(2, "512 MB"))
    story.ready(3)
    assert len(story.all(orders.Spawn)) == 1, "target + surge processes live"
    story.exit(1)
    assert [o.slot for o in story.all(orders.Spawn)] == [0, 1]


def test_workers_that_wear_out_at_once_are_replaced_ever_more_slowly() -> None:
    """A limit that is too low must not make the master fork without end."""
    story = running()
    waits = []
    for worker in range(1, 20):
        story.tell(facts.Worn(worker, "512 MB > --max-memory 1m"))
        begun = story.now
        while not any(o.worker == worker + 1 for o in story.all(orders.Spawn)):
            due = story.pool.next_deadline()
            assert due is not None
            story.later(due - story.now)
        waits.append(story.now - begun)
        story.ready(worker + 1)
        story.exit(worker)
    assert waits[0] == 0.0
    assert waits[-1] > MAX_DELAY / 2
    story.later(RESET_AFTER + 1)
    story.tell(facts.Worn(20, "512 MB"))
    assert story.all(orders.Spawn)[-1].worker == 21, "a long life is forgiven"


def test_a_roll_ignores_the_delay_after_wear() -> None:
    story = running()
    for worker in (1, 2, 3, 4):
        story.tell(facts.Worn(worker, "512 MB"))
        story.later(20.0)
        story.ready(worker + 1)
        story.exit(worker)
    story.tell(facts.Worn(5, "512 MB"))
    story.hup()
    assert story.all(orders.Spawn)[-1] == orders.Spawn(6, 0, 2)


def test_recycling_all_replaces_each_within_its_generation() -> None:
    story = running(workers=2)
    story.tell(facts.RecycleRequested("--cron 0 4 * * *"))
    assert story.all(orders.Recycling) == [orders.Recycling(2, "--cron 0 4 * * *")]
    for heir, old in ((3, 1), (4, 2)):
        story.ready(heir)
        story.exit(old)
    assert {o.generation for o in story.all(orders.Spawn)} == {1}
    assert [w.id for w in story.pool.workers.ready()] == [3, 4]
    assert story.pool.state is MasterState.RUNNING


def test_recycling_all_during_a_roll_leaves_it_to_the_roll() -> None:
    story = running(workers=2)
    story.hup()
    story.ready(3)
    story.tell(facts.RecycleRequested("--cron 0 4 * * *"))
    assert story.all(orders.Recycling) == [orders.Recycling(1, "--cron 0 4 * * *")]
    story.exit(1)
    story.ready(4)
    story.exit(2)
    assert len(story.all(orders.Spawn)) == 2, "no worker is replaced twice"
    assert story.all(orders.WorkerGone)[-1].cause is Cause.RELOAD


def test_recycling_all_is_made_up_for_when_the_roll_fails() -> None:
    story = running(workers=2)
    story.hup()
    story.tell(facts.RecycleRequested("--cron 0 4 * * *"))
    story.exit(3, 1)
    assert story.pool.state is MasterState.FROZEN
    assert story.all(orders.Spawn)[-1].generation == 1


def test_recycling_no_worker_is_not_announced() -> None:
    story = running()
    story.tell(facts.StopRequested())
    story.tell(facts.RecycleRequested("--cron 0 4 * * *"))
    assert not story.all(orders.Recycling)


def test_a_worker_at_the_end_of_its_lifetime_is_replaced() -> None:
    story = running(max_lifetime=60.0, lifetime_jitter=10.0)
    story.later(59.0)
    assert not story.all(orders.Spawn)
    story.later(12.0)
    assert story.all(orders.Spawn)


def test_no_worker_is_recycled_during_a_reload() -> None:
    story = running(workers=2, max_lifetime=50.0, boot_timeout=500.0)
    story.hup()
    story.ready(3)
    story.exit(1)
    story.tell(facts.Worn(3, "1000 requests"))
    assert [o.slot for o in story.all(orders.Spawn)] == [0, 1]
    story.later(60.0)
    story.ready(4)
    story.exit(2)
    assert story.all(orders.Spawn)[-1].slot == 0, "but right after it"


def test_an_heir_that_fails_leaves_the_worn_worker_in_service() -> None:
    story = running()
    story.tell(facts.Worn(1, "lifetime"))
    story.exit(2, 1)
    assert story.slots()[1] == (0, WorkerState.READY)
    assert [o for o in story.later(1) if isinstance(o, orders.Spawn)]


def test_a_failed_heir_of_a_worn_worker_is_announced_once() -> None:
    story = running()
    story.tell(facts.Worn(1, "512 MB"))
    for heir in (2, 3, 4):
        story.tell(facts.BootFailed(heir, "SyntaxError"))
        story.exit(heir, 102)
        story.later(20.0)
    assert story.all(orders.RecycleFailed) == [
        orders.RecycleFailed(1, 1001, 0, 1, why="512 MB"),
    ]
    assert [gone.reason for gone in story.all(orders.WorkerGone)] == ["SyntaxError", "", ""]
    story.tell(facts.BootFailed(5, "ImportError"))
    story.exit(5, 102)
    assert story.all(orders.WorkerGone)[-1].reason == "ImportError", "that is news"


def test_a_worn_worker_without_an_heir_does_not_delay_the_others() -> None:
    story = running(workers=2)
    story.tell(facts.Worn(1, "512 MB"))
    story.tell(facts.Worn(2, "512 MB"))
    story.exit(3, 102)
    assert story.all(orders.Spawn)[-1].slot == 1


# Leaving and stopping.


def test_a_worker_that_was_signalled_directly_is_replaced_at_once() -> None:
    story = running()
    story.tell(facts.Leaving(1))
    assert story.all(orders.Spawn)
    story.tell(facts.Leaving(1))
    story.exit(1)
    gone = story.all(orders.WorkerGone)[0]
    assert (gone.cause, gone.retry_in) == (Cause.LEFT, None)


def test_stop_drains_then_kills_then_exits() -> None:
    story = running(kill_timeout=5.0)
    story.tell(facts.StopRequested())
    assert story.all(orders.Stop) == [orders.Stop(1, False)]
    assert orders.DumpStacks(1) in story.later(5.0)
    assert story.later(1.0)[-1] == orders.Kill(1)
    story.exit(1, None, "SIGKILL")
    assert story.all(orders.Exit) == [orders.Exit(None)]


def test_workers_serve_on_for_the_stop_delay() -> None:
    story = running(workers=2, stop_delay=10.0, kill_timeout=5.0)
    story.tell(facts.StopRequested())
    assert story.all(orders.AnnounceEnd) == [orders.AnnounceEnd(1), orders.AnnounceEnd(2)]
    assert story.all(orders.Ending) == [orders.Ending("", delay=10.0)]
    assert story.pool.is_stopping
    assert story.pool.target == 2
    story.later(9.9)
    assert not story.all(orders.Stop)
    story.later(0.1)
    assert story.all(orders.Stop) == [orders.Stop(1, False), orders.Stop(2, False)]
    assert story.all(orders.StopDelayOver) == [orders.StopDelayOver(is_skipped=False)]
    assert story.later(6.0)[-1] == orders.Kill(2)


def test_a_worker_that_dies_during_the_stop_delay_is_replaced_by_one_that_knows_of_it() -> None:
    story = running(stop_delay=10.0)
    story.tell(facts.StopRequested())
    story.exit(1, None, "SIGSEGV")
    gone = story.all(orders.WorkerGone)[0]
    assert gone.retry_in is not None
    story.later(5.0)
    assert story.all(orders.Spawn) == [orders.Spawn(2, 0, 1)]
    story.ready(2)
    assert story.all(orders.AnnounceEnd)[-1] == orders.AnnounceEnd(2)
    story.later(5.0)
    story.exit(2)
    assert story.all(orders.Exit) == [orders.Exit(None)]


def test_a_roll_goes_on_during_the_stop_delay_and_is_not_announced() -> None:
    story = running(stop_delay=10.0)
    story.hup(stop_delay=10.0)
    story.tell(facts.StopRequested())
    story.ready(2)
    assert orders.Stop(1, False) in story.ordered
    story.exit(1)
    story.later(5.0)
    assert story.pool.is_stopping
    assert not story.all(orders.RollDone)


def test_each_stop_signal_brings_the_end_nearer() -> None:
    story = running(stop_delay=10.0, kill_timeout=5.0)
    story.tell(facts.StopSignalled())
    assert not story.all(orders.Stop)
    story.tell(facts.StopSignalled())
    assert story.all(orders.Stop) == [orders.Stop(1, False)]
    assert story.all(orders.StopDelayOver) == [orders.StopDelayOver(is_skipped=True)]
    story.tell(facts.StopSignalled())
    assert story.all(orders.Stop) == [orders.Stop(1, False), orders.Stop(1, True)]


@pytest.mark.parametrize(
    "stop", [facts.StopRequested(quick=True), facts.StopRequested(at_once=True)]
)
def test_a_quick_stop_and_a_restart_are_not_delayed(stop: facts.StopRequested) -> None:
    story = running(stop_delay=10.0)
    story.tell(stop)
    assert story.all(orders.Stop) == [orders.Stop(1, stop.quick)]
    assert not story.all(orders.AnnounceEnd)
    story = running(stop_delay=10.0)
    story.tell(facts.StopRequested())
    story.tell(facts.StopRequested())
    assert not story.all(orders.Stop)
    story.tell(stop)
    assert story.all(orders.Stop) == [orders.Stop(1, stop.quick)]


def test_a_stop_is_not_delayed_where_no_worker_serves() -> None:
    story = Story(stop_delay=10.0)
    story.tell(facts.StopRequested())
    assert story.all(orders.Stop) == [orders.Stop(1, False)]


def test_nothing_brings_a_stopping_pool_back() -> None:
    story = running()
    story.tell(facts.StopRequested())
    for wish in (
        facts.ScaleRequested(+1),
        facts.DrainRequested(),
        facts.ReloadRequested(9, Policy()),
    ):
        story.tell(wish)
    story.tell(facts.StopRequested())
    story.exit(1)
    assert not story.all(orders.Spawn)
    assert len(story.all(orders.Ending)) == 1


def test_a_quick_stop_signals_all_workers_and_kills_those_that_boot() -> None:
    story = running(workers=2, kill_timeout=60.0)
    story.hup()
    story.tell(facts.StopRequested(quick=True))
    assert orders.Kill(3) in story.ordered
    assert orders.Stop(1, True) in story.ordered
    assert orders.Kill(1) in story.later(2.0)
    story.tell(facts.StopRequested(quick=True))
    assert [o.worker for o in story.all(orders.Kill)].count(1) == 1


def test_a_second_stop_signals_draining_workers_again() -> None:
    story = running(kill_timeout=60.0)
    story.tell(facts.StopRequested())
    assert not story.pool.is_quick_stop
    story.tell(facts.StopRequested(quick=True))
    assert story.pool.is_quick_stop
    assert story.all(orders.Stop) == [orders.Stop(1, False), orders.Stop(1, True)]


def test_a_quick_stop_kills_a_hung_worker() -> None:
    story = running(hang_grace=10.0)
    story.tell(facts.Heartbeats({1: 110.0}))
    story.later(10.0)
    story.tell(facts.StopRequested(quick=True))
    assert orders.Kill(1) in story.ordered


def test_a_killed_worker_is_left_to_the_kernel() -> None:
    story = running(kill_timeout=5.0)
    story.tell(facts.StopRequested())
    story.later(6.0)
    assert story.tell(facts.StopRequested(quick=True)) == []


def test_a_fork_that_fails_after_the_stop_began_does_not_keep_the_master() -> None:
    pool = Pool(Policy(), Random(1))
    pool.handle(facts.Tick(), 1.0)
    pool.handle(facts.StopRequested(), 1.0)
    assert pool.handle(facts.SpawnFailed(1, "cannot fork"), 1.0)[-1] == orders.Exit(None)


def test_facts_that_do_not_fit_are_ignored() -> None:
    story = running()
    before = story.slots()
    for fact in (
        facts.Spawned(77, 1),
        facts.Ready(77),
        facts.BootFailed(77, "who?"),
        facts.Worn(77, "old"),
        facts.Leaving(77),
        facts.Stuck(77, "somewhere"),
        facts.Exited(77, 0),
        facts.BootFailed(1, "but it is ready"),
    ):
        story.tell(fact)
    assert story.slots() == before


def test_a_fork_that_is_reported_late_does_not_revive_a_worker_that_was_sent_away() -> None:
    pool = Pool(Policy(), Random(1))
    pool.handle(facts.Tick(), 1.0)
    pool.handle(facts.StopRequested(), 1.0)
    pool.handle(facts.Spawned(1, 4711), 1.0)
    worker = pool.workers.get(1)
    assert worker is not None
    assert (worker.pid, worker.state) == (4711, WorkerState.DRAINING)


def test_a_first_worker_that_was_killed_by_us_is_no_boot_failure() -> None:
    story = Story(workers=1)
    story.tell(facts.ScaleRequested(+1))
    story.ready(1)
    story.tell(facts.ScaleRequested(-1))
    story.exit(2, None, "SIGTERM")
    assert story.pool.state is MasterState.RUNNING
