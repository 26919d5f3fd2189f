"""The life of a worker: the facts about it, its deadlines, and what its failure leads to.

``workers.py`` has the table of its states. A fact about an unknown worker, or one that does not fit
the state of the worker, is ignored: it was overtaken by another one.
"""

from prefork.errors import AppError, MachineError
from prefork.pool import facts, orders
from prefork.pool.budget import Budget
from prefork.pool.orders import Cause
from prefork.pool.pool_state import MasterState
from prefork.pool.reconciler import Reconciler
from prefork.pool.workers import Worker, WorkerState

_ORDERED_EXITS = frozenset({Cause.RECYCLE, Cause.SCALE, Cause.RELOAD, Cause.STOP, Cause.LEFT})
"""Causes of an exit that is no failure of the worker."""


class WorkerLife(Reconciler):
    """Takes in the facts about single workers, and acts when their deadlines pass."""

    __slots__ = ()

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
        if self.stop_due_at is not None:
            self._orders.append(orders.AnnounceEnd(worker.id))
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
        worker.waits_for = waits_for if worker.state is WorkerState.DRAINING else ""

    def _on_resigned(self, worker_id: int) -> None:
        if (worker := self.workers.get(worker_id)) is not None:
            self.leader.release(worker)

    def _on_worn(self, worker_id: int, why: str, now: float) -> None:
        worker = self.workers.get(worker_id, WorkerState.READY)
        if worker is not None and not worker.worn:
            worker.mark_worn(why)
            self.workers.delay_heir(worker, now, self._rng)

    def _on_stuck(self, worker_id: int, report: str, now: float) -> None:
        if (worker := self.workers.get(worker_id, WorkerState.HUNG)) is not None:
            self._end_hung(worker, report, now)

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

    # Deadlines.

    def _on_deadline(self, worker: Worker, now: float) -> None:
        """Act on the deadline of one worker that has passed; see the table in workers.py."""
        match worker.state:
            case WorkerState.KILLED:
                worker.is_lingering, worker.deadline = True, None
                self._announce(orders.WorkerLingers(*worker.identity))
            case WorkerState.HUNG if worker.is_dump_forced:
                self._end_hung(worker, "the log has its stacks" if worker.can_report else "", now)
            case WorkerState.HUNG:
                worker.is_dump_forced = True
                worker.enter(WorkerState.HUNG, now + self.plan.policy.hang_grace)
                self._orders.append(orders.DumpStacks(worker.id, by_force=True))
            case WorkerState.DRAINING:
                self._end_drain(worker, now)
            case _:
                self._on_timeout(worker, now)

    def _on_timeout(self, worker: Worker, now: float) -> None:
        """Act on a worker that is not ready in time, or serves and missed its heartbeat."""
        if worker.state is WorkerState.BOOTING:
            worker.cause, worker.exceeded = Cause.BOOT_TIMEOUT, "boot-timeout"
            worker.reason = worker.reason or self._unready_text(worker)
        else:
            worker.cause, worker.exceeded = Cause.HANG, "timeout"
        self._ask_for_stacks(worker, now)

    def _end_drain(self, worker: Worker, now: float) -> None:
        """Act on a worker that did not leave in time, or missed its heartbeat while it drains.

        It is killed; before that it tells its requests, if it can.
        """
        if self.is_quick_stop:
            self._kill(worker, now)
            return
        is_late = worker.deadline is not None and worker.deadline <= now
        worker.exceeded = "kill-timeout" if is_late else "timeout"
        if worker.can_report and not worker.waits_for:
            self._ask_for_stacks(worker, now)
            return
        if worker.waits_for:
            worker.reason = f"it waited for {worker.waits_for}"
        self._kill(worker, now)

    def _ask_for_stacks(self, worker: Worker, now: float) -> None:
        assert worker.cause is not None, "a deadline has passed, or it was told to leave"
        worker.enter(WorkerState.HUNG, now + self.plan.policy.hang_grace)
        self._announce(orders.WorkerHung(*worker.identity, worker.cause, worker.exceeded))
        self._orders.append(orders.DumpStacks(worker.id))

    def _end_hung(self, worker: Worker, report: str, now: float) -> None:
        """Kill a hung worker, which had its time to report where it is. If it was to boot, the
        attempt fails only now, because its reason is known now."""
        is_boot = worker.cause is Cause.BOOT_TIMEOUT
        is_place_open = report and not worker.unready_reason
        if is_boot and is_place_open and worker.reason == self._unready_text(worker):
            worker.reason += f": {report}"
        worker.reason = worker.reason or report
        self._kill(worker, now)
        if is_boot and self._is_decisive(worker):
            self._fail_attempt(f"worker {worker.slot}: {worker.reason}", worker.fault)

    def _unready_text(self, worker: Worker) -> str:
        """Return why a worker failed that was not ready in time, as far as the master knows it."""
        text = f"not ready within --boot-timeout {self.plan.policy.boot_timeout:g}s"
        return f"{text}: {worker.unready_reason}" if worker.unready_reason else text

    # Failures.

    def _reap(self, worker: Worker, now: float, detail: str) -> None:
        """Remove a dead worker; charge the budget of its slot unless the pool stopped it."""
        self.workers.remove(worker)
        self.leader.release(worker)
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
        again = failed and not (budget.is_closed or decisive or useless or self.is_leaving)
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
                exceeded=worker.exceeded,
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
        """Return whether a failure of the worker ends the first start or the present roll.

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

    def _freeze(self, reason: str, code: int = AppError.exit_code) -> None:
        """Give up the roll: the generation that it started from is desired again."""
        kept = self.fallback
        assert kept is not None, "a roll always has something to fall back to"
        self.state, self.plan, self.fallback = MasterState.FROZEN, kept, None
        self.roll_deadline_at = None
        self._note_failure(reason)
        self._announce(orders.RollFailed(kept.generation, reason, code))

    def _note_failure(self, reason: str) -> None:
        """Remember why a reload failed, and when."""
        self.failure, self.failed_at = reason, self.handled_at

    def _maybe_give_up(self, budget: Budget, reason: str, code: int) -> None:
        """Stop if a slot used up ``max_restarts`` and no worker serves at all."""
        limit = self.plan.policy.max_restarts
        if limit is not None and budget.failures > limit and not self.ready_count:
            self._begin_stop(reason, code)
