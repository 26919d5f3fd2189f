"""Workers that are programs: when one counts as ready, how it is signalled, what it leaves behind.

The pool sees no difference. A program's exec is the end of its ready pipe; then it is ready when it
says so on its notify socket, when it has lived for a while, or when it listens, as --ready wants.
It is signalled as a whole group. What outlives its leader gets the stop signal, and SIGKILL when
the kill timeout that the leader had is over; the master does not end before.
"""

import os
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from prefork.config import Config
from prefork.errors import MachineError
from prefork.master.children import Children
from prefork.master.generation import Generation
from prefork.master.process_titles import ProcessTitles
from prefork.master.stderr_relay import StderrRelay
from prefork.observe.logger import Log
from prefork.pool import orders
from prefork.unix import process_tree
from prefork.unix.descriptor_disposal import run_in_child
from prefork.unix.listen_check import is_program_listening
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
"""Seconds between two looks at what no descriptor tells: a port, a process of somebody else's."""


@dataclass(slots=True)
class Program:
    """One program. ``due``: when the next look at its readiness is; ``stop_by``: the end of its
    kill timeout, once it was told to stop."""

    worker: int
    generation: Generation
    notify: NotifySocket
    stderr: StderrRelay
    pid: int = 0
    next_look_at: float | None = None
    is_ready: bool = False
    is_watched: bool = True
    kill_at: float | None = None

    @property
    def config(self) -> Config:
        """The settings of its generation."""
        return self.generation.config

    def runs_as(self, uid: int) -> bool:
        """Whether this is its user, or root."""
        own = self.generation.identity.uid
        return uid in (0, os.getuid() if own is None else own)


@dataclass(slots=True)
class OrphanedSession:
    """Processes that outlived the leader of their session."""

    session: int
    stderr: StderrRelay
    kill_at: float
    next_look_at: float = field(default_factory=monotonic)


class Programs:
    """All of one master. ``say`` is told what a program means by what it does."""

    def __init__(
        self,
        poller: Poller,
        children: Children,
        on_message: Callable[[int, ReadyMessage | InvalidMessage], None],
        log: Log,
        titles: ProcessTitles,
    ) -> None:
        self._poller = poller
        self._children = children
        self._on_message = on_message
        self._log = log
        self._guard = OrphanGuard(log.fd, titles.set_guard)
        self._guard_due_at: float | None = None
        """When there is to be a new one."""
        self._programs: dict[int, Program] = {}
        self._orphaned_sessions: list[OrphanedSession] = []
        self._only: Program | None = None
        """The only one, if there is but one slot …"""
        self._only_death: ExitStatus | None = None
        """… and how it ended by itself, until there is another."""
        children.on_ready_pipe_closed = self._on_exec
        self.adopts_orphans = os.getpid() == 1
        """Whether orphans come to this process, which has to reap them."""

    def spawn(
        self,
        made: Generation,
        outlet: int | None,
        worker: int,
        life: Callable[[int, int, Row, ProgramPipes], int],
    ) -> int:
        """Fork a child that runs ``life(ready_fd, stack_request_fd, row, program_pipes)``; its pid.
        ``outlet``: a pipe to the log writer, which we copy, for its stderr. Raises MachineError."""
        if not self.adopts_orphans:
            process_tree.become_subreaper()
            self.adopts_orphans = True
        if not self._guard:
            self._start_guard()
        line, pipe = NotifySocket(), open_output_pipe()
        program_pipes = ProgramPipes(line.address, pipe.writer)
        copy = os.dup(outlet) if outlet is not None else None
        words = StderrRelay(
            pipe, self._poller, self._log, copy, lambda why: self._on_stderr_failure(worker, why)
        )
        program = Program(worker, made, line, words)
        self._programs[worker] = program
        self._only, self._only_death = program if made.policy.workers == 1 else None, None
        try:
            program.pid = self._children.spawn(
                worker, lambda fd, ask, row: life(fd, ask, row, program_pipes)
            )
        except BaseException:
            del self._programs[worker]
            line.close()
            words.close()
            raise
        finally:
            pipe.close_writer()
        self._poller.add_reader(line.fileno(), lambda: self._read_notices(program))
        stop_signal = signal.Signals[made.config.stop_signal]
        self._guard.add(
            GuardedSession(program.pid, stop_signal, made.config.kill_timeout, words.fd, words.sink)
        )
        return program.pid

    def _start_guard(self) -> None:
        """Raises MachineError."""
        self._guard_due_at = None
        self._guard.start()
        self._poller.add_reader(self._guard.fileno(), self._on_guard_death)

    def _on_guard_death(self) -> None:
        """Somebody killed it. Not at once, in case it does not live for long."""
        self._poller.remove(self._guard.fileno())
        self._guard.close()
        self._guard_due_at = monotonic() + POLL_INTERVAL

    def _on_stderr_failure(self, worker: int, why: str) -> None:
        """Its stderr cannot be passed on any more: a program that lives is replaced."""
        if worker in self._programs:
            self._on_message(worker, InvalidMessage(why))
        else:
            text = "the stderr of processes that a program left behind is lost: %s"
            self._log.logger.error(text, why)

    def is_program(self, worker: int) -> bool:
        """Whether this worker is a program."""
        return worker in self._programs

    # Ready.

    def _on_exec(self, worker: int) -> None:
        """Its ready pipe closed: it runs, unless its death comes next."""
        program = self._programs.get(worker)
        if program is None:
            return
        match program.config.ready.mode:
            case "auto":
                program.next_look_at = monotonic() + program.config.min_uptime
            case "after":
                program.next_look_at = monotonic() + program.config.ready.delay
            case "connect":
                program.next_look_at = monotonic()

    def _check_ready(self, program: Program, now: float) -> None:
        address = program.config.ready.address
        if address is not None and not is_program_listening(address, program.pid):
            program.next_look_at = now + POLL_INTERVAL
        else:
            self._mark_ready(program)

    def _mark_ready(self, program: Program) -> None:
        program.next_look_at = None
        if program.is_ready:
            return
        program.is_ready = True
        # Its runtime may have asked for a shorter queue, which is the queue of all.
        restore_backlog(program.generation.listeners, program.config.backlog)
        self._on_message(program.worker, ReadyMessage(MessageKind.READY))

    def _read_notices(self, program: Program) -> None:
        """Whatever it makes us raise counts as nonsense of its, and must not end the master."""
        try:
            for notice in program.notify.read():
                if self._is_from_program(notice, program):
                    self._apply_notices(program, notify.decode_notification(notice.data))
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
        """What brought descriptors was taken out of its queue."""
        if self._programs.get(program.worker) is program:
            program.is_watched, program.notify.is_paused = True, False
            self._poller.add_reader(program.notify.fileno(), lambda: self._read_notices(program))

    @staticmethod
    def _is_from_program(notice: NotifyMessage, program: Program) -> bool:
        """Of its processes. One that ended meanwhile at least had the same user."""
        known = process_tree.is_in_session_or_descendant(notice.pid, program.pid)
        return program.runs_as(notice.uid) if known is None else known

    def _apply_notices(self, program: Program, said: notify.Notification) -> None:
        if said.get(notify.READY) == "1" and program.config.ready.mode in ("auto", "notify"):
            self._mark_ready(program)
        if said.get(notify.STOPPING) == "1":
            self._on_message(program.worker, ReadyMessage(MessageKind.LEAVING))
        if (process := self._children.get(program.worker)) is None:
            return
        if notify.STATUS in said:
            process.status_text = said[notify.STATUS][:200]
        if said.get(notify.WATCHDOG) == "1" and program.config.timeout is not None:
            # From its first beat on, as it is with our own workers.
            process.row.floats[DEADLINE] = monotonic() + program.config.timeout

    # Signals.

    def carry_out(self, order: orders.Stop | orders.Kill | orders.DumpStacks) -> None:
        """Carry out an order about a program."""
        program = self._programs[order.worker]
        match order:
            case orders.Stop():
                # The stop signal also in a quick stop, because QUIT means "gently" to some
                # programs. They get one second then (``Policy.quick_timeout``).
                program.kill_at = monotonic() + program.config.kill_timeout
                self._signal(program, signal.Signals[program.config.stop_signal])
            case orders.Kill():
                program.kill_at = monotonic()
                self._signal(program, signal.SIGKILL)
            case orders.DumpStacks(by_force=False):
                # SIGABRT as from systemd's watchdog: many runtimes print their stacks then.
                self._signal(program, signal.SIGABRT)

    def _signal(self, program: Program, signum: int) -> None:
        process = self._children.get(program.worker)
        if process is None:
            return
        leads = process_tree.read_process(program.pid)
        if leads is not None and leads.session == program.pid:
            process_tree.signal_session(program.pid, signum)
        else:
            process.child.send_signal(signum)  # it was born just now

    # The end.

    def on_death(self, worker: int, death: ExitStatus) -> str:
        """Take leave of it; why it failed, if it never became ready."""
        program = self._programs.pop(worker, None)
        if program is None:
            return ""
        if program is self._only and program.kill_at is None:
            self._only_death = death
        self._read_notices(program)  # what it said last
        self._stop_watching(program)
        program.notify.hang_up(self._poller)
        said = program.stderr.read_tail()
        if process_tree.session_members(program.pid):
            self._track_orphans(program)
        else:
            self._stop_tracking(program.pid, program.stderr)
        if program.is_ready or death.code in program.config.stop_exit_codes:
            return ""  # the second: its work was done sooner than it counts as ready
        how = f"exit code {death.code}" if death.signal is None else death.signal
        told = f"{shlex.join(program.config.command)} ended before it was ready ({how})"
        return f"{told}, having said:\n{said}" if said else told

    def _track_orphans(self, program: Program) -> None:
        deadline = program.kill_at
        if deadline is None:
            deadline = monotonic() + program.config.kill_timeout
            process_tree.signal_session(program.pid, signal.Signals[program.config.stop_signal])
        self._orphaned_sessions.append(OrphanedSession(program.pid, program.stderr, deadline))

    def _stop_tracking(self, session: int, words: StderrRelay) -> None:
        self._guard.remove(session)
        words.close()

    def run_due(self, quick: bool) -> None:
        """What is due by the clock. ``quick``: what remains gets no more time."""
        now = monotonic()
        if self._guard_due_at is not None and self._guard_due_at <= now:
            try:
                self._start_guard()
            except MachineError:
                self._guard_due_at = now + POLL_INTERVAL  # no memory, no processes: perhaps later
        for words in self._stderr_relays():
            words.resume_if_due(now)
        for program in list(self._programs.values()):
            if program.next_look_at is not None and program.next_look_at <= now:
                self._check_ready(program, now)
        for remains in list(self._orphaned_sessions):
            if remains.next_look_at > now and not quick:
                continue
            remains.next_look_at = now + POLL_INTERVAL
            if not process_tree.session_members(remains.session):
                self._orphaned_sessions.remove(remains)
                self._stop_tracking(remains.session, remains.stderr)
            elif quick or remains.kill_at <= now:
                process_tree.signal_session(remains.session, signal.SIGKILL)

    def next_deadline(self) -> float | None:
        """When ``settle`` is due although nothing happens."""
        due = [
            program.next_look_at
            for program in self._programs.values()
            if program.next_look_at is not None
        ]
        if self._guard_due_at is not None:
            due.append(self._guard_due_at)
        due += [words.due_at for words in self._stderr_relays() if words.due_at is not None]
        return min(
            [*due, *(remains.next_look_at for remains in self._orphaned_sessions)], default=None
        )

    def _stderr_relays(self) -> list[StderrRelay]:
        living = [program.stderr for program in self._programs.values()]
        return living + [remains.stderr for remains in self._orphaned_sessions]

    def exit_code(self, failed: bool, code: int) -> int:
        """The master's, which is to be ``code``. In the foreground a program that was the only one
        and ended for good has the last word, as it has under tini in a container."""
        if self._only is None or self._only_death is None or self._only.config.daemon:
            return code
        own = self._only_death.code
        if own is None:
            own = 128 + signal_number(self._only_death.signal or "")
        if failed:
            return own or code  # 0 would hide that it failed
        return own if own in self._only.config.stop_exit_codes else code

    @property
    def have_ended(self) -> bool:
        """Whether nothing remains of those that ended."""
        return not self._orphaned_sessions

    def close(self) -> None:
        """At the end of the master: who left its session, and lost its parent, ends here."""
        self._guard.close()
        if self.adopts_orphans:
            process_tree.kill_adopted_orphans()

    def close_copy(self) -> None:
        """In a child: close what belongs to the siblings."""
        self._guard.close()
        for program in self._programs.values():
            program.notify.close()
        for words in self._stderr_relays():
            words.close_copy()
