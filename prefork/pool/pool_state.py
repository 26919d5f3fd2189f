"""The state of the pool: all that it knows between two facts, as one declared structure.

Design
------
- **The declaration is the state.** Pool has these fields and ``__slots__``, so that an attribute
  that is not declared here cannot exist. The dump follows from the fields. Rejected: a second
  structure that a function fills, because such a function forgets the next field.
- **Times are those of the monotonic clock,** which all processes of a machine share until it boots
  again. A dump is for the next process of the same master, not for the next boot.
- **The source of chance is no state.** The pool gets it as an argument, as it gets the time.
"""

from dataclasses import dataclass, field
from enum import StrEnum

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
    fallback: Plan | None = None
    """The plan that a failed roll returns to; None while no roll goes on."""
    is_drained: bool = False
    """All workers were told to leave, and the master stays."""
    is_quick_stop: bool = False
    """The master stops without waiting for requests in flight."""
    last_rolled: int
    """The generation of the last RollDone, or the first one. While the plan has another one, its
    RollDone is still to be announced: also in the state starting, and after a later roll failed."""
    roll_started_at: float = 0.0
    roll_deadline_at: float | None = None
    exit_order: Exit = field(default_factory=lambda: Exit(None))
    """The order that ends the master when every worker was reaped."""
    wake_at: float | None = None
    """The time at which the next Tick was due after the last fact; None: never."""
    recycle_wait: RecycleWait = field(default_factory=RecycleWait)
