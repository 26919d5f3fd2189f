"""The step that reconciles the actual state of the workers with the desired one.

It spawns and stops workers until each slot has one worker of the desired generation, and there is
no other. A rolling reload has no steps of its own. A ready worker of another generation is
*outdated*. An outdated worker gets an heir in its slot. As soon as the heir is ready, its incumbent
is stopped. A failed roll is rolled back in the same way, because the old generation is desired
again.

Design
------
- **``surge`` bounds all live processes,** draining ones too: no worker is spawned while ``target``
  + ``surge`` processes live. So at most ``surge`` slots change at a time, and a reload of an app
  that takes long to drain takes long, but never needs more memory than planned.
- **An heir has its incumbent's slot number from its fork on.** The number is in the environment
  before the app is imported, so it cannot change later. Rejected: a slot of its own for the surge.
  Rows of the scoreboard therefore belong to workers, not to slots.
"""

from random import Random

from prefork.pool import orders
from prefork.pool.leader_state import LeaderState
from prefork.pool.orders import Cause, Order
from prefork.pool.policy import Plan
from prefork.pool.pool_state import MasterState, PoolState
from prefork.pool.workers import LINGERS_AFTER, STARTING_STATES, Worker, WorkerState


class Reconciler(PoolState):
    """The state of the pool with the orders that follow from it.

    Only this class orders that a worker is spawned, stopped or killed.
    """

    __slots__ = ("_orders", "_rng")

    def __init__(self, plan: Plan, leader: LeaderState, rng: Random) -> None:
        super().__init__(plan=plan, last_rolled=plan.generation, leader=leader)
        self._rng = rng
        self._orders: list[Order] = []

    def _reconcile(self, now: float) -> None:
        """Stop and spawn workers so that the actual state comes nearer to the desired one."""
        self.recycle_wait.cancel()
        if self.is_leaving:
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
        self._orders += self.leader.appoint(self.workers, self.plan.generation)

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
        shut = (MasterState.STARTING, MasterState.STOPPING)
        is_open = generation != self.last_rolled and self.state not in shut
        if not is_open or self.workers.is_older_accepting(generation):
            return
        slots = range(self.target)
        if all(self.workers.is_served(slot, generation) and self.is_steady(slot) for slot in slots):
            if self.state is not MasterState.FROZEN:  # else a later reload failed or was refused
                self.state = MasterState.RUNNING
                self.failure, self.failed_at = "", None
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

    def _begin_stop(self, failure: str | None = None, code: int = 0, done: str = "") -> None:
        """Enter the state stopping. The master exits with ``code`` when every worker is reaped."""
        if not self.is_stopping:
            delay = 0.0 if self.stop_due_at is None else self.plan.policy.stop_delay
            self.state, self.exit_order = MasterState.STOPPING, orders.Exit(failure, code)
            self._announce(orders.Ending(failure or "", code, done, delay))

    # Orders.

    def _spawn(self, slot: int, now: float) -> None:
        policy = self.plan.policy
        worker = self.workers.add(slot, self.plan.generation, now)
        worker.may_lead, worker.can_report = policy.elects_leader, policy.reports_requests
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
