"""The state of a master as one declared structure, for ``prefork report APP --state``.

The pool's part is the state itself (``pool/pool_state.py``). The parts of the master add what the
kernel gave them: pids, and descriptors by their role.

Design
------
- **Each descriptor stands under its role,** because a process that goes on in the place of this
  one finds its sockets and pipes by their numbers only.
- **Secrets are not in it.** Settings are masked as in ``prefork show``. The next process reads
  them anew, as a reload does.
- **The autoscaler, the schedule and the memory limit are not in it:** they measure anew, and need a
  few seconds for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefork.json_records import load_record
from prefork.pool.pool_state import PoolState
from prefork.wire.log_writer_messages import WorkerStream
from prefork.wire.versions import require_known_version

VERSION = 1
"""The version of the structure. A later one that only adds fields with defaults keeps it."""

Descriptors = dict[str, int]
"""The numbers of open descriptors of the master, by role."""


@dataclass(frozen=True, slots=True)
class ChildRecord:
    """The process of one worker.

    ``worker``: its serial number in the pool. ``row``: of the scoreboard. ``descriptors``: pidfd,
    ready pipe, order pipe; of a program its notify socket and its stderr, too.
    """

    worker: int
    pid: int
    row: int
    descriptors: Descriptors
    status_text: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class AuxiliaryRecord:
    """A process beside the workers: log writer, status server or watcher. Pauses in seconds."""

    name: str
    pid: int
    pause: float
    descriptors: Descriptors


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """The output of a worker on one stream, and the read end of its pipe."""

    stream: WorkerStream
    descriptor: int


@dataclass(frozen=True, slots=True)
class ListenerRecord:
    """A listener: the address in the settings, and device and inode of a unix socket's path."""

    address: str
    descriptor: int
    inode: list[int] | None = None


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """A generation that a worker or the plan needs.

    ``listeners``: scheme by descriptor. ``settings``: as in ``prefork show``.
    """

    folder: str
    imports: list[str]
    listeners: dict[int, str]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """A client of the control socket.

    ``goal``: the goal that it waits for, as ``dump_goal`` writes it; None: it waits for none.
    """

    pid: int
    uid: int
    may_change: bool
    descriptor: int
    follows_events: bool
    goal: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterRecord:
    """All that a master knows and holds.

    ``version``: of this structure. ``prefork``: the version of the package. ``now``: the monotonic
    time of the record, which all times in it are compared with. ``descriptors``: those of the
    master itself.
    """

    version: int = VERSION
    prefork: str
    pid: int
    now: float
    pool: PoolState
    workers: list[ChildRecord]
    generations: dict[int, GenerationRecord]
    listeners: list[ListenerRecord]
    status_listeners: list[ListenerRecord]
    auxiliary: list[AuxiliaryRecord]
    outputs: list[OutputRecord]
    clients: list[ClientRecord]
    descriptors: Descriptors


def load_master(dumped: Mapping[str, Any]) -> MasterRecord:
    """Return the record that was dumped. Raises LaterVersionError for one of a later version, and
    ValueError for anything else."""
    require_known_version({"v": dumped.get("version")}, VERSION)
    return load_record(MasterRecord, dumped)
