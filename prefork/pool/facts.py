"""What the master reports to the pool. Facts are plain values: they were true when said.

A worker is named by the serial number that the pool gave it in its Spawn order, never by its
pid, so a reused pid cannot be mistaken for an old acquaintance.
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
    """The fork failed (no memory, too many processes)."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker said that it accepts requests."""

    worker: int


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The worker said that it cannot serve: why, with the app's traceback, and whose fault it is
    (``code``: an exit code of errors.py)."""

    worker: int
    reason: str
    code: int = AppError.exit_code


@dataclass(frozen=True, slots=True)
class Leaving:
    """The worker accepts no more and drains: the master or another process signalled it.
    ``waits_for``: it has answered all, and only this keeps it."""

    worker: int
    waits_for: str = ""


@dataclass(frozen=True, slots=True)
class Worn:
    """The worker is to be replaced, and serves until it is (``why``: "1000 requests"). It said so
    itself, or it was seen (its memory)."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """The deadlines, in seconds on the master's clock, that the workers wrote for themselves.
    ``busy``: those whose app does work that no recycling may interrupt."""

    deadlines: Mapping[int, float]
    busy: Set[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Stuck:
    """The worker, asked for its stacks, has told them; ``what`` it was at: requests and places."""

    worker: int
    report: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The worker was reaped. Exactly one of ``code`` and ``signal`` is set."""

    worker: int
    code: int | None = None
    signal: str | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class ReloadRequested:
    """Roll every slot to a new generation, numbered above all before, under this policy."""

    generation: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class ReloadRefused:
    """A reload was asked for but its configuration is wrong; nothing changes."""

    reason: str


@dataclass(frozen=True, slots=True)
class RecycleRequested:
    """Replace every worker by one of the same generation (``why``: "--cron 0 4 * * *")."""

    why: str


@dataclass(frozen=True, slots=True)
class ScaleRequested:
    """More (positive) or fewer (negative) workers; ``why``: unless a person asked."""

    by: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Let every worker go, keep the master; a reload or a scale brings them back."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """End everything; ``quick`` does not wait for requests in flight."""

    quick: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing but time has passed."""


Fact = (
    Spawned
    | SpawnFailed
    | Ready
    | BootFailed
    | Leaving
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
    | Tick
)
