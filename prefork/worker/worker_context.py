"""The values that the master gives a worker at its fork, as one value."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefork.config import Config
from prefork.unix.identity import Identity
from prefork.unix.listeners import Listener
from prefork.unix.scoreboard import Row
from prefork.unix.shared_queue import SharedQueue
from prefork.worker.app_api import WorkerInfo
from prefork.worker.program_exec import ProgramPipes

if TYPE_CHECKING:  # a master of programs imports neither
    from prefork.http.answered_exchange import LogPlain
    from prefork.http.exchange import Exchange
    from prefork.tls.credentials import Credentials
    from prefork.worker.app_logging import LoggingConfig
    from prefork.worker.leadership import LeaseMaker


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The settings, descriptors and callbacks of one worker."""

    info: WorkerInfo
    config: Config
    identity: Identity
    """The user and the groups that the worker changes to."""
    folder: str
    """The working directory."""
    imports: list[str]
    """Folders that come first on the import path."""
    spool_dir: str
    """Folder of request bodies on disk; empty: TMPDIR, or /tmp."""
    listeners: Mapping[Listener, str]
    """Each with the scheme of its URL."""
    tls: "Credentials | None"
    handoff_queue: SharedQueue
    """The queue by which workers hand open connections to each other."""
    ready_fd: int
    """Write end of the ready pipe (wire/ready.py)."""
    order_fd: int
    """Read end of the order pipe (wire/worker_orders.py)."""
    life_fd: int
    """Read end of the life pipe, which ends when the master dies."""
    row: Row
    """The scoreboard row of the worker."""
    master_pid: int
    log: logging.Logger
    log_fd: int
    log_access: "Callable[[Exchange], None] | None"
    """Writes the line of the access log; None: there is no access log."""
    set_title: Callable[[str], None]
    """Shows a state in the process title."""
    on_ready: Callable[[], None]
    """Called just before the worker reports that it is ready."""
    open_logs: Callable[[], None]
    """Opens the logs that need the master's rights; called before the user changes."""
    reopen_logs: Callable[[], None]
    flush_logs: Callable[[], None]
    log_plain: "LogPlain | None" = None
    """``log_access`` for plain requests, if nothing else looks at each request; None: there is none
    for them."""
    are_listeners_stored: bool = False
    """True if the service manager keeps copies of the listeners, and starts the next master."""
    store_folder: str = ""
    """Folder of the files of the store; empty: there is none."""
    make_lease: "LeaseMaker | None" = None
    """Makes the lease by which this worker leads over several machines; None: it needs none."""
    logging_config: "LoggingConfig | None" = None
    """How the app's logging is configured; None: prefork leaves it alone."""
    program_pipes: ProgramPipes | None = None
    """Set for a worker that becomes a program in another language."""
