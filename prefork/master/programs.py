"""Workers that are programs (``prefork -- COMMAND``): readiness, signals, and leftover processes.

The pool sees no difference between a program and an app. The exec of a program closes its ready
pipe. From then on ``--ready`` decides when it is ready (program_readiness.py), or it reports so on
its notify socket. Signals go to its whole session. Processes that
outlive the leader of the session get the stop signal, and SIGKILL when the kill timeout of the
leader is over. The master does not end before them.

Design
------
- **A notify socket for each program,** so that a message needs no search for its sender. The sender
  is checked all the same (SCM_CREDENTIALS): it has to belong to the session of the program or to be
  a descendant. A sender that ended meanwhile counts if its user is right, because
  ``systemd-notify`` exits at once.
- **A program may write READY=1 to a descriptor, too** (``NOTIFY_FD``). Node and shells cannot send
  to a unix datagram socket; they would have to start a process for one word.
- **The stop signal goes to the session, as with systemd.** Otherwise the shell of
  ``sh -c "node server.js"`` would end alone. Servers that drain by themselves get it first
  (program_stop.py). In a quick stop a program gets the stop signal and one
  second, because SIGQUIT means "gently" to some programs.
- **A program that hangs gets SIGABRT,** as from systemd's watchdog; many runtimes print their
  stacks then.
- **A master with programs adopts orphans** (PR_SET_CHILD_SUBREAPER). It reaps them, waits at its
  end for the sessions, and kills processes that left their session.
- **A guard process ends the programs of a killed master** (``unix/orphan_guard.py``). A guard that
  was killed itself is replaced after a moment, and before the next program begins.
- **The exit code of a single program is the exit code of the master,** in the foreground and if the
  program ended by itself, as under tini and docker. Not when the master was told to stop (0), not
  for several programs (102, because it is not clear whose code it would be); and 0 never hides a
  failure. The pool knows nothing of it.
"""

import os
import signal
from collections.abc import Callable
from time import monotonic

from prefork.config import Config
from prefork.errors import MachineError
from prefork.master.children import Children
from prefork.master.figures_reader import FiguresReader, FiguresSource
from prefork.master.figures_writer import FiguresWriter
from prefork.master.generation import Generation
from prefork.master.master_record import Descriptors
from prefork.master.owned_ports import owned_addresses
from prefork.master.preload_check import run_by_node
from prefork.master.process_titles import ProcessTitles
from prefork.master.program import OrphanedSession, Program
from prefork.master.program_failure import describe_end, describe_obstacle
from prefork.master.program_readiness import ReadinessLooks, ReadinessProbe
from prefork.master.stderr_relay import StderrRelay
from prefork.observe.logger import Log
from prefork.pool import facts, orders
from prefork.unix import process_tree
from prefork.unix.descriptor_disposal import run_in_child
from prefork.unix.listeners import restore_backlog
from prefork.unix.notify import NotifyMessage, NotifySocket
from prefork.unix.orphan_guard import GuardedSession, OrphanGuard
from prefork.unix.pipes import open_output_pipe
from prefork.unix.poller import Poller
from prefork.unix.process import ExitStatus
from prefork.unix.scoreboard import DEADLINE, Row
from prefork.unix.signals import signal_number
from prefork.wire import notify
from prefork.wire.ready import InvalidMessage, MessageKind, ReadyMessage
from prefork.worker.program_exec import ProgramPipes

POLL_INTERVAL = 0.1
"""Seconds between two looks at processes that are no children, which no descriptor reports."""


class Programs:
    """The programs of one master.

    ``on_message``: called with the messages of a program, as if they came from its ready pipe.
    ``on_fact``: called with what a look at a program found. ``name``: of the app in the list.
    ``adopts_orphans``: orphans become children of the master, which has to reap them.
    """

    def __init__(
        self,
        poller: Poller,
        children: Children,
        on_message: Callable[[int, ReadyMessage | InvalidMessage], None],
        on_fact: Callable[[facts.Fact], None],
        log: Log,
        titles: ProcessTitles,
        name: str,
    ) -> None:
        self._poller = poller
        self._children = children
        self._on_message = on_message
        self._log = log
        self._name = name
        self._looks = ReadinessLooks(self._on_found_ready, on_fact, log.logger)
        self._guard = OrphanGuard(log.fd, titles.set_guard)
        self._guard_due_at: float | None = None
        """Monotonic time when a new guard is due; None: a guard runs, or none is needed."""
        self._programs: dict[int, Program] = {}
        self.figures = FiguresReader(poller)
        self._orphaned_sessions: list[OrphanedSession] = []
        self._only: Program | None = None
        """The last program, if there is one slot only."""
        self._only_death: ExitStatus | None = None
        """How ``_only`` ended by itself; None: it runs, or was told to stop."""
        children.on_ready_pipe_closed = self._on_exec
        self.adopts_orphans = os.getpid() == 1

    def spawn(
        self,
        generation: Generation,
        log_writer_pipe: int | None,
        worker: int,
        main: Callable[[int, int, Row, ProgramPipes], int],
    ) -> int:
        """Fork a process that runs ``main`` and becomes the program; return its pid.

        ``log_writer_pipe``: the pipe to the log writer for its stderr, which is duplicated; None:
        its stderr goes to the log of the master.
        ``main``: gets the arguments of ``Children.spawn`` and the pipes of the program.
        Raises MachineError.
        """
        if not self.adopts_orphans:
            process_tree.become_subreaper()
            self.adopts_orphans = True
        if not self._guard:
            self._start_guard()
        notify_socket, figures_socket, pipe = NotifySocket(), NotifySocket(), open_output_pipe()
        addresses = notify_socket.address, figures_socket.address
        program_pipes = ProgramPipes(*addresses, pipe.writer)
        copy = os.dup(log_writer_pipe) if log_writer_pipe is not None else None
        relay = StderrRelay(
            pipe, self._poller, self._log, copy, lambda why: self._on_stderr_failure(worker, why)
        )
        program = Program(worker, generation, notify_socket, relay)
        self._programs[worker] = program
        self._only, self._only_death = program if generation.policy.workers == 1 else None, None
        try:
            program.pid = self._children.spawn(
                worker, lambda fd, ask, row: main(fd, ask, row, program_pipes)
            )
        except BaseException:
            del self._programs[worker]
            notify_socket.close()
            figures_socket.close()
            relay.close()
            raise
        finally:
            pipe.close_writer()
        self._read_figures(program, figures_socket)
        self._poller.add_reader(notify_socket.fileno(), lambda: self._read_notices(program))
        stop_signal = signal.Signals[generation.config.stop_signal]
        self._guard.add(
            GuardedSession(
                program.pid, stop_signal, generation.config.kill_timeout, relay.fd, relay.target_fd
            )
        )
        return program.pid

    def descriptors(self) -> Descriptors:
        """Return the descriptor of the guard, by role; empty: none runs."""
        return {"guard": self._guard.fileno()} if self._guard else {}

    def program_descriptors(self, worker: int) -> Descriptors:
        """Return the descriptors of a program beside those of each worker; empty: it is none."""
        program = self._programs.get(worker)
        if program is None:
            return {}
        source = self.figures.get(worker)
        return {
            "notify": program.notify.fileno(),
            **({"figures": source.socket.fileno()} if source is not None else {}),
            "stderr": program.stderr.fd,
            "stderr_target": program.stderr.target_fd,
        }

    def _start_guard(self) -> None:
        """Start the guard process. Raises MachineError."""
        self._guard_due_at = None
        self._guard.start()
        self._poller.add_reader(self._guard.fileno(), self._on_guard_death)

    def _on_guard_death(self) -> None:
        """Schedule a new guard, with a delay, in case it is killed again at once."""
        self._poller.remove(self._guard.fileno())
        self._guard.close()
        self._guard_due_at = monotonic() + POLL_INTERVAL

    def _on_stderr_failure(self, worker: int, why: str) -> None:
        """Replace a program whose stderr cannot be passed on any more."""
        if worker in self._programs:
            self._on_message(worker, InvalidMessage(why))
        else:
            text = "the stderr of processes that a program left behind is lost: %s"
            self._log.logger.error(text, why)

    def reload_obstacle(self, wanted: Config) -> str:
        """Return why these programs cannot be rolled, and what helps; empty: they can.

        ``wanted``: the settings of the reload. If they change the command or its environment, the
        new program may use another address.
        """
        serving = [
            each
            for each in self._programs.values()
            if each.is_ready
            and (each.config.command, each.config.env) == (wanted.command, wanted.env)
        ]
        shared = {
            listener.inode_number
            for program in serving
            for listener in program.generation.listeners
        }
        leaders = [program.pid for program in serving]
        owned = owned_addresses(leaders, shared) if serving else []
        if not owned:
            return ""
        return describe_obstacle(owned, self._name, wanted, run_by_node(leaders))

    def is_program(self, worker: int) -> bool:
        """Return whether the worker with this serial number is a program."""
        return worker in self._programs

    # Ready.

    def _on_exec(self, worker: int) -> None:
        """Schedule the first look at readiness, when the ready pipe closed at the exec.

        The pipe closes as well when the process dies before its exec; its death comes next then.
        """
        program = self._programs.get(worker)
        if program is None:
            return
        self._looks.add(
            worker,
            ReadinessProbe(program.pid, program.config, program.generation.listeners, monotonic()),
            program.stderr.excerpt,
        )

    def _on_found_ready(self, worker: int) -> None:
        self._mark_ready(self._programs[worker])

    def _mark_ready(self, program: Program) -> None:
        self._looks.remove(program.worker)
        if program.is_ready:
            return
        program.is_ready = True
        program.stderr.catch_up()
        program.stderr.excerpt.stop_search()
        # Its runtime may have set a shorter backlog, which belongs to the queue of all workers.
        restore_backlog(program.generation.listeners, program.config.backlog)
        self._on_message(program.worker, ReadyMessage(MessageKind.READY))

    def _read_notices(self, program: Program) -> None:
        """Read messages from the notify socket of a program.

        An exception that a message raises counts as an invalid message of the program and must not
        end the master.
        """
        try:
            for notice in program.notify.read():
                if self._is_from_program(notice, program):
                    said = notify.decode_notification(notice.data)
                    if notify.NODE in said:
                        program.stop.add_server(notice.pid)
                    self._apply_notices(program, said)
                    if (source := self.figures.get(program.worker)) is not None:
                        source.add(notice.pid, said)
        except Exception as error:
            self._stop_watching(program)
            self._on_message(program.worker, InvalidMessage(f"{type(error).__name__}: {error}"))
        if program.notify.is_paused and program.is_watched:
            self._stop_watching(program)
            run_in_child(
                self._poller, program.notify.discard_next, lambda: self._watch_again(program)
            )

    def _stop_watching(self, program: Program) -> None:
        if program.is_watched:
            program.is_watched = False
            self._poller.remove(program.notify.fileno())

    def _watch_again(self, program: Program) -> None:
        """Poll the notify socket again, after a child discarded a message with descriptors."""
        if self._programs.get(program.worker) is program:
            program.is_watched, program.notify.is_paused = True, False
            self._poller.add_reader(program.notify.fileno(), lambda: self._read_notices(program))

    @staticmethod
    def _is_from_program(notice: NotifyMessage, program: Program) -> bool:
        """Return whether a message comes from a process of this program (see Design)."""
        known = process_tree.is_in_session_or_descendant(notice.pid, program.pid)
        return program.runs_as(notice.uid) if known is None else known

    def _apply_notices(self, program: Program, said: notify.Notification) -> None:
        if said.get(notify.READY) == "1" and program.config.ready.mode in (
            "auto",
            "manual",
            "notify",
        ):
            self._mark_ready(program)
        if said.get(notify.STOPPING) == "1":
            self._on_message(program.worker, ReadyMessage(MessageKind.LEAVING))
        if (process := self._children.get(program.worker)) is None:
            return
        if notify.STATUS in said:
            process.status_text = said[notify.STATUS][:200]
        process.node = notify.describe_node(said) or process.node
        if said.get(notify.WATCHDOG) == "1" and program.config.timeout is not None:
            # From its first WATCHDOG=1 on, as with the heartbeat of a worker.
            process.row.floats[DEADLINE] = monotonic() + program.config.timeout

    def _read_figures(self, program: Program, figures_socket: NotifySocket) -> None:
        """Read the figures that a program reports from now on, into its row."""
        process = self._children.get(program.worker)
        assert process is not None, "it was spawned just now"

        def complain(complaint: str) -> None:
            text = "the figures of the program with pid %d are incomplete: %s"
            self._log.logger.warning(text, program.pid, complaint)

        source = FiguresSource(
            figures_socket,
            FiguresWriter(process.row),
            lambda message: self._is_from_program(message, program),
            complain,
        )
        self.figures.add(program.worker, source)

    # Signals.

    def carry_out(
        self, order: orders.Stop | orders.AnnounceEnd | orders.Kill | orders.DumpStacks
    ) -> None:
        """Carry out an order about a program."""
        if isinstance(order, orders.AnnounceEnd):
            return  # it answers its clients itself, and serves on
        program = self._programs[order.worker]
        self._looks.remove(order.worker)
        match order:
            case orders.Stop():
                # The same signal in a quick stop (see Design).
                program.kill_at = monotonic() + program.config.kill_timeout
                self._stop(program, signal.Signals[program.config.stop_signal])
            case orders.Kill():
                program.kill_at = monotonic()
                self._signal(program, signal.SIGKILL)
            case orders.DumpStacks(by_force=False):
                program.is_aborted = True
                self._signal(program, signal.SIGABRT)

    def _stop(self, program: Program, signum: int) -> None:
        """Send the stop signal, to the processes that serve first (program_stop.py)."""
        if program.stop.servers:
            program.stop.begin(program.pid, signum, monotonic())
        else:
            self._signal(program, signum)

    def _signal(self, program: Program, signum: int) -> None:
        """Send a signal to the session of a program."""
        process = self._children.get(program.worker)
        if process is None:
            return
        leads = process_tree.read_process(program.pid)
        if leads is not None and leads.session == program.pid:
            process_tree.signal_session(program.pid, signum)
        else:
            # It was just forked and has no session of its own yet.
            process.child.send_signal(signum)

    # The end.

    def on_death(self, worker: int, death: ExitStatus) -> str:
        """Clean up after a program; return why it ended, unless it was told to or is done."""
        program = self._programs.pop(worker, None)
        if program is None:
            return ""
        obstacle = self._looks.remove(worker)
        if program is self._only and program.kill_at is None and not program.is_aborted:
            self._only_death = death
        self._read_notices(program)  # messages that it sent before it died
        self._stop_watching(program)
        program.notify.hang_up(self._poller)
        self.figures.remove(worker)
        program.stderr.read_last()
        if process_tree.session_members(program.pid):
            self._track_orphans(program)
        else:
            self._stop_tracking(program.pid, program.stderr)
        told_to = program.is_ready and program.kill_at is not None
        if told_to or death.code in program.config.stop_exit_codes:
            return ""  # with such a code its work may be done before it counted as ready
        return describe_end(self._name, program, death, obstacle)

    def _track_orphans(self, program: Program) -> None:
        deadline = program.kill_at
        program.stop.tell_session()
        if deadline is None:
            deadline = monotonic() + program.config.kill_timeout
            process_tree.signal_session(program.pid, signal.Signals[program.config.stop_signal])
        self._orphaned_sessions.append(OrphanedSession(program.pid, program.stderr, deadline))

    def _stop_tracking(self, session: int, relay: StderrRelay) -> None:
        self._guard.remove(session)
        relay.close()

    def run_due(self, quick: bool) -> None:
        """Do what is due: start the guard, relay stderr, look at readiness and at orphaned
        sessions.

        ``quick``: orphaned sessions are killed at once.
        """
        now = monotonic()
        if self._guard_due_at is not None and self._guard_due_at <= now:
            try:
                self._start_guard()
            except MachineError:
                self._guard_due_at = now + POLL_INTERVAL  # no memory or processes now: try again
        self.figures.run_due(now)
        for relay in self._stderr_relays():
            relay.resume_if_due(now)
        self._looks.run_due(now)
        for program in list(self._programs.values()):
            program.stop.run_due(now)
        for orphans in list(self._orphaned_sessions):
            if orphans.next_look_at > now and not quick:
                continue
            orphans.next_look_at = now + POLL_INTERVAL
            if not process_tree.session_members(orphans.session):
                self._orphaned_sessions.remove(orphans)
                self._stop_tracking(orphans.session, orphans.stderr)
            elif quick or orphans.kill_at <= now:
                process_tree.signal_session(orphans.session, signal.SIGKILL)

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which ``run_due`` is due although nothing happens."""
        also = (self._guard_due_at, self._looks.next_deadline(), self.figures.next_deadline())
        stops = (program.stop.next_look_at for program in self._programs.values())
        due = [at for at in (*also, *stops) if at is not None]
        due += [relay.due_at for relay in self._stderr_relays() if relay.due_at is not None]
        return min(
            [*due, *(orphans.next_look_at for orphans in self._orphaned_sessions)], default=None
        )

    def _stderr_relays(self) -> list[StderrRelay]:
        living = [program.stderr for program in self._programs.values()]
        return living + [orphans.stderr for orphans in self._orphaned_sessions]

    def exit_code(self, failed: bool, code: int) -> int:
        """Return the exit code of the master (see Design).

        ``failed``: the pool gave up. ``code``: the exit code that the pool ordered.
        """
        if self._only is None or self._only_death is None or self._only.config.daemon:
            return code
        own = self._only_death.code
        if own is None:
            own = 128 + signal_number(self._only_death.signal or "")
        if failed:
            return own or code  # 0 would hide the failure
        return own if own in self._only.config.stop_exit_codes else code

    @property
    def have_ended(self) -> bool:
        """Return whether no orphaned session is left."""
        return not self._orphaned_sessions

    def close(self) -> None:
        """End the guard, and kill adopted processes that left their session."""
        self._guard.close()
        if self.adopts_orphans:
            process_tree.kill_adopted_orphans()

    def close_copy(self) -> None:
        """Close what belongs to the programs, in a child."""
        self._guard.close()
        for program in self._programs.values():
            program.notify.close()
        self.figures.close_copy()
        for relay in self._stderr_relays():
            relay.close_copy()
