"""Facts: what the master reports to the pool. They are plain values, true when they were reported.

A worker is named by the serial number that the pool gave it in its Spawn order. A pid would not do:
the kernel reuses pids, so a late fact could be taken for one about another process.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from prefork.errors import AppError
from prefork.pool.policy import Policy


@dataclass(frozen=True, slots=True)
class Spawned:
    """The fork succeeded."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The fork failed, for example for lack of memory or because of a limit on processes."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker reported that it accepts requests."""

    worker: int


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The worker reported that it cannot serve.

    ``reason``: why, with the traceback of the app. ``code``: an exit code of ``prefork.errors``,
    which tells whose fault it is. ``lives``: it does not end by itself, so the pool stops it.
    """

    worker: int
    reason: str
    code: int = AppError.exit_code
    lives: bool = False


@dataclass(frozen=True, slots=True)
class NotReady:
    """The worker boots, and the master looked at it and found that it is not ready yet.

    ``reason``: why not; it is the reason of the failure if the boot timeout passes.
    """

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """The worker accepts no more connections and drains, because of a signal from any process.

    ``waits_for``: it has answered all requests, and only this keeps it ("threads"); empty: it has
    requests in flight.
    """

    worker: int
    waits_for: str = ""


@dataclass(frozen=True, slots=True)
class Resigned:
    """The worker reported that it does not lead any more: its work as the leader has ended."""

    worker: int


@dataclass(frozen=True, slots=True)
class PredecessorEnded:
    """The leader of an earlier master, which outlived it, has ended."""


@dataclass(frozen=True, slots=True)
class Worn:
    """The worker is to be replaced, and serves until its heir is ready.

    ``why``: the limit that it reached, as in "1000 requests". The worker reported it, or the master
    measured it (memory).
    """

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """The state of all workers as their rows of the scoreboard tell it.

    ``deadlines``: by worker, the monotonic time by which its next heartbeat is due.
    ``busy``: workers whose app does work that recycling may not interrupt (``prefork.busy()``).
    """

    deadlines: Mapping[int, float]
    busy: Set[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Stuck:
    """The worker has logged its stacks, as it was asked to because it hangs or drains for too long.

    ``report``: its requests in flight and the places in the code where they are.
    """

    worker: int
    report: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The worker was reaped. Either ``code`` or ``signal`` is set, never both.

    ``out_of_memory``: the kernel's counter of out-of-memory kills rose at that time. ``reason``:
    why it ended, by its last output; it counts if the worker has reported no other reason.
    """

    worker: int
    code: int | None = None
    signal: str | None = None
    out_of_memory: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReloadRequested:
    """Every slot is to be rolled to ``generation``, a number above all before, under ``policy``."""

    generation: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class ReloadRefused:
    """A reload was requested, but its settings are wrong, so nothing changes."""

    reason: str


@dataclass(frozen=True, slots=True)
class RecycleRequested:
    """Every worker is to be replaced by one of the same generation.

    ``why``: the reason for the log, as in "--cron 0 4 * * *".
    """

    why: str


@dataclass(frozen=True, slots=True)
class ScaleRequested:
    """The number of workers is to change by ``by`` (positive or negative).

    ``why``: the evidence of the autoscaler; empty if a person requested it.
    """

    by: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """All workers are to leave, and the master is to stay; a reload or a scale brings them back."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """All workers and the master are to end. ``quick``: without waiting for requests in flight.

    ``at_once``: without the stop delay, because the next master goes on with the sockets.
    """

    quick: bool = False
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class StopSignalled:
    """A stop signal came. The first one asks for a stop, and each further one for a quicker end:
    it skips the rest of the stop delay, or else the wait for requests in flight."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Only time has passed."""


Fact = (
    Spawned
    | SpawnFailed
    | Ready
    | BootFailed
    | NotReady
    | Leaving
    | Resigned
    | PredecessorEnded
    | Worn
    | Heartbeats
    | Stuck
    | Exited
    | ReloadRequested
    | ReloadRefused
    | RecycleRequested
    | ScaleRequested
    | DrainRequested
    | StopRequested
    | StopSignalled
    | Tick
)
