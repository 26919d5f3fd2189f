"""The state of the pool: all that it knows between two facts, as one declared structure.

Design
------
- **The declaration is the state.** Pool has these fields and ``__slots__``, so that an attribute
  that is not declared here cannot exist. The dump follows from the fields. Rejected: a second
  structure that a function fills, because such a function forgets the next field.
- **Times are those of the monotonic clock,** which all processes of a machine share until it boots
  again. A dump is for the next process of the same master, not for the next boot.
- **The source of chance is no state.** The pool gets it as an argument, as it gets the time.
- **Failing is shown, not entered** (``shown_state``). An app with failing slots takes the same
  orders as one that runs, so it has the same state. A further state would have to be left by time,
  and would hide whether the last reload failed.
- **The stop delay is no state of its own.** For users, health checks and commands the master is
  stopping from the first moment; only ``target`` and the reconciliation are those of a master that
  runs, so a worker that dies meanwhile is replaced.
- **A slot whose workers failed counts as served when its worker has served for** ``min_uptime``.
  Workers that die a moment after they were ready would otherwise let a command end well whenever
  all of them happen to be ready at one moment.
- **Before the first failure** ``min_ready`` **decides,** as minReadySeconds does in a Deployment of
  Kubernetes: the master sets it for programs, which may say that they are ready and then fail.
  Rejected: ``min_uptime`` for these as well, by which each ``scale`` would take a second longer.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from prefork.pool.leader_state import LeaderState
from prefork.pool.orders import Exit
from prefork.pool.policy import Plan
from prefork.pool.recycle_wait import RecycleWait
from prefork.pool.table import WorkerTable


class MasterState(StrEnum):
    """The states in the table of ``pool.py``. The values are shown to users and published."""

    STARTING = "starting"
    RUNNING = "running"
    RELOADING = "reloading"
    FROZEN = "frozen"
    STOPPING = "stopping"
    FAILING = "failing"
    """Never the state of a pool: what ``PoolState.shown_state`` shows in the place of running or
    frozen."""


@dataclass(slots=True, kw_only=True)
class PoolState:
    """The worker table, the desired state, and the roll. All times are monotonic."""

    plan: Plan
    """The desired state."""
    state: MasterState = MasterState.STARTING
    """The state of the master."""
    workers: WorkerTable = field(default_factory=WorkerTable)
    """The live workers, and the budgets of the slots."""
    failure: str = ""
    """Why the last reload failed; empty after one succeeded."""
    failed_at: float | None = None
    """When it failed; None: it did not."""
    fallback: Plan | None = None
    """The plan that a failed roll returns to; None while no roll goes on."""
    is_drained: bool = False
    """All workers were told to leave, and the master stays."""
    stop_due_at: float | None = None
    """The end of the stop delay: the master stops, and its workers serve until then. None: no delay
    goes on."""
    is_quick_stop: bool = False
    """The master stops without waiting for requests in flight."""
    last_rolled: int
    """The generation of the last RollDone, or the first one. While the plan has another one, its
    RollDone is still to be announced: also in the state starting, and after a later roll failed."""
    roll_started_at: float = 0.0
    roll_deadline_at: float | None = None
    exit_order: Exit = field(default_factory=lambda: Exit(None))
    """The order that ends the master when every worker was reaped."""
    handled_at: float = 0.0
    """The time of the last fact."""
    wake_at: float | None = None
    """The time at which the next Tick was due after the last fact; None: never."""
    lenient_until: float = 0.0
    """The time before which no heartbeat counts as missed, because the master was stopped."""
    recycle_wait: RecycleWait = field(default_factory=RecycleWait)
    leader: LeaderState = field(default_factory=LeaderState)
    """The worker that leads, and the fencing token."""

    @property
    def ready_count(self) -> int:
        """The number of workers that serve."""
        return len(self.workers.ready())

    @property
    def target(self) -> int:
        """The number of slots that are to be served now: 0 while draining or stopping."""
        return 0 if self.is_drained or self.is_leaving else self.plan.target

    @property
    def is_stopping(self) -> bool:
        """Return whether the master is stopping."""
        return self.state is MasterState.STOPPING

    @property
    def is_leaving(self) -> bool:
        """Return whether the master is stopping, and the stop delay of its workers is over."""
        return self.is_stopping and self.stop_due_at is None

    @property
    def shown_state(self) -> MasterState:
        """The state for users: failing instead of running or frozen, while slots fail."""
        can_fail = self.state in (MasterState.RUNNING, MasterState.FROZEN)
        return MasterState.FAILING if can_fail and self.failing_slots() else self.state

    def failing_slots(self) -> list[int]:
        """Return the slots whose workers failed ``failure_limit`` times in a row, and whose worker,
        if there is one, has not served for ``min_uptime`` yet."""
        limit, budget = self.plan.policy.failure_limit, self.workers.budget
        slots = range(self.target)
        return [s for s in slots if budget(s).failures >= limit and not self.is_steady(s)]

    def is_steady(self, slot: int) -> bool:
        """Return whether the worker of the slot has served for long enough, see Design; true if
        none serves and none failed."""
        return self.workers.steady_at(slot, self.plan.policy) <= self.handled_at
