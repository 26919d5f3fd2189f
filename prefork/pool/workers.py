"""One worker as the pool sees it: its state, and the deadline that the state has.

    state     entered on                      deadline                    when it passes
    spawning  Spawn ordered                   none: the master forks at once and says how it went
    booting   Spawned                         boot timeout                stack dump -> hung
    ready     Ready                           the worker's own (Beat)     stack dump -> hung
    draining  Stop ordered, or Leaving        kill timeout                SIGKILL    -> killed
    hung      a deadline passed               hang grace, twice           SIGKILL    -> killed
    killed    SIGKILL ordered                 told once: only the kernel can end it now
    (gone)    Exited: the worker is forgotten

A hung worker that has told all is killed at once; after one grace its stacks are taken by force.

``fresh`` workers (spawning, booting) become a slot's heir or its first incumbent; a ``ready`` one
is the incumbent; the rest are on their way out and count only as live processes.
"""

from dataclasses import dataclass
from enum import StrEnum

from prefork.errors import AppError
from prefork.pool.facts import Exited
from prefork.pool.orders import Cause


class WorkerState(StrEnum):
    """See the table above."""

    SPAWNING = "spawning"
    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"
    HUNG = "hung"
    KILLED = "killed"


LINGERS_AFTER = 10.0
"""Seconds after SIGKILL in which the kernel ends a process that does not hang in the kernel itself
(uninterruptible sleep: a dead disk or NFS server)."""

STARTING_STATES = frozenset({WorkerState.SPAWNING, WorkerState.BOOTING})


@dataclass(slots=True)
class Worker:
    """One life, from the Spawn order to the Exited fact."""

    id: int
    slot: int
    generation: int
    spawned_at: float
    state: WorkerState = WorkerState.SPAWNING
    pid: int = 0
    deadline: float | None = None
    ready_at: float | None = None
    retire_at: float | None = None
    worn: str = ""
    """Why it is to be replaced; empty: it is not."""
    heir_not_before: float = 0.0
    """No heir for it before, if it is worn."""
    heir_failure: str | None = None
    """Worn, it was told that its heir failed, and why."""
    is_busy: bool = False
    """Its app does work that no recycling may interrupt."""
    is_wait_announced: bool = False
    """It was told that its heir waits for this work."""
    waits_for_threads: bool = False
    """It drains, and has answered all; only threads or work of its app keep it."""
    accepts_no_more: bool = False
    """It said that it accepts no more."""
    is_dump_forced: bool = False
    """While it hung: it did not tell its stacks, and they were taken from it."""
    is_lingering: bool = False
    """It was killed, and the kernel has not ended it for ``LINGERS_AFTER`` seconds."""
    cause: Cause | None = None
    reason: str = ""
    """What it said when its boot failed, with the app's traceback; or what it hung at."""
    fault: int = AppError.exit_code
    """Whose fault its failure is; as long as nobody says otherwise, the app's."""

    def enter(self, state: WorkerState, deadline: float | None) -> None:
        """Change state; every change names its deadline or says that there is none."""
        self.state, self.deadline = state, deadline

    def mark_worn(self, why: str) -> None:
        """It is to be replaced. The first reason stands."""
        self.worn = self.worn or why

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What every event about it begins with."""
        return self.id, self.pid, self.slot, self.generation

    def classify_exit(self, death: Exited) -> Cause:
        """Why it ended, unless we know better."""
        if death.out_of_memory and death.signal == "SIGKILL":
            return Cause.OUT_OF_MEMORY
        if self.state in STARTING_STATES:
            return Cause.BOOT_FAILURE
        return Cause.EXIT if death.signal is None else Cause.SIGNAL

    @property
    def can_be_done(self) -> bool:
        """Whether an exit code may say that its work is done: it served, or boots and has not said
        that it failed. A program that is quick is done before it counts as ready."""
        booted = self.state is WorkerState.BOOTING and not self.reason
        return booted or self.state is WorkerState.READY

    def uptime(self, now: float) -> float:
        """Seconds since it became ready; 0 when it never did."""
        return now - self.ready_at if self.ready_at is not None else 0.0
