"""One worker as the pool sees it: its state, and the deadline of that state.

    state     entered on                      deadline                      when it passes
    spawning  Spawn ordered                   none: the master forks at once and reports the result
    booting   Spawned                         boot timeout                  stack dump -> hung
    ready     Ready                           the worker's next heartbeat   stack dump -> hung
    draining  Stop ordered, or Leaving        kill timeout, and the next    stack dump -> hung
                                              heartbeat
    hung      a deadline passed               hang grace, twice             SIGKILL    -> killed
    killed    SIGKILL ordered                 ten seconds                   WorkerLingers, once
    (gone)    Exited: the worker is removed from the table

A starting worker (spawning, booting) becomes the heir of the ready worker in its slot, or its first
incumbent. A ready worker is the incumbent of its slot. All others only count as live processes.

Design
------
- **A hung worker is killed as soon as it has logged its stacks,** not after a fixed time: a long
  dump is complete, and a short one costs no wait. Its slot gets a new worker before that. A worker
  that does not answer within one grace has its stacks dumped by force, and one grace later it is
  killed.
- **A heartbeat counts also while its worker drains,** so a request that hangs is ended by
  ``--timeout``, whether a reload goes on or not. A worker that has no request any more takes its
  deadline back: it may shut down for as long as the kill timeout.
- **A worker that drains for too long reports its requests before it is killed,** as a hung one
  does: an operator wants to know which request was cut, and where it was. A program cannot, and a
  worker that only waits for threads has told so. A quick stop kills at once.
- **A killed process that the kernel does not end for ten seconds is announced once**
  (``WorkerLingers``). No signal helps any more; clients that wait for its end are told its pid.
- **A worker that exits with one of ``--stop-exit-codes`` while it boots is done,** unless it
  reported a failure: a quick program is done before ``--min-uptime`` makes it count as ready. So is
  the work of its slot, and an outdated or worn worker whose heir it was is stopped. If the worn one
  served on, its limit would never take effect, because the slot gets no other heir.
"""

from dataclasses import dataclass
from enum import StrEnum

from prefork.errors import AppError
from prefork.pool.facts import Exited
from prefork.pool.orders import Cause


class WorkerState(StrEnum):
    """The states of the table above. The values are shown to users and published."""

    SPAWNING = "spawning"
    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"
    HUNG = "hung"
    KILLED = "killed"


LINGERS_AFTER = 10.0
"""Seconds from SIGKILL until a process counts as lingering: it is in uninterruptible sleep in the
kernel, for example because of a dead disk or NFS server."""

STARTING_STATES = frozenset({WorkerState.SPAWNING, WorkerState.BOOTING})
"""The states of a worker that does not serve yet."""

BEATING_STATES = frozenset({WorkerState.READY, WorkerState.DRAINING})
"""The states of a worker whose heartbeats count."""


@dataclass(slots=True)
class Worker:
    """A worker from the Spawn order to the Exited fact. All times are monotonic."""

    id: int
    slot: int
    generation: int
    spawned_at: float
    state: WorkerState = WorkerState.SPAWNING
    pid: int = 0
    deadline: float | None = None
    """When the pool acts on its state at the latest; None: never."""
    beat_due_at: float | None = None
    """When the next heartbeat is due at the latest, if it serves or drains; None: never."""
    ready_at: float | None = None
    retire_at: float | None = None
    worn: str = ""
    """The limit because of which the worker is to be replaced; empty: it is not."""
    heir_not_before: float = 0.0
    """The time before which a worn worker gets no heir."""
    heir_failure: str | None = None
    """Why the last heir of this worn worker failed; None: none failed."""
    may_lead: bool = True
    """It can become the leader: it is no program, and has not resigned."""
    is_busy: bool = False
    """The app does work that recycling may not interrupt (``prefork.busy()``)."""
    is_wait_announced: bool = False
    """RecycleWaits was announced for this worker."""
    can_report: bool = True
    """It can report its requests and stacks: it is no program."""
    waits_for: str = ""
    """The work that alone keeps a worker that drains and has answered all requests, such as
    threads; empty: it has not.
    """
    exceeded: str = ""
    """The option whose time it has exceeded, such as ``timeout``; empty: none."""
    accepts_no_more: bool = False
    """The worker reported that it accepts no more connections."""
    is_dump_forced: bool = False
    """The hung worker did not log its stacks, and they were dumped by force."""
    is_lingering: bool = False
    """The worker was killed, and the kernel has not ended it within ``LINGERS_AFTER`` seconds."""
    cause: Cause | None = None
    reason: str = ""
    """Why its boot failed, with the traceback of the app; or the place where it hung."""
    unready_reason: str = ""
    """Why it is not ready yet, as the master saw it last; empty: the master cannot see it."""
    is_given_up: bool = False
    """Its boot failed while it goes on living, so it was told to stop: that is no planned end."""
    fault: int = AppError.exit_code
    """The exit code that tells whose fault a failure is; by default that of the app."""

    def enter(self, state: WorkerState, deadline: float | None) -> None:
        """Change to ``state``. ``deadline``: when it ends at the latest; None: never."""
        self.state, self.deadline = state, deadline
        if state not in BEATING_STATES:
            self.beat_due_at = None

    def update_heartbeat(self, due_at: float | None, is_busy: bool) -> None:
        """Note what its row says: when its next heartbeat is due, and whether its app is busy."""
        self.is_busy = is_busy
        has_no_request = self.waits_for != "" or not self.can_report
        drains_on = self.state is WorkerState.DRAINING and has_no_request
        self.beat_due_at = None if drains_on else due_at

    def move_deadlines(self, late: float, earliest: float) -> None:
        """Move its deadlines by ``late`` seconds, and at least to ``earliest``."""
        if self.deadline is not None:
            self.deadline = max(self.deadline + late, earliest)
        if self.beat_due_at is not None:
            self.beat_due_at = max(self.beat_due_at + late, earliest)

    @property
    def due_at(self) -> float | None:
        """The time at which the pool acts on it at the latest; None: never."""
        known = [at for at in (self.deadline, self.beat_due_at) if at is not None]
        return min(known, default=None)

    @property
    def is_starting(self) -> bool:
        """Return whether it may still become the heir of its slot, or has just failed to."""
        hangs_in_boot = self.state is WorkerState.HUNG and self.cause is Cause.BOOT_TIMEOUT
        return hangs_in_boot or self.state in STARTING_STATES

    def mark_worn(self, why: str) -> None:
        """Mark the worker as to be replaced. The first reason stands."""
        self.worn = self.worn or why

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """Serial number, pid, slot and generation: the first fields of every event about it."""
        return self.id, self.pid, self.slot, self.generation

    def classify_exit(self, death: Exited) -> Cause:
        """Return the cause of a death that the pool did not order."""
        if death.out_of_memory and death.signal == "SIGKILL":
            return Cause.OUT_OF_MEMORY
        if self.state in STARTING_STATES:
            return Cause.BOOT_FAILURE
        return Cause.EXIT if death.signal is None else Cause.SIGNAL

    @property
    def can_be_done(self) -> bool:
        """Return whether an exit code may mean that the work is done.

        The worker serves, or it boots and reported no failure (see Design).
        """
        booted = self.state is WorkerState.BOOTING and not self.reason
        return booted or self.state is WorkerState.READY

    def uptime(self, now: float) -> float:
        """Return the seconds since the worker became ready; 0 if it never did."""
        return now - self.ready_at if self.ready_at is not None else 0.0
