"""The facts that the master knows of one program, and of processes that outlived one."""

import os
from dataclasses import dataclass, field
from time import monotonic

from prefork.config import Config
from prefork.master.generation import Generation
from prefork.master.program_stop import ProgramStop
from prefork.master.stderr_relay import StderrRelay
from prefork.unix.notify import NotifySocket


@dataclass(slots=True)
class Program:
    """One program.

    ``worker``: its serial number in the pool. ``notify``: its notify socket. ``stderr``: the relay
    of its stderr. ``is_watched``: its notify socket is polled. ``kill_at``: monotonic time of the
    end of its kill timeout; None: it was not told to stop. ``is_aborted``: it hung. ``stop``: its
    stop signal.
    """

    worker: int
    generation: Generation
    notify: NotifySocket
    stderr: StderrRelay
    pid: int = 0
    is_ready: bool = False
    is_watched: bool = True
    kill_at: float | None = None
    is_aborted: bool = False
    stop: ProgramStop = field(default_factory=ProgramStop)

    @property
    def config(self) -> Config:
        """The settings of its generation."""
        return self.generation.config

    def runs_as(self, uid: int) -> bool:
        """Return whether ``uid`` is the user of the program or root."""
        own = self.generation.identity.uid
        return uid in (0, os.getuid() if own is None else own)


@dataclass(slots=True)
class OrphanedSession:
    """Processes that outlived the leader of their session. ``session``: the pid of the leader.

    ``kill_at``: monotonic time when they get SIGKILL.
    """

    session: int
    stderr: StderrRelay
    kill_at: float
    next_look_at: float = field(default_factory=monotonic)
