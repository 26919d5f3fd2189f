"""What the pool asks the master to do, and the happenings that it wants told.

Orders act on the world; a happening only tells of it. Log lines, process titles and the
notifications to systemd are made from happenings, never from inside the pool.
"""

from dataclasses import dataclass
from enum import StrEnum

from prefork.errors import AppError


class Cause(StrEnum):
    """Why a worker ended: the word that the log, the title and the list show."""

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
    """A worker began to serve, ``took`` seconds after its fork."""

    worker: int
    pid: int
    slot: int
    generation: int
    took: float


@dataclass(frozen=True, slots=True)
class WorkerLeaving:
    """A worker was told to drain. ``why``: what wore out one that is recycled."""

    worker: int
    pid: int
    slot: int
    generation: int
    cause: Cause
    why: str = ""


@dataclass(frozen=True, slots=True)
class WorkerHung:
    """A worker passed its deadline; its stacks are dumped, then it is killed."""

    worker: int
    pid: int
    slot: int
    generation: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """A worker was reaped. ``retry_in``: seconds until its slot is filled again, if it is;
    ``reason``: what it said itself, unless that was told of the heir before it (the log has it here
    or as the end of a start or of a roll); ``why``: what wore out one that was recycled; ``fault``:
    the exit code of errors.py that says whose fault a failure was."""

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


@dataclass(frozen=True, slots=True)
class WorkerLingers:
    """A worker was killed seconds ago, and the kernel has not ended it yet. Told once."""

    worker: int
    pid: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Running:
    """The first worker is ready: the service answers."""

    generation: int


@dataclass(frozen=True, slots=True)
class RollStarted:
    """A rolling reload began."""

    generation: int


@dataclass(frozen=True, slots=True)
class RollDone:
    """Every slot serves the new generation, and no older one accepts any more."""

    generation: int
    took: float


@dataclass(frozen=True, slots=True)
class RollFailed:
    """A reload failed or was refused; generation ``kept`` serves on. ``fault``: whose fault that
    was, as an exit code of errors.py."""

    kept: int
    reason: str
    fault: int = AppError.exit_code


@dataclass(frozen=True, slots=True)
class Recycling:
    """So many workers are to be replaced, one after another."""

    workers: int
    why: str


@dataclass(frozen=True, slots=True)
class RecycleFailed:
    """The heir of a worn worker failed; the worker serves on, and more heirs are tried. Told once
    for each worker."""

    worker: int
    pid: int
    slot: int
    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class RecycleWaits:
    """A worn worker gets its heir when the work is done that its app has marked. Told once for each
    worker."""

    worker: int
    pid: int
    slot: int
    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class Scaled:
    """The number of slots changed; ``why``: unless a person asked for it."""

    workers: int
    before: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Parked:
    """All workers were asked to leave; the master stays."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The pool is going down. ``reason``: the failure that forces it, with its ``fault`` (an exit
    code of errors.py); ``done``: how the workers ended for good. Both empty: it was asked to."""

    reason: str
    fault: int = 0
    done: str = ""


@dataclass(frozen=True, slots=True)
class Overslept:
    """The master itself was stopped or suspended; deadlines were moved by that much."""

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
    | Overslept
)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker for this slot and generation; answer Spawned or SpawnFailed."""

    worker: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Send the stop signal (``quick``: the quit signal)."""

    worker: int
    quick: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL."""

    worker: int


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Make the worker tell into the log which requests it has, and the stacks of all its threads;
    it answers with Stuck. ``by_force``: it did not, so only stacks, and without its interpreter."""

    worker: int
    by_force: bool = False


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the log, the titles, systemd."""

    event: Event


@dataclass(frozen=True, slots=True)
class Exit:
    """Everything is reaped: end the master. ``failed``: why it gave up, if it did; ``code``: the
    exit code, which tells who was at fault."""

    failed: str | None
    code: int = 0


Order = Spawn | Stop | Kill | DumpStacks | Announce | Exit
