"""Set up a new child of the master: close the descriptors of the master, and start its work.

Each child closes its copies of listeners, pipes and channels that belong to the master or to other
children. A copy that stays open would keep a port in use, or hide the end of a pipe.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex

from prefork.config.store_kind import is_server
from prefork.master.children import Children
from prefork.master.generation import Generations
from prefork.master.master_logs import MasterLogs
from prefork.master.master_record import Descriptors
from prefork.master.output_pipes import OutputPipes
from prefork.master.process_titles import ProcessTitles
from prefork.observe.logger import Log
from prefork.plural import pluralize
from prefork.pool import orders
from prefork.unix.descriptor_disposal import run_in_child
from prefork.unix.poller import Poller
from prefork.unix.scoreboard import Row
from prefork.unix.shared_queue import SharedQueue
from prefork.unix.store_place import StorePlace
from prefork.worker.app_api import WorkerInfo
from prefork.worker.boot import run_worker
from prefork.worker.leadership import LeaseMaker
from prefork.worker.program_exec import ProgramPipes
from prefork.worker.worker_context import WorkerContext


class ChildSetup:
    """Sets up children of the master, in the child.

    ``copies``: functions that close a child's copies of what belongs to the master alone.
    """

    def __init__(
        self,
        name: str,
        poller: Poller,
        log: Log,
        titles: ProcessTitles,
        logs: MasterLogs,
        children: Children,
        generations: Generations,
    ) -> None:
        self._name = name
        self._poller = poller
        self._log = log
        self._titles = titles
        self._logs = logs
        self._children = children
        self._generations = generations
        self._queue = SharedQueue()
        """The handoff queue of all workers of all generations; the master keeps it open."""
        self._lease_owner = f"{socket.gethostname()}:{os.getpid()}:{token_hex(8)}"
        """The name of this master on the server of the store."""
        self.are_listeners_stored = False
        """True if systemd keeps copies of the listeners (unix/descriptor_store.py)."""
        self.store_folder = ""
        """Folder of the files of the store; empty: there is none."""
        self.copies: list[Callable[[], None]] = [children.close_copy]

    def descriptors(self) -> Descriptors:
        """Return the descriptors of the handoff queue, by role."""
        sender, receiver = self._queue.descriptors()
        return {"handoff_sender": sender, "handoff_receiver": receiver}

    def close_stranded_connections(self) -> None:
        """Close the connections in the handoff queue if no worker is left that would take them.

        The workers that serve now may be of another interface (``main(listener)``, a program),
        which takes none. A client that waits for an answer is better off when its connection ends.
        """
        if self._children.has_stranded_connections() and self._queue.has_messages():
            run_in_child(self._poller, self._drop_shared_connections)

    def _drop_shared_connections(self) -> None:
        """Close what waits in the handoff queue, in a child, because closing may block."""
        if count := self._queue.discard_all():
            closed = pluralize(count, "connection")
            self._log.logger.warning("closed %s that no worker can go on with", closed)

    def _close_copies(self) -> None:
        for close_copy in self.copies:
            close_copy()

    def _enter_auxiliary(self, set_title: Callable[[], None]) -> None:
        """Close what an auxiliary process does not need, also all listeners, and set its title."""
        self._close_copies()
        set_title()
        self._queue.close()
        self._generations.close_copies(but=())

    def enter_log_writer(self) -> None:
        """Begin the log writer in its process. It keeps the output pipes of the workers."""
        self._enter_auxiliary(self._titles.set_log_writer)

    def enter_watcher(self) -> None:
        """Begin the watcher of files in its process."""
        self._enter_auxiliary(self._titles.set_watcher)
        self._logs.close_copy()

    def enter_status_process(self) -> None:
        """Begin the status server in its process."""
        self._enter_auxiliary(self._titles.set_status_process)
        self._logs.close_copy()

    def run_worker(
        self,
        order: orders.Spawn,
        output: OutputPipes | None,
        starting: bool,
        ready_fd: int,
        order_fd: int,
        row: Row,
        program_pipes: ProgramPipes | None = None,
    ) -> int:
        """Run a worker in its process, and return its exit code.

        ``output``: the pipes for what it prints; None: it prints where the master does.
        ``starting``: no worker has been ready yet. ``ready_fd``, ``order_fd``: its ends of
        the ready pipe and of the order pipe.
        ``program_pipes``: if it is a program.
        """

        def set_title(state: str) -> None:
            self._titles.set_worker(order.slot, order.generation, state)

        generation = self._generations[order.generation]
        self._log.identify(self._name, order.slot, order.generation)
        self._close_copies()
        self._logs.close_copy()
        self._generations.close_copies(but=generation.listeners)
        logs = self._logs.make_worker_logs(generation, order, output, starting)
        return run_worker(
            WorkerContext(
                info=WorkerInfo(order.slot, order.generation, self._name),
                config=generation.config,
                identity=generation.identity,
                folder=generation.folder,
                imports=generation.imports,
                spool_dir=generation.spool_dir,
                listeners=generation.listeners,
                tls=generation.tls,
                handoff_queue=self._queue,
                ready_fd=ready_fd,
                order_fd=order_fd,
                life_fd=self._children.life.reader,
                row=row,
                master_pid=os.getppid(),
                log=self._log.logger,
                log_fd=self._log.fd,
                log_access=logs.log_access,
                log_plain=logs.log_plain,
                set_title=set_title,
                on_ready=logs.on_ready,
                open_logs=logs.open,
                reopen_logs=logs.reopen,
                flush_logs=logs.flush,
                are_listeners_stored=self.are_listeners_stored,
                store_folder=self.store_folder,
                make_lease=self._find_lease_maker(generation.config.store),
                logging_config=generation.logging_config,
                program_pipes=program_pipes,
            )
        )

    def _find_lease_maker(self, store: str) -> LeaseMaker | None:
        """Return what makes the lease of a leader; None: the store is on this machine."""
        if not is_server(store):
            return None
        from prefork.store.leader_lease import LeaderLease  # noqa: PLC0415 - only for a server

        place = StorePlace(store, app=self._name)
        return lambda label, log, show: LeaderLease(place, self._lease_owner, label, log, show)


@dataclass(frozen=True, slots=True)
class WorkerRun:
    """Runs a worker in its new process. ``output`` and ``starting``: see ``run_worker``."""

    child_setup: ChildSetup
    order: orders.Spawn
    output: OutputPipes | None
    starting: bool

    def __call__(
        self,
        ready_fd: int,
        order_fd: int,
        row: Row,
        program_pipes: ProgramPipes | None = None,
    ) -> int:
        """Run the worker, and return its exit code."""
        return self.child_setup.run_worker(
            self.order, self.output, self.starting, ready_fd, order_fd, row, program_pipes
        )
