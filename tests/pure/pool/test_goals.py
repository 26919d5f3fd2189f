"""Goals, one property at a time. test_simulation.py has every goal in every state."""

from prefork.pool import MasterState, facts, orders
from prefork.pool.goals import Failed, Goal, Reached, ReloadGoal, StopGoal, refusal_reason
from prefork.pool.workers import STARTING_STATES, WorkerState
from tests.pure.pool.goals_world import World, reload, scale, served, settle, stop


def test_a_scale_whose_workers_keep_failing_fails_with_their_reason() -> None:
    world = World(workers=1)
    served(world)
    scale(world, 2)
    world.fate = "boots fail"
    verdict = world.verdict()
    assert verdict == Failed(
        "1 of 2 workers serve, and prefork goes on trying: worker 1 failed 3 times: ImportError",
        102,
    )


def test_a_reload_names_the_options_that_it_could_not_change() -> None:
    world = World(workers=1)
    served(world)
    goal = world.wait_for(ReloadGoal(world.pool, 2, ["umask"]))
    assert goal.accepted_values == {"needs_restart": ["umask"]}
    world.hup()
    verdict = world.verdict()
    assert isinstance(verdict, Reached)
    assert (verdict.values["generation"], verdict.values["needs_restart"]) == (2, ["umask"])
    assert StopGoal(world.pool).accepted_values == {}


def test_max_restarts_bounds_how_often_a_goal_looks_on() -> None:
    world = World(workers=1, max_restarts=0)
    served(world)
    scale(world, 2)
    world.fate = "forks fail"
    world.tell(facts.Exited(2, 1))
    verdict = world.verdict()
    assert "worker 1 failed once: boot failure (exit code 1)" in str(verdict)
    assert world.verdict().fault == 102


def test_workers_that_die_a_moment_after_they_were_ready_let_no_command_end_well() -> None:
    """All of them are ready at one moment, again and again."""
    for verb in (settle, reload, lambda world: scale(world, 3)):
        world = World(workers=2)
        served(world)
        verb(world)
        world.fate = "dies young"
        if verb is settle:
            world.step()
        verdict = world.verdict()
        assert isinstance(verdict, Failed)
        assert "exited by itself (exit code 1)" in verdict.reason


def test_new_workers_that_die_once_they_were_ready_fail_the_command() -> None:
    """The old ones serve, and no slot has failed before. A roll goes back to them."""
    for verb in (reload, lambda world: scale(world, 3)):
        world = World(workers=1, min_ready=0.1)
        served(world)
        world.spared = set(world.living)
        verb(world)
        world.fate = "dies young"
        verdict = world.verdict()
        assert isinstance(verdict, Failed)
        assert "exited by itself (exit code 1)" in verdict.reason
        assert world.pool.plan.generation == 1


def test_new_workers_that_stay_ready_are_waited_for_no_longer_than_that() -> None:
    for verb in (settle, reload, lambda world: scale(world, 3)):
        world = World(workers=1, min_ready=0.1, min_uptime=5.0)
        began = world.now
        verb(world)
        assert isinstance(world.verdict(), Reached)
        assert round(world.now - began, 6) == 0.1


def test_a_slot_that_was_failing_before_the_command_fails_it_with_its_next_failure() -> None:
    world = World(workers=2)
    served(world)
    world.fate = "dies young"
    for _ in range(60):
        world.step()
        world.now = max(world.now, world.pool.next_deadline() or 0.0)
        world.tell(facts.Tick())
    assert world.pool.failing_slots() == [0, 1]
    scale(world, 1)
    verdict = world.verdict()
    assert isinstance(verdict, Failed)
    assert len([event for event in world.since if isinstance(event, orders.WorkerGone)]) <= 2


def test_workers_that_serve_again_after_a_failure_are_waited_for() -> None:
    """The command ends well when they have served for min_uptime."""
    world = World(workers=1, min_uptime=5.0)
    served(world)
    world.end(1, code=1)
    began = world.now
    settle(world)
    assert isinstance(world.verdict(), Reached)
    assert world.now - began >= 5.0


def test_a_fork_that_fails_is_the_machine_s_fault() -> None:
    world = World(workers=2)
    served(world)
    world.fate = "forks fail"
    scale(world, 3)
    assert world.verdict().fault == 111


def test_a_reload_while_starting_is_done_when_every_slot_serves() -> None:
    world = World()
    reload(world)
    assert world.verdict() == Reached({"generation": 2, "asked": 2, "took": 0.0})
    assert world.pool.state is MasterState.RUNNING
    assert all(w.generation == 2 for w in world.pool.workers)


def test_a_reload_while_starting_may_be_followed_by_another_and_by_a_refusal() -> None:
    world = World()
    reload(world)
    world.step(lambda worker: worker in (4, 5))  # generation 2 begins to serve
    world.tell(facts.ReloadRefused("no valid TOML"))
    served(world)
    assert world.pool.state is MasterState.FROZEN
    assert world.pool.failure == "no valid TOML"
    assert world.verdict().values["generation"] == 2


def test_a_reload_that_is_overtaken_names_the_later_one() -> None:
    world = World()
    served(world)
    reload(world)
    world.hup()
    world.fate = "boots fail"
    verdict = world.verdict()
    said = (
        "reload failed (it was overtaken by one to gen 3), gen 1 serves on: worker 0: ImportError"
    )
    assert verdict == Failed(said, 102)


def overtaken_while_starting(world: World) -> None:
    """A client waits for generation 2, and a reload to generation 3 has replaced one worker so
    far."""
    reload(world)
    world.end(1)
    world.end(2)
    world.boot(3)
    world.hup()
    world.boot(5)
    world.end(4)
    world.tell(facts.BootFailed(6, "ImportError"))
    world.end(6, code=102)
    assert world.pool.state is MasterState.FROZEN
    assert [(w.slot, w.generation) for w in world.pool.workers.ready()] == [(0, 2), (1, 3)]


def test_a_reload_is_reached_although_a_later_one_failed_before_it_was_done() -> None:
    world = World(workers=2)
    overtaken_while_starting(world)
    assert world.verdict().values["generation"] == 2
    assert {w.generation for w in world.pool.workers.ready()} == {2}


def test_a_reload_whose_rollback_does_not_succeed_names_the_reason() -> None:
    """Workers of the later reload, which failed, serve on, but do not fulfil the goal."""
    world = World(workers=2)
    overtaken_while_starting(world)
    world.fate = "boots fail"
    verdict = world.verdict()
    failed = "1 of 2 workers serve gen 2, and prefork goes on trying: worker 1 failed 3 times"
    assert verdict == Failed(f"{failed}: ImportError", 102)


def test_failures_before_a_reload_begins_are_not_its_own() -> None:
    world = World(workers=2, max_restarts=0)
    served(world)
    goal = world.wait_for(ReloadGoal(world.pool, 2))
    world.end(1, signal="SIGSEGV")
    assert goal.verdict() is None
    world.hup()
    assert world.verdict().values["generation"] == 2


def test_a_later_reload_is_as_good() -> None:
    world = World()
    served(world)
    reload(world)
    world.hup()
    assert world.verdict().values["generation"] == 3


def test_the_refusal_of_another_reload_is_not_taken_for_ours() -> None:
    """Neither a refusal before the reload nor one during it ends its goal."""
    world = World()
    served(world)
    world.wait_for(ReloadGoal(world.pool, 2))
    world.tell(facts.ReloadRefused("an earlier one"))
    world.hup()
    world.tell(facts.ReloadRefused("a later one"))
    assert world.verdict().values["generation"] == 2


def test_a_scale_names_the_command_that_took_its_place() -> None:
    world = World()
    served(world)
    for fact, instead in [
        (facts.ScaleRequested(+1), "a later command"),
        (facts.ScaleRequested(-1, "no connection waits"), "the autoscaler (no connection waits)"),
    ]:
        scale(world, 6)
        world.tell(fact)
        target = world.pool.target
        assert world.verdict().values == {"workers": target, "asked": 6, "instead": instead}
    scale(world, 6)
    world.hup(workers=2)
    assert world.verdict().values["instead"] == "a reload"


def test_a_scale_names_the_failed_reload_that_reverted_its_number() -> None:
    world = World()
    served(world)
    world.hup(workers=5)
    scale(world, 6)
    world.fate = "boots fail"
    assert "went back to 4: worker" in world.verdict().reason


def test_a_scale_names_the_slots_whose_work_is_done() -> None:
    world = World(workers=2, stop_exit_codes=frozenset({7}))
    served(world)
    world.end(1, code=7)
    scale(world, 3)
    assert world.verdict().values == {"workers": 3, "asked": 3, "done": [0]}


def test_recycling_without_an_end_keeps_no_client_waiting() -> None:
    world = World(workers=2)
    served(world)
    world.tell(facts.RecycleRequested("--cron"))
    assert any(w.state in STARTING_STATES for w in world.pool.workers)
    settle(world)
    assert world.verdict().values == {"workers": 2, "done": []}
    world.step(lambda worker: worker == 3)
    assert any(w.state is WorkerState.DRAINING for w in world.pool.workers)
    settle(world)
    assert isinstance(world.verdict(), Reached)


def test_a_process_that_the_kernel_does_not_end_is_named() -> None:
    world = World("kernel holds", workers=2)
    served(world)
    stop(world)
    verdict = world.verdict()
    assert "pid 1001, 1002 was killed, and the kernel does not end it" in verdict.reason
    assert verdict.fault == 111
    told = [h for h in world.since if isinstance(h, orders.WorkerLingers)]
    assert [each.pid for each in told] == [1001, 1002]
    assert world.pool.next_deadline() is None


def test_one_that_lingers_does_not_keep_a_new_worker_from_its_slot() -> None:
    world = World("kernel holds", workers=2)
    served(world)
    scale(world, 1)
    assert "pid 1002 was killed" in world.verdict().reason
    world.fate = "healthy"
    world.living.pop(2)
    scale(world, 2)
    assert isinstance(world.verdict(), Reached), "surge leaves room for one more"


def test_an_app_whose_work_is_done_has_started_well() -> None:
    world = World(workers=1, stop_exit_codes=frozenset({7}))
    settle(world)
    world.fate = "done"
    verdict = world.verdict()
    assert verdict.values["ended"].startswith("every worker ended with an exit code of")
    assert world.exited


def test_a_number_beyond_the_bounds_is_refused() -> None:
    world = World(workers=2, min_workers=2, max_workers=4)
    assert refusal_reason(world.pool, 4) == ""
    assert refusal_reason(world.pool, 5) == "there may be 2 to 4 workers, not 5"
    world.tell(facts.StopRequested())
    assert refusal_reason(world.pool) == "it is stopping"


def test_a_stop_ends_every_other_goal() -> None:
    for verb in (settle, reload, lambda world: scale(world, 5)):
        world = World()
        served(world)
        verb(world)
        world.tell(facts.StopRequested())
        assert world.verdict() == Failed("it was told to stop before that was done", 100)


def test_a_master_that_gives_up_names_the_reason() -> None:
    world = World("boots fail")
    settle(world)
    assert world.verdict() == Failed("the master gave up: worker 0: ImportError", 102)
    world = World(workers=1, stop_exit_codes=frozenset({7}))
    served(world)
    scale(world, 1)
    world.wait_for(ReloadGoal(world.pool, 2))
    world.end(1, code=7)
    assert world.verdict().reason.startswith("every worker ended with an exit code of")


def test_a_drain_takes_the_place_of_a_scale_and_of_a_reload() -> None:
    for verb in (reload, lambda world: scale(world, 5)):
        world = World()
        served(world)
        verb(world)
        world.tell(facts.DrainRequested())
        assert world.verdict().reason.startswith("all workers were told to leave before")


def test_a_stop_that_the_pool_has_not_taken_note_of_is_open() -> None:
    world = World(workers=1)
    served(world)
    goal = world.wait_for(StopGoal(world.pool))
    assert goal.verdict() is None
    world.tell(facts.StopRequested())
    assert goal.verdict() is None
    assert world.verdict() == Reached({})


def test_a_goal_of_no_kind_waits_for_the_end() -> None:
    world = World(workers=1)
    goal = world.wait_for(Goal(world.pool))
    served(world)
    assert goal.verdict() is None
