"""The states of the master, and the requests that change what is desired.

    state      event                                                            next state
    starting   the first worker is ready                                        running
               a boot fails before that                                         stopping
               a reload is requested: there is nothing to fall back to          starting
    running    a reload is requested                                            reloading
               a reload is refused                                              frozen
    reloading  every slot serves the new generation, no older worker accepts    running
               a boot fails, a slot fails ``failure_limit`` times, or the
               deadline of the roll passes                                      frozen
               another reload is requested                                      reloading
    frozen     a reload is requested; until then the old generation serves      reloading
    any        a stop is requested                                              stopping
    stopping   workers go on serving for the stop delay, then they drain
               every worker is reaped: the pool orders Exit

A fact changes the desired state (generation, target, policy), here, or the known state of a worker
(worker_life.py). After each fact one step brings the actual state nearer to the desired one
(reconciler.py). So a second reload, a crash, a scale or a stop in the middle of a roll is just
another fact.

Design
------
- **A failed roll is rolled back** slot by slot, with the new worker ready before the old one stops,
  as if it were a reload. The generation that serves again has its old settings and environment;
  files on disk are what they are.
- **A reload during the first start ends with RollDone** and has nothing to fall back to: a boot
  that fails then ends the master, as it does without a reload.
- **A generation that a failed reload falls back to ends with RollDone, too, if its own roll was not
  done yet** (its reload came during the first start). RollFailed alone would leave the client of
  the first reload without an answer. To call that reload failed would be untrue: the pool goes back
  to what it requested.
- **New limits in a reload do not bring back ``--workers``:** the number that the load led to is
  kept, as far as the new limits allow, unless the settings changed the number itself.
- **Recycling leaves settings and generation as they are** (``--cron``, limits of a worker). At four
  in the morning no operator would see that a file was half edited, so it is no reload. An heir that
  fails is tried again.
- **After the master itself was stopped, no heartbeat counts as missed for a moment.** Its workers
  were perhaps stopped with it (a debugger, the freezer of a cgroup), and their rows are as old.
"""

from collections.abc import Iterator
from dataclasses import fields
from random import Random
from typing import Any

from prefork.json_records import dump_record, load_record
from prefork.pool import facts, orders
from prefork.pool.leader_state import LeaderState
from prefork.pool.orders import Cause, Order
from prefork.pool.policy import ManualTarget, Plan, Policy
from prefork.pool.pool_state import MasterState, PoolState
from prefork.pool.worker_life import WorkerLife
from prefork.pool.workers import WorkerState
from prefork.printable import cut_middle

OVERSLEPT_AFTER = 2.0
"""Seconds after its own deadline from which a master counts as stopped or suspended meanwhile."""

GRACE_AFTER_SLEEP = 1.0
"""Seconds that workers have for a heartbeat after such a sleep."""

MAX_NAMED = 5
"""Workers that a message names, at most."""


class Pool(WorkerLife):
    """All decisions about the state that ``PoolState`` declares."""

    __slots__ = ()

    def __init__(
        self,
        policy: Policy,
        rng: Random,
        kept: ManualTarget | None = None,
        leader: LeaderState | None = None,
    ) -> None:
        """Begin with the plan of a new master.

        ``kept``: the number of workers that the operator set while the previous master ran.
        ``rng``: for the jitter of delays and lifetimes. ``leader``: what that master left of the
        leadership: its last token, and whether its leader lives.
        """
        super().__init__(Plan.initial(policy, kept), leader or LeaderState(), rng)

    @classmethod
    def load(cls, dumped: object, rng: Random) -> "Pool":
        """Return the pool that goes on from a dump. Raises ValueError if ``dumped`` is none."""
        state = load_record(PoolState, dumped)
        pool = cls(state.plan.policy, rng)
        for each in fields(PoolState):
            setattr(pool, each.name, getattr(state, each.name))
        return pool

    def dump(self) -> dict[str, Any]:
        """Return the whole state as JSON, between two facts."""
        return dict(dump_record(self))

    # The interface of the master.

    def handle(self, fact: facts.Fact, now: float) -> list[Order]:
        """Take in ``fact`` at monotonic time ``now``, and return the orders to the master."""
        self._compensate_for_sleep(now)
        self.handled_at = now
        self._take_in(fact, now)
        if isinstance(fact, facts.Heartbeats | facts.Tick):
            # Deadlines pass only here, because a master that was stopped reads all messages first:
            # the Ready of a worker may wait behind other facts, and that is not its fault.
            self._check_deadlines(now)
        self._reconcile(now)
        taken, self._orders = self._orders, []
        self.wake_at = self.next_deadline()
        return taken

    def _take_in(self, fact: facts.Fact, now: float) -> None:  # noqa: C901, PLR0912 - a case each
        match fact:
            case facts.Spawned(worker, pid):
                self._on_spawned(worker, pid, now)
            case facts.SpawnFailed(worker, reason):
                self._on_spawn_failed(worker, reason, now)
            case facts.Ready(worker):
                self._on_ready(worker, now)
            case facts.BootFailed():
                self._on_boot_failed(fact, now)
            case facts.NotReady(worker, reason):
                self._on_not_ready(worker, reason)
            case facts.Leaving(worker, waits_for):
                self._on_leaving(worker, waits_for, now)
            case facts.Resigned(worker):
                self._on_resigned(worker)
            case facts.PredecessorEnded():
                self.leader.predecessor_lives = False
            case facts.Worn(worker, why):
                self._on_worn(worker, why, now)
            case facts.Heartbeats(deadlines, busy):
                self.workers.update_heartbeats(deadlines, busy, self.lenient_until)
            case facts.Stuck(worker, report):
                self._on_stuck(worker, report, now)
            case facts.Exited():
                self._on_exited(fact, now)
            case facts.ReloadRequested(generation, policy):
                self._on_reload(generation, policy, now)
            case facts.ReloadRefused(reason):
                self._on_refused(reason)
            case facts.RecycleRequested(why):
                self._on_recycle(why)
            case facts.ScaleRequested(by, why):
                self._on_scale(by, why)
            case facts.DrainRequested():
                self._on_drain()
            case facts.StopRequested() | facts.StopSignalled():
                self._on_stop_request(fact, now)
            case _:
                pass  # a Tick tells only that time has passed

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which a Tick is due without any fact; None: never."""
        return min(self._deadlines(), default=None)

    def needed_generations(self) -> set[int]:
        """Return the generations that are desired, fallen back to, or still have a worker."""
        alive = {w.generation for w in self.workers}
        kept = {self.fallback.generation} if self.fallback else set()
        return alive | kept | {self.plan.generation}

    # Requests. They change the desired state only.

    def _on_reload(self, generation: int, policy: Policy, now: float) -> None:
        if self.is_stopping:
            return
        if self.state in (MasterState.RUNNING, MasterState.FROZEN):
            self.fallback = self.plan
            self.state = MasterState.RELOADING
        if self.plan.generation == self.last_rolled:
            self.roll_started_at = now
        # A number from TTIN, TTOU, scale or the autoscaler survives a reload, unless the settings
        # changed the number of workers themselves.
        is_changed = policy.workers != self.plan.policy.workers
        target = policy.clamp(policy.workers if is_changed else self.plan.target)
        self.plan = Plan(generation, target, policy, self.plan.is_manual and not is_changed)
        self.is_drained = False
        if self.state is MasterState.RELOADING:
            self.roll_deadline_at = now + policy.roll_timeout(target)
        failed = filter(self.workers.has_failed, range(self.target))
        self.workers.reset_budgets([slot for slot in failed if not self.is_steady(slot)])
        self._announce(orders.RollStarted(generation))

    def _on_refused(self, reason: str) -> None:
        if self.is_stopping:
            return
        reason = cut_middle(reason)  # a wrong value may be as long as its file
        self._note_failure(reason)
        if self.state is MasterState.RUNNING:
            self.state = MasterState.FROZEN
        self._announce(orders.RollFailed(self.plan.generation, reason))

    def _on_recycle(self, why: str) -> None:
        """Mark all workers as worn; during a roll only the outdated ones.

        The roll replaces those anyway, unless it fails, and the others have just been started.
        """
        rolling, newest = self.state is MasterState.RELOADING, self.plan.generation
        worn = [w for w in self.workers.ready() if not (rolling and w.generation == newest)]
        for worker in worn:
            worker.mark_worn(why)
        if worn and not self.is_stopping:
            self._announce(orders.Recycling(len(worn), why))

    def _on_scale(self, by: int, why: str) -> None:
        if self.is_stopping:
            return
        before, self.is_drained = self.target, False
        self.plan = self.plan.scaled(by, is_manual=not why)
        if self.fallback is not None:
            self.fallback = self.fallback.scaled(by, is_manual=not why)
        self._announce(orders.Scaled(self.plan.target, before, why))

    def _on_drain(self) -> None:
        if not self.is_stopping:
            self.is_drained = True
            self._announce(orders.Parked())

    def _on_stop(self, quick: bool, at_once: bool, now: float) -> None:
        if not (self.is_stopping or quick or at_once):
            self._delay_stop(now)
        self._begin_stop()
        if quick or at_once:
            self._end_stop_delay(is_skipped=True)
        if quick and not self.is_quick_stop:
            self.is_quick_stop = True
            for worker in self.workers:
                self._stop(worker, Cause.STOP, now)

    def _on_stop_request(
        self, request: facts.StopRequested | facts.StopSignalled, now: float
    ) -> None:
        if isinstance(request, facts.StopRequested):
            self._on_stop(request.quick, request.at_once, now)
        elif self.stop_due_at is not None:
            self._end_stop_delay(is_skipped=True)
        else:
            self._on_stop(quick=self.is_stopping, at_once=False, now=now)

    def _delay_stop(self, now: float) -> None:
        """Let the workers serve on for the stop delay, if any of them serves."""
        delay, ready = self.plan.policy.stop_delay, self.workers.ready()
        if delay and ready:
            self.stop_due_at = now + delay
            self._orders += [orders.AnnounceEnd(worker.id) for worker in ready]

    def _end_stop_delay(self, is_skipped: bool) -> None:
        if self.stop_due_at is not None:
            self.stop_due_at = None
            self._announce(orders.StopDelayOver(is_skipped))

    # Time.

    def _compensate_for_sleep(self, now: float) -> None:
        """Move all deadlines by the time that the master itself was stopped or suspended."""
        if self.wake_at is None or (late := now - self.wake_at) <= OVERSLEPT_AFTER:
            return
        self.lenient_until = now + GRACE_AFTER_SLEEP
        for worker in self.workers:
            worker.move_deadlines(late, self.lenient_until)
        if self.roll_deadline_at is not None:
            self.roll_deadline_at += late
        self._announce(orders.Overslept(late))

    def _deadlines(self) -> Iterator[float]:
        """Yield all times at which the pool has to act although nothing happens."""
        recycling = self.state in (MasterState.RUNNING, MasterState.FROZEN)
        for worker in self.workers:
            if (due_at := worker.due_at) is not None:
                yield due_at
            if recycling and worker.retire_at is not None and not worker.worn:
                yield worker.retire_at
        for at in (self.roll_deadline_at, self.stop_due_at, self.recycle_wait.next_look_at):
            if at is not None:
                yield at
        steady_at = self.workers.next_steady_at(self.target, self.plan.policy, self.handled_at)
        if steady_at is not None:  # then a roll may end, and clients wait for it
            yield steady_at
        if self.workers.counted_processes(self.target) < self.target + self.plan.policy.surge:
            for slot in self._slots_to_fill():
                yield self.workers.next_spawn_at(slot, self.plan.generation)

    def _check_deadlines(self, now: float) -> None:
        """Act on all deadlines that have passed: of workers, of lifetimes, of the roll."""
        for worker in self.workers:
            if (due_at := worker.due_at) is not None and due_at <= now:
                self._on_deadline(worker, now)
            elif worker.retire_at is not None and worker.retire_at <= now:
                worker.mark_worn(f"{now - (worker.ready_at or now):.0f}s > --max-lifetime")
        if self.roll_deadline_at is not None and self.roll_deadline_at <= now:
            self.roll_deadline_at = None
            if self.state is MasterState.RELOADING:
                self._freeze(self._unfinished_roll_text())
        if self.stop_due_at is not None and self.stop_due_at <= now:
            self._end_stop_delay(is_skipped=False)

    def _unfinished_roll_text(self) -> str:
        """Return which limit the roll exceeded, and the workers that it still waits for."""
        limit = self.plan.policy.roll_timeout(self.plan.target)
        states = [
            f"worker {w.slot} (gen {w.generation}) is {w.state}"
            for w in self.workers
            if w.state is not WorkerState.READY
        ]
        more = f" and {len(states) - MAX_NAMED} more" if len(states) > MAX_NAMED else ""
        waits = f": {', '.join(states[:MAX_NAMED])}{more}" if states else ""
        return f"it did not end within --reload-timeout {limit:g}s{waits}"
