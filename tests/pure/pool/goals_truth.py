"""Check that the verdict of a goal is true, by the state of the pool and its events since then."""

from collections import Counter
from collections.abc import Sequence

from prefork.pool import Pool, orders
from prefork.pool.goals import Failed, Goal, Reached, ReloadGoal, ScaleGoal, StopGoal
from prefork.pool.workers import STARTING_STATES, WorkerState


def assert_true(pool: Pool, goal: Goal, verdict: object, since: Sequence[orders.Event]) -> None:
    """Assert that the verdict is true. ``since``: all events from the beginning of the goal on."""
    if isinstance(verdict, Failed):
        assert verdict.fault in (100, 101, 102, 111)
        assert_failed(pool, goal, verdict.reason, since)
        return
    assert isinstance(verdict, Reached)
    values = verdict.values
    if isinstance(goal, StopGoal):
        assert pool.is_stopping
        assert not len(pool.workers)
    elif "ended" in values:
        assert pool.is_stopping
    elif isinstance(goal, ReloadGoal):
        done = [h.generation for h in since if isinstance(h, orders.RollDone)]
        assert values["generation"] in done
        assert values["generation"] >= values["asked"] == goal.requested
    elif "instead" in values:
        assert values["workers"] == pool.target != values["asked"]
    else:
        assert_all_serve(pool)
        if isinstance(goal, ScaleGoal):
            assert pool.target == values["workers"] == values["asked"]
        else:
            leaving = [
                w for w in pool.workers if w.state not in STARTING_STATES | {WorkerState.READY}
            ]
            assert all(w.cause is orders.Cause.RECYCLE for w in leaving)


def assert_all_serve(pool: Pool) -> None:
    serving = {w.slot: w for w in pool.workers.ready()}
    for slot in range(pool.target):
        budget = pool.workers.budget(slot)
        assert slot in serving or budget.is_closed
        if slot in serving:
            policy = pool.plan.policy
            least = policy.min_uptime if pool.workers.has_failed(slot) else policy.min_ready
            assert serving[slot].uptime(pool.handled_at) >= 0.999 * least
    assert all(w.slot < pool.target for w in pool.workers if w.cause is not orders.Cause.RECYCLE)


def assert_failed(pool: Pool, goal: Goal, reason: str, since: Sequence[orders.Event]) -> None:
    if reason.startswith(("it was told to stop", "the master gave up", "every worker ended")):
        (ending,) = [h for h in since if isinstance(h, orders.Ending)]
        assert bool(ending.reason) == reason.startswith("the master gave up")
        assert bool(ending.done) == reason.startswith("every worker ended")
    elif reason.startswith("all workers were told to leave"):
        assert any(isinstance(h, orders.Parked) for h in since)
    elif reason.startswith(("reload failed", "a reload failed")):
        failed = [h for h in since if isinstance(h, orders.RollFailed)]
        assert any(h.reason in reason for h in failed)
        if isinstance(goal, ReloadGoal):
            assert any(h.kept < goal.requested for h in failed)
    elif "goes on trying" in reason:
        gone = [h for h in since if isinstance(h, orders.WorkerGone)]
        times = Counter(h.slot for h in gone if h.retry_in is not None)
        limit = pool.plan.policy.failure_limit
        reload, wanted = isinstance(goal, ReloadGoal), pool.plan.generation
        serving = {w.slot for w in pool.workers.ready() if not reload or w.generation == wanted}
        unserved = {n for n in range(pool.target) if n not in serving or not pool.is_steady(n)}
        in_a_row = {slot: pool.workers.budget(slot).failures for slot in times}
        assert any(max(times[n], in_a_row[n]) >= limit for n in unserved & times.keys())
    else:
        assert "was killed, and the kernel" in reason, reason
        assert any(w.is_lingering for w in pool.workers)
