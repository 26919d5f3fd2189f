"""The states of the master, and the step that reconciles the actual state with the desired one.

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
    stopping   every worker is reaped: the pool orders Exit

A fact changes the desired state (generation, target, policy) or the known state (of a worker).
``_reconcile`` alone spawns workers, and it alone decides which of them are stopped for a reload, a
recycling or a scale. So a second reload, a crash, a scale or a stop in the middle of a roll is just
another fact.

A rolling reload has no steps of its own. A ready worker of another generation is *outdated*. An
outdated worker gets an heir in its slot. As soon as the heir is ready, its incumbent is stopped. A
failed roll is rolled back in the same way, because the old generation is desired again.

Design
------
- **``surge`` bounds all live processes,** draining ones too: no worker is spawned while ``target``
  + ``surge`` processes live. So at most ``surge`` slots change at a time, and a reload of an app
  that takes long to drain takes long, but never needs more memory than planned.
- **A failed roll is rolled back** slot by slot, with the new worker ready before the old one stops,
  as if it were a reload. The generation that serves again has its old settings and environment;
  files on disk are what they are.
- **An heir has its incumbent's slot number from its fork on.** The number is in the environment
  before the app is imported, so it cannot change later. Rejected: a slot of its own for the surge.
  Rows of the scoreboard therefore belong to workers, not to slots.
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
"""

from collections.abc import Iterator
from dataclasses import fields
from random import Random
from typing import Any

from prefork.errors import AppError, MachineError
from prefork.json_records import dump_record, load_record
from prefork.pool import facts, orders
from prefork.pool.budget import Budget
from prefork.pool.orders import Cause, Order
from prefork.pool.policy import ManualTarget, Plan, Policy
from prefork.pool.pool_state import MasterState, PoolState
from prefork.pool.workers import LINGERS_AFTER, STARTING_STATES, Worker, WorkerState
from prefork.printable import cut_middle

OVERSLEPT_AFTER = 2.0
"""Seconds after its own deadline from which a master counts as stopped or suspended meanwhile."""

GRACE_AFTER_SLEEP = 1.0
"""Seconds that workers have for a heartbeat after such a sleep."""


class Pool(PoolState):
    """All decisions about the state that ``PoolState`` declares."""

    __slots__ = ("_orders", "_rng")

    def __init__(self, policy: Policy, rng: Random, kept: ManualTarget | None = None) -> None:
        """Begin with the plan of a new master.

        ``kept``: the number of workers that the operator set while the previous master ran.
        ``rng``: for the jitter of delays and lifetimes.
        """
        plan = Plan.initial(policy, kept)
        super().__init__(plan=plan, last_rolled=plan.generation)
        self._rng = rng
        self._orders: list[Order] = []

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
            case facts.Worn(worker, why):
                self._on_worn(worker, why, now)
            case facts.Heartbeats(deadlines, busy):
                self.workers.update_heartbeats(deadlines, busy)
            case facts.Stuck(worker, what):
                self._on_stuck(worker, what, now)
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
            case facts.StopRequested(quick):
                self._on_stop(quick, now)
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

    # Facts about one worker. A fact about an unknown worker, or one that does not fit the state of
    # the worker, is ignored: it was overtaken by another one.

    def _on_spawned(self, worker_id: int, pid: int, now: float) -> None:
        if (worker := self.workers.get(worker_id)) is not None:
            worker.pid = pid
            if worker.state is WorkerState.SPAWNING:
                worker.enter(WorkerState.BOOTING, now + self.plan.policy.boot_timeout)

    def _on_spawn_failed(self, worker_id: int, reason: str, now: float) -> None:
        if (worker := self.workers.get(worker_id)) is not None:
            worker.cause, worker.reason = worker.cause or Cause.BOOT_FAILURE, reason
            worker.fault = MachineError.exit_code
            self._reap(worker, now, detail=reason)

    def _on_ready(self, worker_id: int, now: float) -> None:
        if (worker := self.workers.get(worker_id, WorkerState.BOOTING)) is None:
            return
        worker.ready_at = now
        policy = self.plan.policy
        if policy.max_lifetime is not None:
            jitter = self._rng.uniform(0.0, policy.lifetime_jitter)
            worker.retire_at = now + policy.max_lifetime + jitter
        worker.enter(WorkerState.READY, None)
        self._announce(orders.WorkerReady(*worker.identity, took=now - worker.spawned_at))
        if self.state is MasterState.STARTING:
            self.state = MasterState.RUNNING
            self._announce(orders.Running(worker.generation))

    def _on_boot_failed(self, fact: facts.BootFailed, now: float) -> None:
        worker = self.workers.get(fact.worker, WorkerState.BOOTING)
        if worker is None or worker.reason:
            return
        worker.cause, worker.reason, worker.fault = Cause.BOOT_FAILURE, fact.reason, fact.code
        if fact.lives:
            worker.is_given_up = True
            self._stop(worker, Cause.BOOT_FAILURE, now)
            if self._is_decisive(worker):
                self._fail_attempt(f"worker {worker.slot}: {worker.reason}", worker.fault)

    def _on_not_ready(self, worker_id: int, reason: str) -> None:
        if (worker := self.workers.get(worker_id, WorkerState.BOOTING)) is not None:
            worker.unready_reason = reason

    def _on_leaving(self, worker_id: int, waits_for: str, now: float) -> None:
        if (worker := self.workers.get(worker_id)) is None:
            return
        worker.accepts_no_more = True
        if worker.state in (WorkerState.READY, WorkerState.BOOTING):
            worker.cause = Cause.LEFT
            worker.enter(WorkerState.DRAINING, now + self.plan.policy.kill_timeout)
            self._announce_leaving(worker, Cause.LEFT)
        worker.waits_for_threads = worker.state is WorkerState.DRAINING and bool(waits_for)

    def _on_worn(self, worker_id: int, why: str, now: float) -> None:
        worker = self.workers.get(worker_id, WorkerState.READY)
        if worker is not None and not worker.worn:
            worker.mark_worn(why)
            self.workers.delay_heir(worker, now, self._rng)

    def _on_stuck(self, worker_id: int, what: str, now: float) -> None:
        if (worker := self.workers.get(worker_id, WorkerState.HUNG)) is not None:
            worker.reason = worker.reason or what
            self._kill(worker, now)

    def _on_exited(self, fact: facts.Exited, now: float) -> None:
        worker = self.workers.get(fact.worker)
        if worker is None:
            return
        detail = f"exit code {fact.code}" if fact.signal is None else fact.signal
        if worker.ready_at is not None:
            worker.reason = worker.reason or fact.reason
        if fact.code in self.plan.policy.stop_exit_codes and worker.can_be_done:
            self.workers.budget(worker.slot).is_closed = True
            worker.cause = Cause.EXIT
        if worker.cause is None:
            worker.cause = worker.classify_exit(fact)
        self._reap(worker, now, detail)

    def _reap(self, worker: Worker, now: float, detail: str) -> None:
        """Remove a dead worker; charge the budget of its slot unless the pool stopped it."""
        self.workers.remove(worker)
        cause = worker.cause or Cause.EXIT
        budget = self.workers.budget(worker.slot)
        done = budget.is_closed and worker.can_be_done and cause is Cause.EXIT
        drained = worker.state is WorkerState.DRAINING and not worker.is_given_up
        ordered = drained or cause in _ORDERED_EXITS
        failed = not (done or ordered)
        if failed and not budget.is_closed:
            budget.charge(now, worker.uptime(now), self.plan.policy.min_uptime, self._rng)
        decisive = failed and self._is_decisive(worker)
        # The heir of a generation that is no longer desired is not missed.
        useless = worker.ready_at is None and worker.generation != self.plan.generation
        again = failed and not (budget.is_closed or decisive or useless or self.is_stopping)
        incumbent = self.workers.worn_incumbent(worker) if again else None
        is_known = incumbent is not None and incumbent.heir_failure == worker.reason
        self._announce(
            orders.WorkerGone(
                *worker.identity,
                cause,
                detail,
                killed=worker.state is WorkerState.KILLED,
                retry_in=max(0.0, budget.due_at - now) if again else None,
                reason="" if is_known else worker.reason,
                why=worker.worn if cause is Cause.RECYCLE else "",
                fault=worker.fault,
            )
        )
        if incumbent is not None:
            self._keep_worn(incumbent, worker.reason)
        reason = f"worker {worker.slot}: {worker.reason or f'{cause} ({detail})'}"
        if decisive:
            self._fail_attempt(reason, worker.fault)
        elif failed:
            self._maybe_give_up(budget, reason, worker.fault)

    def _keep_worn(self, worn: Worker, reason: str) -> None:
        """Note the failure of an heir of a worn worker; the budget delays the next heir."""
        if worn.heir_failure is None:
            self._announce(orders.RecycleFailed(*worn.identity, why=worn.worn))
        worn.heir_failure = reason

    def _is_decisive(self, worker: Worker) -> bool:
        """Whether a failure of the worker ends the first start or the present roll.

        A boot that fails does so, and in a roll the last of too many failures of one slot.
        """
        if self.state is MasterState.STARTING:
            return worker.ready_at is None
        if self.state is not MasterState.RELOADING or worker.generation != self.plan.generation:
            return False
        failures = self.workers.budget(worker.slot).failures
        return worker.ready_at is None or failures >= self.plan.policy.failure_limit

    def _fail_attempt(self, reason: str, code: int) -> None:
        """End the first start (the master gives up) or the present roll (it is rolled back)."""
        if self.state is MasterState.STARTING:
            self._begin_stop(reason, code)
        else:
            self._freeze(reason, code)

    def _maybe_give_up(self, budget: Budget, reason: str, code: int) -> None:
        """Stop if a slot used up ``max_restarts`` and no worker serves at all."""
        limit = self.plan.policy.max_restarts
        if limit is not None and budget.failures > limit and not self.ready_count:
            self._begin_stop(reason, code)

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
        self.workers.reset_budgets([n for n in range(self.target) if not self.is_steady(n)])
        self._announce(orders.RollStarted(generation))

    def _on_refused(self, reason: str) -> None:
        if self.is_stopping:
            return
        self.failure = reason = cut_middle(reason)  # a wrong value may be as long as its file
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

    def _on_stop(self, quick: bool, now: float) -> None:
        self._begin_stop()
        if quick and not self.is_quick_stop:
            self.is_quick_stop = True
            for worker in self.workers:
                self._stop(worker, Cause.STOP, now)

    def _begin_stop(self, failure: str | None = None, code: int = 0, done: str = "") -> None:
        """Enter the state stopping. The master exits with ``code`` when every worker is reaped."""
        if not self.is_stopping:
            self.state, self.exit_order = MasterState.STOPPING, orders.Exit(failure, code)
            self._announce(orders.Ending(failure or "", code, done))

    def _freeze(self, reason: str, code: int = AppError.exit_code) -> None:
        """Give up the roll: the generation that it started from is desired again."""
        kept = self.fallback
        assert kept is not None, "a roll always has something to fall back to"
        self.state, self.plan, self.fallback = MasterState.FROZEN, kept, None
        self.roll_deadline_at = None
        self.failure = reason
        self._announce(orders.RollFailed(kept.generation, reason, code))

    # Time.

    def _compensate_for_sleep(self, now: float) -> None:
        """Move all deadlines by the time that the master itself was stopped or suspended."""
        if self.wake_at is None or (late := now - self.wake_at) <= OVERSLEPT_AFTER:
            return
        for worker in self.workers:
            if worker.deadline is not None:
                worker.deadline = max(worker.deadline + late, now + GRACE_AFTER_SLEEP)
        if self.roll_deadline_at is not None:
            self.roll_deadline_at += late
        self._announce(orders.Overslept(late))

    def _deadlines(self) -> Iterator[float]:
        """Yield all times at which the pool has to act although nothing happens."""
        recycling = self.state in (MasterState.RUNNING, MasterState.FROZEN)
        for worker in self.workers:
            if worker.deadline is not None:
                yield worker.deadline
            if recycling and worker.retire_at is not None and not worker.worn:
                yield worker.retire_at
        if self.roll_deadline_at is not None:
            yield self.roll_deadline_at
        if self.recycle_wait.next_look_at is not None:
            yield self.recycle_wait.next_look_at
        for slot in range(self.target):
            # Then the slot is steady: a roll may end, and clients wait for it.
            steady_at = self.workers.steady_at(slot, self.plan.policy.min_uptime)
            if self.handled_at < steady_at < float("inf"):
                yield steady_at
        if self.workers.counted_processes(self.target) < self.target + self.plan.policy.surge:
            for slot in self._slots_to_fill():
                yield self.workers.next_spawn_at(slot, self.plan.generation)

    def _check_deadlines(self, now: float) -> None:
        """Act on all deadlines that have passed: of workers, of lifetimes, of the roll."""
        for worker in self.workers:
            if worker.deadline is not None and worker.deadline <= now:
                self._on_deadline(worker, now)
            elif worker.retire_at is not None and worker.retire_at <= now:
                worker.mark_worn(f"{now - (worker.ready_at or now):.0f}s > --max-lifetime")
        if self.roll_deadline_at is not None and self.roll_deadline_at <= now:
            self.roll_deadline_at = None
            if self.state is MasterState.RELOADING:
                self._freeze("the reload did not end in time")

    def _on_deadline(self, worker: Worker, now: float) -> None:
        """Act on the deadline of one worker that has passed; see the table in workers.py."""
        if worker.state is WorkerState.KILLED:
            worker.is_lingering, worker.deadline = True, None
            self._announce(orders.WorkerLingers(*worker.identity))
            return
        if worker.state is WorkerState.DRAINING or worker.is_dump_forced:
            self._kill(worker, now)
            return
        if worker.state is WorkerState.HUNG:
            worker.is_dump_forced = True
            worker.enter(WorkerState.HUNG, now + self.plan.policy.hang_grace)
            self._orders.append(orders.DumpStacks(worker.id, by_force=True))
            return
        booting = worker.state is WorkerState.BOOTING
        worker.cause = Cause.BOOT_TIMEOUT if booting else Cause.HANG
        if booting and not worker.reason:
            worker.reason = worker.unready_reason
        worker.enter(WorkerState.HUNG, now + self.plan.policy.hang_grace)
        self._announce(orders.WorkerHung(*worker.identity, worker.cause))
        self._orders.append(orders.DumpStacks(worker.id))
        if self._is_decisive(worker):
            why = f": {worker.reason}" if worker.reason else ""
            self._fail_attempt(f"worker {worker.slot}: {worker.cause}{why}", worker.fault)

    # The step that reconciles the actual state with the desired one.

    def _reconcile(self, now: float) -> None:
        """Stop and spawn workers so that the actual state comes nearer to the desired one."""
        self.recycle_wait.cancel()
        if self.is_stopping:
            self._stop_all(now)
            return
        self._stop_unwanted(now)
        self._finish_roll(now)
        for slot in self._slots_to_fill():
            if self.workers.counted_processes(self.target) >= self.target + self.plan.policy.surge:
                break
            if self.workers.next_spawn_at(slot, self.plan.generation) <= now:
                self._spawn(slot, now)
        self._stop_when_all_done()
        self._orders += self.recycle_wait.check(self.workers, now)

    def _stop_all(self, now: float) -> None:
        for worker in self.workers.serving_or_starting():
            self._stop(worker, Cause.STOP, now)
        if not self.workers:
            self._orders.append(self.exit_order)

    def _stop_unwanted(self, now: float) -> None:
        """Stop workers beyond the target, heirs of an old generation, relieved incumbents."""
        for worker in self.workers.serving_or_starting():
            if worker.slot >= self.target:
                self._stop(worker, Cause.SCALE, now)
            elif worker.state in STARTING_STATES and worker.generation != self.plan.generation:
                self._stop(worker, Cause.RELOAD, now)
            elif self.workers.is_relieved(worker, self.plan.generation):
                outdated = worker.generation != self.plan.generation
                self._stop(worker, Cause.RELOAD if outdated else Cause.RECYCLE, now)

    def _slots_to_fill(self) -> list[int]:
        # Recycling waits for the end of a roll, which replaces the worn worker anyway.
        recycling = self.state is not MasterState.RELOADING
        return self.workers.slots_to_fill(self.target, self.plan.generation, recycling)

    def _finish_roll(self, now: float) -> None:
        """Announce the end of a roll.

        Every slot serves the new generation, and no older worker accepts connections.
        """
        generation = self.plan.generation
        is_open = generation != self.last_rolled and self.state is not MasterState.STARTING
        if not is_open or self.workers.is_older_accepting(generation):
            return
        slots = range(self.target)
        if all(self.workers.is_served(slot, generation) and self.is_steady(slot) for slot in slots):
            if self.state is not MasterState.FROZEN:  # else a later reload failed or was refused
                self.state, self.failure = MasterState.RUNNING, ""
            self.last_rolled, self.fallback, self.roll_deadline_at = generation, None, None
            self._announce(orders.RollDone(generation, now - self.roll_started_at))

    def _stop_when_all_done(self) -> None:
        """Stop if every slot ended with one of ``--stop-exit-codes``."""
        slots = range(self.target)
        if (
            slots
            and not self.workers
            and all(self.workers.budget(slot).is_closed for slot in slots)
        ):
            self._begin_stop(done="every worker ended with an exit code of stop-exit-codes")
            self._orders.append(self.exit_order)

    # Orders.

    def _spawn(self, slot: int, now: float) -> None:
        worker = self.workers.add(slot, self.plan.generation, now)
        self._orders.append(orders.Spawn(worker.id, slot, worker.generation))

    def _stop(self, worker: Worker, cause: Cause, now: float) -> None:
        """Order the worker to drain; kill it if it hangs, or boots during a quick stop."""
        worker.cause = worker.cause or cause
        if worker.state is WorkerState.KILLED:
            return
        boots = worker.state in STARTING_STATES
        if worker.state is WorkerState.HUNG or (self.is_quick_stop and boots):
            self._kill(worker, now)
            return
        policy = self.plan.policy
        if self.is_quick_stop:
            timeout = min(policy.quick_timeout, policy.kill_timeout)
        else:
            timeout = policy.kill_timeout
            self._announce_leaving(worker, cause)
        worker.enter(WorkerState.DRAINING, now + timeout)
        self._orders.append(orders.Stop(worker.id, self.is_quick_stop))

    def _kill(self, worker: Worker, now: float) -> None:
        worker.enter(WorkerState.KILLED, now + LINGERS_AFTER)
        self._orders.append(orders.Kill(worker.id))

    def _announce_leaving(self, worker: Worker, cause: Cause) -> None:
        why = worker.worn if cause is Cause.RECYCLE else ""
        self._announce(orders.WorkerLeaving(*worker.identity, cause, why))

    def _announce(self, event: orders.Event) -> None:
        self._orders.append(orders.Announce(event))


_ORDERED_EXITS = frozenset({Cause.RECYCLE, Cause.SCALE, Cause.RELOAD, Cause.STOP, Cause.LEFT})
"""Causes of an exit that is no failure of the worker."""
