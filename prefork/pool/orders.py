"""Orders: what the pool asks the master to do, and the events that it announces.

An order changes something outside of the pool. An event only tells that something happened: log
lines, process titles, the notifications to systemd and the events of the control socket are made
from events. The class names and fields of events are part of the control protocol (``kind`` and the
keys of a progress message).
"""

from dataclasses import dataclass
from enum import StrEnum

from prefork.errors import AppError


class Cause(StrEnum):
    """Why a worker ended. The value is the text that log and ``prefork list`` show."""

    EXIT = "exited by itself"
    SIGNAL = "killed by a signal"
    OUT_OF_MEMORY = "out of memory"
    BOOT_FAILURE = "boot failure"
    BOOT_TIMEOUT = "not ready in time"
    HANG = "hang"
    RECYCLE = "recycled"
    SCALE = "scale"
    RELOAD = "reload"
    STOP = "stop"
    LEFT = "asked to leave by a signal"


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker began to serve ``took`` seconds after its fork."""

    worker: int
    pid: int
    slot: int
    generation: int
    took: float


@dataclass(frozen=True, slots=True)
class WorkerLeaving:
    """A worker was told to drain. ``why``: the limit that a recycled worker reached."""

    worker: int
    pid: int
    slot: int
    generation: int
    cause: Cause
    why: str = ""


@dataclass(frozen=True, slots=True)
class WorkerHung:
    """A worker passed its deadline. Its stacks are dumped, and then it is killed.

    ``cause``: why it ends; of a worker that drains it is why it was to leave. ``exceeded``: the
    option whose time it has exceeded.
    """

    worker: int
    pid: int
    slot: int
    generation: int
    cause: Cause
    exceeded: str


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """A worker was reaped.

    ``detail``: the exit code or signal as text. ``killed``: prefork sent it SIGKILL.
    ``retry_in``: seconds until its slot is filled again after a failure; None: it did not fail, or
    the slot is not filled again.
    ``reason``: what the worker reported about its failure; empty if the heir before it failed for
    the same reason, so that the log has a traceback once.
    ``why``: the limit that a recycled worker reached.
    ``fault``: the exit code of ``prefork.errors`` that tells whose fault a failure was.
    ``exceeded``: the option whose time it has exceeded, such as ``kill-timeout``; empty: none.
    """

    worker: int
    pid: int
    slot: int
    generation: int
    cause: Cause
    detail: str
    killed: bool
    retry_in: float | None
    reason: str = ""
    why: str = ""
    fault: int = AppError.exit_code
    exceeded: str = ""


@dataclass(frozen=True, slots=True)
class WorkerLingers:
    """A worker was killed ten seconds ago, and the kernel has not ended it. Announced once."""

    worker: int
    pid: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Running:
    """The first worker is ready, so the service answers."""

    generation: int


@dataclass(frozen=True, slots=True)
class RollStarted:
    """A rolling reload began."""

    generation: int


@dataclass(frozen=True, slots=True)
class RollDone:
    """Every slot serves the new generation, and no worker of an older one accepts connections.

    ``took``: seconds since the reload was requested.
    """

    generation: int
    took: float


@dataclass(frozen=True, slots=True)
class RollFailed:
    """A reload failed or was refused, and generation ``kept`` serves on.

    ``fault``: the exit code of ``prefork.errors`` that tells whose fault that was.
    """

    kept: int
    reason: str
    fault: int = AppError.exit_code


@dataclass(frozen=True, slots=True)
class Recycling:
    """``workers`` workers are to be replaced, one after another. ``why``: the reason."""

    workers: int
    why: str


@dataclass(frozen=True, slots=True)
class RecycleFailed:
    """The heir of a worn worker failed. The worker serves on, and further heirs are tried.

    Announced once for each worker. ``why``: the limit that the worker reached.
    """

    worker: int
    pid: int
    slot: int
    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class RecycleWaits:
    """A worn worker gets its heir when the work is done that its app marked by ``prefork.busy()``.

    Announced once for each worker. ``why``: the limit that the worker reached.
    """

    worker: int
    pid: int
    slot: int
    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class Scaled:
    """The number of slots changed from ``before`` to ``workers``.

    ``why``: the evidence of the autoscaler; empty if a person requested it.
    """

    workers: int
    before: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Parked:
    """All workers were told to leave, and the master stays (SIGWINCH)."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The pool begins to stop.

    ``reason``: the failure that forces it, with its ``fault`` (an exit code of ``prefork.errors``).
    ``done``: the text that tells how all workers ended for good (``--stop-exit-codes``).
    Both are empty if it was told to stop.
    ``delay``: seconds for which the workers go on serving before they drain.
    """

    reason: str
    fault: int = 0
    done: str = ""
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class StopDelayOver:
    """The workers begin to drain. ``is_skipped``: a second signal asked for it before its time."""

    is_skipped: bool


@dataclass(frozen=True, slots=True)
class Overslept:
    """The master itself was stopped or suspended; all deadlines were moved by ``seconds``."""

    seconds: float


Event = (
    WorkerReady
    | WorkerLeaving
    | WorkerHung
    | WorkerGone
    | WorkerLingers
    | Running
    | RollStarted
    | RollDone
    | RollFailed
    | Recycling
    | RecycleFailed
    | RecycleWaits
    | Scaled
    | Parked
    | Ending
    | StopDelayOver
    | Overslept
)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker for this slot and generation, and report Spawned or SpawnFailed."""

    worker: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Send the worker its stop signal; SIGQUIT if ``quick``."""

    worker: int
    quick: bool


@dataclass(frozen=True, slots=True)
class AnnounceEnd:
    """Tell the worker that the service will end: it goes on accepting connections, and closes each
    one after its next response."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Send the worker SIGKILL."""

    worker: int


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Make the worker log its requests in flight and the stacks of all its threads.

    It reports Stuck when it has done so. ``by_force``: it did not answer, so its faulthandler is to
    dump the stacks, which needs no interpreter that runs.
    """

    worker: int
    by_force: bool = False


@dataclass(frozen=True, slots=True)
class NameLeader:
    """Tell the worker, and all who read the scoreboard, that it leads. ``token``: its fencing
    token."""

    worker: int
    token: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Publish the event in the log, the titles, the control socket and to systemd."""

    event: Event


@dataclass(frozen=True, slots=True)
class Exit:
    """End the master, because every worker was reaped.

    ``failed``: why the pool gave up, if it did. ``code``: the exit code, which tells whose fault.
    """

    failed: str | None
    code: int = 0


Order = Spawn | Stop | AnnounceEnd | Kill | DumpStacks | NameLeader | Announce | Exit
