"""The pool in a simulated world: random histories, and the invariants of all of them.

The world is a set of processes that boot, beat, hang, drain and die when hypothesis decides so, and
a clock that it moves. The pool is the real one, and the world does to it all that a kernel, an
operator and an app may do. A successor of the pool, loaded from a dump at any point, gets the
same facts and has to give the same orders. Clients wait for goals meanwhile. Each gets a true
verdict, in bounded time also where the world goes wrong for ever.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from prefork.pool import MasterState, Policy, Pool, facts, orders
from prefork.pool.goals import (
    Goal,
    ReloadGoal,
    ScaleGoal,
    StableGoal,
    StopGoal,
    load_goal,
    refusal_reason,
)
from prefork.pool.leader_state import LeaderState
from prefork.pool.pool import GRACE_AFTER_SLEEP
from prefork.pool.pool_state import PoolState
from prefork.pool.workers import STARTING_STATES, WorkerState
from tests.pure.pool.goals_truth import assert_true
from tests.pure.pool.goals_world import FATES, LONGEST, MEANWHILE, STATES, VERBS
from tests.pure.pool.goals_world import World as SmallWorld

HANG = 30.0
DOOM = [fate for fate in FATES if fate != "done"]
POLICIES = st.builds(
    Policy,
    workers=st.integers(1, 5),
    surge=st.integers(1, 3),
    boot_timeout=st.sampled_from([1.0, 10.0]),
    kill_timeout=st.sampled_from([0.5, 5.0]),
    min_ready=st.sampled_from([0.0, 0.5]),
    max_restarts=st.sampled_from([None, 3]),
    max_lifetime=st.sampled_from([None, 20.0]),
    lifetime_jitter=st.sampled_from([0.0, 5.0]),
    stop_exit_codes=st.sampled_from([frozenset(), frozenset({7})]),
    reload_timeout=st.sampled_from([None, 30.0]),
    elects_leader=st.sampled_from([True, True, False]),
    reports_requests=st.sampled_from([True, True, False]),
    stop_delay=st.sampled_from([0.0, 10.0]),
)


@dataclass
class Process:
    """A process of the simulated world."""

    slot: int
    generation: int
    ready: bool = False
    asked_to_stop: bool = False
    killed: bool = False
    beating: bool = True
    busy: bool = False
    waits: bool = False
    """It drains, and waits for its threads only."""
    may_lead: bool = True
    leads: bool = False
    """It was told that it leads, and its work as the leader has not ended."""
    is_resigning: bool = False
    """That work has ended, and the master has not read it yet."""
    knows_end: bool = False
    """It closes each connection after its next response."""
    can_report: bool = True
    deadline: float = 0.0
    """The value in its row for the next heartbeat; 0: nothing."""


def process_rule(
    also: Mapping[str, st.SearchStrategy[Any]] = MappingProxyType({}), /, **wanted: bool
) -> Callable[[Callable[..., None]], Any]:
    """Make a rule of a method that gets a process with these attributes.

    ``also``: the strategies of its further arguments. The rule is chosen only where there is such a
    process: an assumption that fails would end the whole history.
    """

    def decorate(act: Callable[..., None]) -> Any:
        def run(self: "World", data: st.DataObject, **drawn: Any) -> None:
            act(self, data.draw(st.sampled_from(self.found(**wanted))), **drawn)

        run.__name__, run.__doc__ = act.__name__, act.__doc__
        has_one = precondition(lambda self: bool(self.found(**wanted)))
        return has_one(rule(data=st.data(), **also)(run))

    return decorate


class World(RuleBasedStateMachine):
    """Every rule is something that may happen, and every order changes the world."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.processes: dict[int, Process] = {}
        self.unborn: set[int] = set()
        self.forks_fail = False
        self.exited = False
        self.newest = 1
        self.orphan_leads = False
        self.slept = 0.0
        """Seconds that the master overslept, in all."""
        self.events: list[orders.Event] = []
        self.waiting: list[tuple[Goal, int]] = []
        """Goals without a verdict, each with the number of events before it began."""
        self.inherited: list[Goal] = []
        """The same goals, dumped and loaded, of the successor."""
        self.tokens = [0]
        """The fencing token of an earlier master, and those that followed."""

    @initialize(
        policy=POLICIES,
        seed=st.integers(0, 9),
        fate=st.sampled_from(DOOM),
        orphan_leads=st.booleans(),
        token=st.sampled_from([0, 41]),
        serves=st.booleans(),
    )
    def begin(
        self, policy: Policy, seed: int, fate: str, orphan_leads: bool, token: int, serves: bool
    ) -> None:
        """Start a master. ``orphan_leads``: the leader of an earlier one, which was killed, goes
        on. ``serves``: all workers are ready; otherwise most histories end with a failed start."""
        self.fate = fate
        self.rng = Random(seed)
        self.orphan_leads = orphan_leads
        self.tokens = [token]
        left = LeaderState(token=token, predecessor_lives=orphan_leads)
        self.pool = Pool(policy, self.rng, leader=left)
        self.hand_over()
        self.tell(facts.Tick())
        for worker in self.found() if serves else ():
            self.become_ready(worker)

    @rule()
    def hand_over(self) -> None:
        """Give the successor the state as it is now, as JSON."""
        rng = Random()
        rng.setstate(self.rng.getstate())
        self.successor = Pool.load(json.loads(json.dumps(self.pool.dump())), rng)
        dumps = [(json.loads(json.dumps(goal.dump())), since) for goal, since in self.waiting]
        self.inherited = [load_goal(dump, self.successor) for dump, _ in dumps]
        self.check_successor()

    def check_successor(self) -> None:
        """Assert that the successor of the pool knows the same, and its goals judge alike."""
        for each in dataclasses.fields(PoolState):
            assert getattr(self.successor, each.name) == getattr(self.pool, each.name), each.name
        for (goal, _), inherited in zip(self.waiting, self.inherited, strict=True):
            assert {**vars(inherited), "pool": None} == {**vars(goal), "pool": None}
            assert inherited.verdict() == goal.verdict()

    # How the world carries out orders.

    def tell(self, fact: facts.Fact) -> None:
        """Pass a fact to the pool, carry out its orders, and check each."""
        if self.exited:
            return
        before = {w.slot: w for w in self.pool.workers.ready()}
        fallen_to = self.stable_generation()
        follow_up: list[facts.Fact] = []
        ordered = self.pool.handle(fact, self.now)
        assert self.successor.handle(fact, self.now) == ordered, "a dump changed the orders"
        for order in ordered:
            follow_up += self.carry_out(order)
        self.check_roll_is_gentle(fact, before, ordered)
        self.check_frozen_keeps_the_old(ordered, fallen_to)
        for next_fact in follow_up:
            self.tell(next_fact)
        self.judge_goals()

    def carry_out(self, order: orders.Order) -> list[facts.Fact]:  # noqa: C901 - a case each
        match order:
            case orders.Spawn(worker, slot, generation):
                limit = self.pool.target + self.pool.plan.policy.surge
                waiting = sum(process.waits for process in self.processes.values())
                burden = len(self.processes) - min(waiting, self.pool.target)
                assert burden < limit, "spawned beyond target + surge"
                assert 0 <= slot < self.pool.target
                self.check_recycle_is_gentle(slot, generation)
                if self.forks_fail:
                    self.unborn.add(worker)
                    return [facts.SpawnFailed(worker, "cannot fork")]
                policy = self.pool.plan.policy
                self.processes[worker] = Process(
                    slot,
                    generation,
                    may_lead=policy.elects_leader,
                    can_report=policy.reports_requests,
                )
                return [facts.Spawned(worker, 10_000 + worker)]
            case orders.Stop(worker) | orders.Kill(worker) if worker in self.unborn:
                pass  # the pool does not know yet that the fork failed
            case orders.Stop(worker):
                self.alive(worker).asked_to_stop = True
            case orders.Kill(worker):
                self.alive(worker).killed = True
            case orders.DumpStacks(worker, by_force):
                process = self.alive(worker)
                knows_how = process.can_report or not process.asked_to_stop
                assert by_force or knows_how, "a program that leaves was asked for its stacks"
            case orders.NameLeader(worker, token):
                self.begin_term(self.alive(worker), token)
            case orders.AnnounceEnd(worker):
                assert self.alive(worker).ready, "no handler for the signal yet"
                self.alive(worker).knows_end = True
            case orders.Announce(event):
                self.events.append(event)
                self.slept += event.seconds if isinstance(event, orders.Overslept) else 0.0
                for goal in [*(goal for goal, _ in self.waiting), *self.inherited]:
                    goal.observe(event)
            case orders.Exit():
                assert not self.processes, "the master left while children lived"
                self.exited = True
        return []

    def begin_term(self, process: Process, token: int) -> None:
        assert process.may_lead, "a program, which cannot be told, was named"
        assert token > self.tokens[-1], "the fencing token did not rise"
        self.tokens.append(token)
        process.leads = True
        self.check_leaders()

    def check_leaders(self) -> None:
        """Assert that no two processes lead, those of an earlier master among them."""
        leaders = [number for number, process in self.processes.items() if process.leads]
        assert len(leaders) + self.orphan_leads <= 1, f"{leaders} lead"

    def judge_goals(self) -> None:
        """Check the verdicts of goals that have one, and end those goals."""
        self.check_successor()
        open_ = []
        for (goal, begun), inherited in zip(self.waiting, self.inherited, strict=True):
            if (verdict := goal.verdict()) is not None:
                assert_true(self.pool, goal, verdict, self.events[begun:])
            else:
                open_.append(((goal, begun), inherited))
        self.waiting = [waiting for waiting, _ in open_]
        self.inherited = [inherited for _, inherited in open_]

    def wait_for(self, goal: Goal) -> None:
        self.waiting.append((goal, len(self.events)))
        self.inherited.append(load_goal(goal.dump(), self.successor))

    def alive(self, worker: int) -> Process:
        assert worker in self.processes, "signalled a worker that was reaped"
        return self.processes[worker]

    def stable_generation(self) -> int:
        fallback = self.pool.fallback
        return (fallback or self.pool.plan).generation

    def check_roll_is_gentle(self, fact, before, ordered) -> None:
        """Assert that a slot that was served still is.

        Exceptions: its worker failed or was not wanted, or its heir ended with the work done.
        """
        for slot, worker in before.items():
            if slot >= self.pool.target or worker.state is WorkerState.HUNG:
                continue
            if isinstance(fact, facts.Exited) and self.pool.workers.budget(slot).is_closed:
                continue
            own = getattr(fact, "worker", None) == worker.id
            if own and isinstance(fact, facts.Exited | facts.Leaving):
                continue
            serving = {w.slot for w in self.pool.workers.ready()}
            assert slot in serving, f"{fact} cost slot {slot} its worker"

    def check_recycle_is_gentle(self, slot: int, generation: int) -> None:
        """Assert that no worker is recycled during a roll, and only one at a time."""
        busy = {w.slot for w in self.pool.workers.ready() if self.processes[w.id].busy}
        recycled = {w.slot for w in self.pool.workers.ready() if w.generation == generation}
        if slot in recycled:
            assert self.pool.state is not MasterState.RELOADING
            fresh = [w.slot for w in self.pool.workers if w.state in STARTING_STATES]
            assert [each for each in fresh if each in recycled] == [slot]
            assert slot not in busy, "recycled in the middle of its work"

    def check_frozen_keeps_the_old(self, ordered, fallen_to: int) -> None:
        failed = [
            o.event
            for o in ordered
            if isinstance(o, orders.Announce) and isinstance(o.event, orders.RollFailed)
        ]
        for failure in failed:
            if self.pool.state is MasterState.FROZEN:
                assert failure.kept == self.pool.plan.generation == fallen_to
                assert self.pool.failure

    # Events of processes.

    def found(self, **wanted: bool) -> list[int]:
        """Return the processes with these attributes."""
        return [
            number
            for number, process in sorted(self.processes.items())
            if all(getattr(process, key) == value for key, value in wanted.items())
        ]

    @process_rule(ready=False, killed=False)
    def a_worker_becomes_ready(self, worker: int) -> None:
        self.become_ready(worker)

    def become_ready(self, worker: int) -> None:
        self.processes[worker].ready = True
        self.tell(facts.Ready(worker))
        self.beat()

    @process_rule(ready=False)
    def a_boot_fails(self, worker: int) -> None:
        self.tell(facts.BootFailed(worker, "ImportError"))
        self.end(worker, code=102)

    @process_rule(ready=False)
    def the_master_gives_a_boot_up(self, worker: int) -> None:
        """It saw that the worker will not become ready, and the worker goes on living."""
        self.tell(facts.NotReady(worker, "nothing accepts"))
        self.tell(facts.BootFailed(worker, "nothing accepts", lives=True))

    @process_rule({"how": st.sampled_from([0, 1, 7, "SIGSEGV", "oom"])})
    def a_worker_dies(self, worker: int, how: int | str) -> None:
        if isinstance(how, int):
            self.end(worker, code=how)
        else:
            self.end(worker, signal="SIGKILL" if how == "oom" else how, oom=how == "oom")

    @process_rule(asked_to_stop=True)
    def a_worker_leaves_as_asked(self, worker: int) -> None:
        self.end(worker, code=0)

    @process_rule(killed=True)
    def a_killed_worker_dies(self, worker: int) -> None:
        self.end(worker, signal="SIGKILL")

    @process_rule(ready=True, beating=True)
    def a_worker_hangs(self, worker: int) -> None:
        self.processes[worker].beating = False

    @process_rule(killed=False)
    def a_worker_says_where_it_is_stuck(self, worker: int) -> None:
        """The worker may have been asked for its stacks or not."""
        self.tell(facts.Stuck(worker, "GET /slow"))

    @process_rule(killed=False)
    def a_worker_is_signalled(self, worker: int) -> None:
        self.processes[worker].asked_to_stop = True
        self.tell(facts.Leaving(worker))

    @process_rule(asked_to_stop=True, killed=False)
    def a_worker_waits_for_its_threads(self, worker: int) -> None:
        self.tell(facts.Leaving(worker))
        known = self.pool.workers.get(worker, WorkerState.DRAINING)
        self.processes[worker].waits = known is not None
        self.processes[worker].deadline = 0.0
        self.tell(facts.Leaving(worker, "threads"))

    @process_rule(leads=True)
    def the_work_of_a_leader_ends(self, worker: int) -> None:
        """The leader resigns when it was asked to stop; one that is hostile does at any time. The
        master reads it now or later."""
        process = self.processes[worker]
        process.leads, process.is_resigning = False, True

    @process_rule(is_resigning=True)
    def the_master_reads_that_a_leader_resigned(self, worker: int) -> None:
        self.processes[worker].is_resigning = False
        self.tell(facts.Resigned(worker))

    @process_rule(leads=False)
    def a_worker_that_does_not_lead_resigns(self, worker: int) -> None:
        self.processes[worker].may_lead = False
        self.tell(facts.Resigned(worker))

    @precondition(lambda self: self.orphan_leads)
    @rule()
    def the_leader_of_the_earlier_master_ends(self) -> None:
        self.orphan_leads = False
        self.tell(facts.PredecessorEnded())

    @process_rule({"busy": st.booleans()}, ready=True)
    def an_app_begins_or_ends_its_work(self, worker: int, busy: bool) -> None:
        self.processes[worker].busy = busy
        self.beat()

    @process_rule(ready=True)
    def a_worker_is_worn(self, worker: int) -> None:
        self.tell(facts.Worn(worker, "1000 requests"))

    @rule(worker=st.integers(0, 60))
    def facts_about_unknown_workers(self, worker: int) -> None:
        self.tell(facts.BootFailed(worker + 1000, "who?"))
        self.tell(facts.Resigned(worker + 1000))
        self.tell(facts.Exited(worker + 1000, code=0))

    def end(self, worker: int, code=None, signal=None, oom: bool = False) -> None:
        del self.processes[worker]
        self.tell(facts.Exited(worker, code, signal, oom))

    @rule(fail=st.booleans())
    def memory_is_short(self, fail: bool) -> None:
        self.forks_fail = fail

    # Requests of an operator.

    @rule(policy=POLICIES, again=st.integers(1, 3))
    def hup(self, policy: Policy, again: int) -> None:
        for _ in range(again):
            self.newest += 1
            self.tell(facts.ReloadRequested(self.newest, policy))

    @rule()
    def a_reload_with_a_broken_config(self) -> None:
        self.tell(facts.ReloadRefused("prefork.toml is no valid TOML"))

    @rule()
    def cron(self) -> None:
        self.tell(facts.RecycleRequested("--cron 0 4 * * *"))

    @rule(by=st.sampled_from([-3, -1, 1, 2]))
    def scale(self, by: int) -> None:
        self.tell(facts.ScaleRequested(by))

    @rule()
    def winch(self) -> None:
        self.tell(facts.DrainRequested())

    @precondition(lambda self: self.newest > 3)
    @rule(quick=st.booleans())
    def stop(self, quick: bool) -> None:
        self.tell(facts.StopRequested(quick))
        assert self.pool.is_stopping
        assert not (quick and self.pool.stop_due_at), "a quick stop is delayed"

    @precondition(lambda self: self.newest > 3)
    @rule()
    def a_stop_signal_comes(self) -> None:
        """Each one brings the end nearer: a stop, the end of its delay, a quick stop."""
        pool = self.pool
        before = (pool.is_stopping, pool.is_leaving, pool.is_quick_stop)
        self.tell(facts.StopSignalled())
        after = (pool.is_stopping, pool.is_leaving, pool.is_quick_stop)
        assert self.exited or after > before or all(before)

    # Commands of clients that wait.

    @rule()
    def a_client_waits(self) -> None:
        if not refusal_reason(self.pool):
            self.wait_for(StableGoal(self.pool))

    @rule(workers=st.integers(1, 6))
    def a_client_scales(self, workers: int) -> None:
        if not refusal_reason(self.pool, workers):
            self.tell(facts.ScaleRequested(workers - self.pool.plan.target))
            self.wait_for(ScaleGoal(self.pool, workers))

    @rule(policy=POLICIES)
    def a_client_reloads(self, policy: Policy) -> None:
        if not refusal_reason(self.pool):
            self.newest += 1
            self.wait_for(ReloadGoal(self.pool, self.newest))
            self.tell(facts.ReloadRequested(self.newest, policy))

    @precondition(lambda self: self.newest > 3)
    @rule()
    def a_client_stops(self) -> None:
        self.wait_for(StopGoal(self.pool))
        self.tell(facts.StopRequested())

    # Time.

    @rule(seconds=st.floats(0.01, 40.0))
    def time_passes(self, seconds: float) -> None:
        """Let time pass; the master wakes at each of its deadlines."""
        until = self.now + seconds
        for _ in range(200):
            due = self.pool.next_deadline()
            if due is None or due > until or self.exited:
                break
            self.now = max(self.now, due)
            self.beat()
        self.now = until
        self.beat()

    @rule(seconds=st.sampled_from([5.0, 100.0, 100_000.0]))
    def the_machine_is_suspended(self, seconds: float) -> None:
        """Suspend master and workers; after it the master runs first, before any worker could
        beat."""
        hung = {w.id for w in self.pool.workers if w.state is WorkerState.HUNG}
        healthy = {number for number, process in self.processes.items() if process.beating}
        self.now += seconds
        self.read_rows()
        newly = {w.id for w in self.pool.workers if w.state is WorkerState.HUNG} - hung
        if seconds > HANG + 10:
            assert not newly & healthy, "a sleep was taken for a hang"
        self.beat()

    def beat(self) -> None:
        """Let all healthy workers beat, those that drain as well; then the master reads them."""
        for process in self.processes.values():
            if process.ready and process.beating and not process.waits:
                process.deadline = self.now + HANG
        self.read_rows()

    def read_rows(self) -> None:
        deadlines = {
            n: process.deadline for n, process in self.processes.items() if process.deadline
        }
        busy = frozenset(number for number, process in self.processes.items() if process.busy)
        self.tell(facts.Heartbeats(deadlines, busy))

    # Invariants.

    @invariant()
    def a_slot_has_one_incumbent_and_one_heir_at_most(self) -> None:
        if not hasattr(self, "pool") or self.exited:
            return
        ready = [w.slot for w in self.pool.workers.ready()]
        fresh = [w.slot for w in self.pool.workers if w.state in STARTING_STATES]
        assert len(ready) == len(set(ready))
        assert len(fresh) == len(set(fresh))
        assert all(slot < self.pool.target for slot in ready + fresh)

    @invariant()
    def one_worker_leads_as_soon_as_one_can(self) -> None:
        if not hasattr(self, "pool") or self.exited:
            return
        self.check_leaders()
        ready = {w.id for w in self.pool.workers.ready()}
        can = {n for n, process in self.processes.items() if n in ready and process.may_lead}
        held = self.orphan_leads or any(
            process.leads or process.is_resigning for process in self.processes.values()
        )
        resigned = {w.id for w in self.pool.workers if not w.may_lead}
        assert held or not can - resigned, "no worker leads, and one could"

    @invariant()
    def every_transient_state_has_a_deadline_ahead(self) -> None:
        if not hasattr(self, "pool") or self.exited:
            return
        for worker in self.pool.workers:
            if worker.state in (WorkerState.BOOTING, WorkerState.DRAINING, WorkerState.HUNG):
                assert worker.deadline is not None
                assert worker.deadline > self.now
        due = self.pool.next_deadline()
        assert due is None or due > self.now, "the master would spin"

    @invariant()
    def a_hang_ends_in_time_whether_its_worker_serves_or_drains(self) -> None:
        if not hasattr(self, "pool") or self.exited:
            return
        longest = 2 * self.pool.plan.policy.hang_grace + GRACE_AFTER_SLEEP + self.slept
        for process in self.processes.values():
            is_program_that_drains = process.asked_to_stop and not process.can_report
            if process.deadline and not (process.killed or is_program_that_drains):
                assert self.now <= process.deadline + longest, "a request outlived its timeout"

    @invariant()
    def during_the_stop_delay_all_workers_that_serve_know_of_it(self) -> None:
        if not hasattr(self, "pool") or self.exited or self.pool.stop_due_at is None:
            return
        assert self.pool.is_stopping
        assert self.pool.stop_due_at <= self.now + 10.0
        assert all(self.processes[w.id].knows_end for w in self.pool.workers.ready())

    @invariant()
    def the_pool_knows_exactly_who_lives(self) -> None:
        if hasattr(self, "pool"):
            assert {w.id for w in self.pool.workers} == set(self.processes)
            self.unborn.clear()

    def teardown(self) -> None:
        """A world without failures converges to the target at one generation, or to the end."""
        if not hasattr(self, "pool"):
            return
        self.every_client_is_told()
        self.forks_fail = False
        for _ in range(400):
            if self.exited or self.settled():
                break
            self.quiet_step()
        assert self.exited or self.settled(), [
            (w.slot, w.generation, w.state) for w in self.pool.workers
        ]

    def every_client_is_told(self) -> None:
        """Every goal ends in bounded time, also if the failures of the world go on."""
        self.forks_fail = self.fate == "forks fail"
        until = self.now + LONGEST
        for _ in range(5000):
            if not self.waiting or self.exited:
                break
            if not self.doomed_step() and self.waiting:
                due = self.pool.next_deadline()
                assert due is not None, "a client waits, and nothing is to come"
                assert due < until, "a client waits for ever"
                self.now = max(self.now, due)
                self.beat()
        self.judge_goals()
        assert not self.waiting, self.waiting

    def doomed_step(self) -> bool:
        """Let every process do a step that its fate allows; return whether any did one."""
        acted = False
        for number, process in sorted(self.processes.items()):
            if number not in self.processes:
                continue
            if process.killed:
                if self.fate == "kernel holds":
                    continue
                self.end(number, signal="SIGKILL")
            elif process.asked_to_stop:
                if self.fate in ("deaf", "kernel holds"):
                    continue
                self.end(number, code=0)
            elif process.ready or self.fate == "boots hang":
                continue
            elif self.fate == "boots fail":
                self.tell(facts.BootFailed(number, "ImportError"))
                self.end(number, code=102)
            else:
                process.ready = True
                self.tell(facts.Ready(number))
                if self.fate == "crashes":
                    self.end(number, signal="SIGSEGV")
            acted = True
        self.beat()
        return acted

    def quiet_step(self) -> None:
        """Let every process do as it should; if none has anything to do, let time pass."""
        acted = False
        for number, process in sorted(self.processes.items()):
            acted |= process.killed or process.asked_to_stop or not process.ready
            if process.killed:
                self.end(number, signal="SIGKILL")
            elif process.asked_to_stop:
                self.end(number, code=0)
            elif not process.ready:
                process.ready = True
                self.tell(facts.Ready(number))
            process.beating, process.busy = True, False
        self.beat()
        due = self.pool.next_deadline()
        if due is not None and not acted:
            self.now = max(self.now, due)
            self.beat()

    def settled(self) -> bool:
        pool = self.pool
        if pool.is_stopping or len(pool.workers) != len(pool.workers.ready()):
            return False
        if pool.state is MasterState.RELOADING:
            return False
        wanted = {s for s in range(pool.target) if not pool.workers.budget(s).is_closed}
        serving = {w.slot for w in pool.workers.ready() if w.generation == pool.plan.generation}
        return serving >= wanted and not any(w.worn for w in pool.workers)


World.TestCase.settings = settings(
    max_examples=1000,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestPoolInAnyWorld = World.TestCase
# It takes half a minute on an idle machine, and much longer on a busy one.
TestPoolInAnyWorld.pytestmark = [pytest.mark.timeout(900)]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_every_goal_ends_with_a_true_verdict(
    state: Callable[[SmallWorld], None], verb: str
) -> None:
    """In each fate of the workers, and with each other request in the middle."""
    for fate in FATES:
        for meanwhile, happen in MEANWHILE.items():
            for at in (0, 2):
                world = SmallWorld(stop_exit_codes=frozenset({7}))
                state(world)
                if refusal_reason(world.pool) and verb != "stop":
                    continue
                world.fate = fate
                VERBS[verb](world)
                for _ in range(at):
                    world.step()
                happen(world)
                try:
                    world.verdict()
                except AssertionError as error:
                    raise AssertionError(f"{fate}, then {meanwhile} after {at} steps") from error
