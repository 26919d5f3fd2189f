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

LOOK = 0.1
"""Seconds between two looks at what no descriptor tells: a port, a process of somebody else's."""


@dataclass(slots=True)
class Program:
    """One program. ``due``: when the next look at its readiness is; ``stop_by``: the end of its
    kill timeout, once it was told to stop."""

    worker: int
    made: Generation
    notify: NotifySocket
    words: StderrRelay
    pid: int = 0
    due: float | None = None
    is_ready: bool = False
    is_heard: bool = True
    stop_by: float | None = None

    @property
    def config(self) -> Config:
        """The settings of its generation."""
        return self.made.config

    def runs_as(self, uid: int) -> bool:
        """Whether this is its user, or root."""
        own = self.made.identity.uid
        return uid in (0, os.getuid() if own is None else own)


@dataclass(slots=True)
class OrphanedSession:
    """Processes that outlived the leader of their session."""

    session: int
    words: StderrRelay
    deadline: float
    next_look: float = field(default_factory=monotonic)


class Programs:
    """All of one master. ``say`` is told what a program means by what it does."""

    def __init__(
        self,
        waiter: Poller,
        nursery: Children,
        say: Callable[[int, ReadyMessage | InvalidMessage], None],
        log: Log,
        titles: ProcessTitles,
    ) -> None:
        self._waiter = waiter
        self._nursery = nursery
        self._say = say
        self._log = log
        self._guard = OrphanGuard(log.fd, titles.guard)
        self._guard_due: float | None = None
        """When there is to be a new one."""
        self._programs: dict[int, Program] = {}
        self._remains: list[OrphanedSession] = []
        self._only: Program | None = None
        """The only one, if there is but one slot …"""
        self._ended: ExitStatus | None = None
        """… and how it ended by itself, until there is another."""
        nursery.on_silence = self._on_silence
        self.adopts = os.getpid() == 1
        """Whether orphans come to this process, which has to reap them."""

    def bear(
        self,
        made: Generation,
        outlet: int | None,
        worker: int,
        life: Callable[[int, int, Row, ProgramPipes], int],
    ) -> int:
        """Fork a child that runs ``life(ready_fd, ask_fd, row, hatch)``; its pid. ``outlet``: a
        pipe to the log writer, which we copy, for its stderr. Raises MachineError."""
        if not self.adopts:
            process_tree.become_subreaper()
            self.adopts = True
        if not self._guard:
            self._begin_guard()
        line, pipe = NotifySocket(), open_output_pipe()
        hatch = ProgramPipes(line.address, pipe.writer)
        copy = os.dup(outlet) if outlet is not None else None
        words = StderrRelay(
            pipe, self._waiter, self._log, copy, lambda why: self._lose_words(worker, why)
        )
        program = Program(worker, made, line, words)
        self._programs[worker] = program
        self._only, self._ended = program if made.policy.workers == 1 else None, None
        try:
            program.pid = self._nursery.bear(worker, lambda fd, ask, row: life(fd, ask, row, hatch))
        except BaseException:
            del self._programs[worker]
            line.close()
            words.close()
            raise
        finally:
            pipe.close_writer()
        self._waiter.add_reader(line.fileno(), lambda: self._hear(program))
        stop_signal = signal.Signals[made.config.stop_signal]
        self._guard.add(
            GuardedSession(program.pid, stop_signal, made.config.kill_timeout, words.fd, words.sink)
        )
        return program.pid

    def _begin_guard(self) -> None:
        """Raises MachineError."""
        self._guard_due = None
        self._guard.start()
        self._waiter.add_reader(self._guard.fileno(), self._on_guard_death)

    def _on_guard_death(self) -> None:
        """Somebody killed it. Not at once, in case it does not live for long."""
        self._waiter.remove(self._guard.fileno())
        self._guard.close()
        self._guard_due = monotonic() + LOOK

    def _lose_words(self, worker: int, why: str) -> None:
        """Its stderr cannot be passed on any more: a program that lives is replaced."""
        if worker in self._programs:
            self._say(worker, InvalidMessage(why))
        else:
            text = "the stderr of processes that a program left behind is lost: %s"
            self._log.logger.error(text, why)

    def owns(self, worker: int) -> bool:
        """Whether this worker is a program."""
        return worker in self._programs

    # Ready.

    def _on_silence(self, worker: int) -> None:
        """Its ready pipe closed: it runs, unless its death comes next."""
        program = self._programs.get(worker)
        if program is None:
            return
        match program.config.ready.mode:
            case "auto":
                program.due = monotonic() + program.config.min_uptime
            case "after":
                program.due = monotonic() + program.config.ready.delay
            case "connect":
                program.due = monotonic()

    def _look(self, program: Program, now: float) -> None:
        address = program.config.ready.address
        if address is not None and not is_program_listening(address, program.pid):
            program.due = now + LOOK
        else:
            self._ready(program)

    def _ready(self, program: Program) -> None:
        program.due = None
        if program.is_ready:
            return
        program.is_ready = True
        # Its runtime may have asked for a shorter queue, which is the queue of all.
        restore_backlog(program.made.listeners, program.config.backlog)
        self._say(program.worker, ReadyMessage(MessageKind.READY))

    def _hear(self, program: Program) -> None:
        """Whatever it makes us raise counts as nonsense of its, and must not end the master."""
        try:
            for notice in program.notify.read():
                if self._is_its_own(notice, program):
                    self._heed(program, notify.decode_notification(notice.data))
        except Exception as error:
            self._hear_no_more(program)
            self._say(program.worker, InvalidMessage(f"{type(error).__name__}: {error}"))
        if program.notify.is_paused and program.is_heard:
            self._hear_no_more(program)
            run_in_child(
                self._waiter, program.notify.discard_next, lambda: self._hear_again(program)
            )

    def _hear_no_more(self, program: Program) -> None:
        if program.is_heard:
            program.is_heard = False
            self._waiter.remove(program.notify.fileno())

    def _hear_again(self, program: Program) -> None:
        """What brought descriptors was taken out of its queue."""
        if self._programs.get(program.worker) is program:
            program.is_heard, program.notify.is_paused = True, False
            self._waiter.add_reader(program.notify.fileno(), lambda: self._hear(program))

    @staticmethod
    def _is_its_own(notice: NotifyMessage, program: Program) -> bool:
        """Of its processes. One that ended meanwhile at least had the same user."""
        known = process_tree.is_in_session_or_descendant(notice.pid, program.pid)
        return program.runs_as(notice.uid) if known is None else known

    def _heed(self, program: Program, said: notify.Notification) -> None:
        if said.get(notify.READY) == "1" and program.config.ready.mode in ("auto", "notify"):
            self._ready(program)
        if said.get(notify.STOPPING) == "1":
            self._say(program.worker, ReadyMessage(MessageKind.LEAVING))
        if (nursling := self._nursery.get(program.worker)) is None:
            return
        if notify.STATUS in said:
            nursling.says = said[notify.STATUS][:200]
        if said.get(notify.WATCHDOG) == "1" and program.config.timeout is not None:
            # From its first beat on, as it is with our own workers.
            nursling.row.floats[DEADLINE] = monotonic() + program.config.timeout

    # Signals.

    def obey(self, order: orders.Stop | orders.Kill | orders.DumpStacks) -> bool:
        """Carry it out; False: it is about no program."""
        program = self._programs.get(order.worker)
        if program is None:
            return False
        match order:
            case orders.Stop():
                # Also when it is to be quick: QUIT means something else to many programs.
                program.stop_by = monotonic() + program.config.kill_timeout
                self._signal(program, signal.Signals[program.config.stop_signal])
            case orders.Kill():
                program.stop_by = monotonic()
                self._signal(program, signal.SIGKILL)
            case orders.DumpStacks(by_force=False):
                # Many runtimes show their stacks then.
                self._signal(program, signal.SIGABRT)
        return True

    def _signal(self, program: Program, signum: int) -> None:
        nursling = self._nursery.get(program.worker)
        if nursling is None:
            return
        leads = process_tree.read_process(program.pid)
        if leads is not None and leads.session == program.pid:
            process_tree.signal_session(program.pid, signum)
        else:
            nursling.child.send_signal(signum)  # it was born just now

    # The end.

    def on_death(self, worker: int, death: ExitStatus) -> str:
        """Take leave of it; why it failed, if it never became ready."""
        program = self._programs.pop(worker, None)
        if program is None:
            return ""
        if program is self._only and program.stop_by is None:
            self._ended = death
        self._hear(program)  # what it said last
        self._hear_no_more(program)
        program.notify.hang_up(self._waiter)
        said = program.words.tell()
        if process_tree.session_members(program.pid):
            self._leave_behind(program)
        else:
            self._forget(program.pid, program.words)
        if program.is_ready or death.code in program.config.stop_exit_codes:
            return ""  # the second: its work was done sooner than it counts as ready
        how = f"exit code {death.code}" if death.signal is None else death.signal
        told = f"{shlex.join(program.config.command)} ended before it was ready ({how})"
        return f"{told}, having said:\n{said}" if said else told

    def _leave_behind(self, program: Program) -> None:
        deadline = program.stop_by
        if deadline is None:
            deadline = monotonic() + program.config.kill_timeout
            process_tree.signal_session(program.pid, signal.Signals[program.config.stop_signal])
        self._remains.append(OrphanedSession(program.pid, program.words, deadline))

    def _forget(self, session: int, words: StderrRelay) -> None:
        self._guard.remove(session)
        words.close()

    def settle(self, quick: bool) -> None:
        """What is due by the clock. ``quick``: what remains gets no more time."""
        now = monotonic()
        if self._guard_due is not None and self._guard_due <= now:
            try:
                self._begin_guard()
            except MachineError:
                self._guard_due = now + LOOK  # no memory, no processes: perhaps later
        for words in self._words():
            words.settle(now)
        for program in list(self._programs.values()):
            if program.due is not None and program.due <= now:
                self._look(program, now)
        for remains in list(self._remains):
            if remains.next_look > now and not quick:
                continue
            remains.next_look = now + LOOK
            if not process_tree.session_members(remains.session):
                self._remains.remove(remains)
                self._forget(remains.session, remains.words)
            elif quick or remains.deadline <= now:
                process_tree.signal_session(remains.session, signal.SIGKILL)

    def next_deadline(self) -> float | None:
        """When ``settle`` is due although nothing happens."""
        due = [program.due for program in self._programs.values() if program.due is not None]
        if self._guard_due is not None:
            due.append(self._guard_due)
        due += [words.due for words in self._words() if words.due is not None]
        return min([*due, *(remains.next_look for remains in self._remains)], default=None)

    def _words(self) -> list[StderrRelay]:
        living = [program.words for program in self._programs.values()]
        return living + [remains.words for remains in self._remains]

    def exit_code(self, failed: bool, code: int) -> int:
        """The master's, which is to be ``code``. In the foreground a program that was the only one
        and ended for good has the last word, as it has under tini in a container."""
        if self._only is None or self._ended is None or self._only.config.daemon:
            return code
        own = self._ended.code
        if own is None:
            own = 128 + signal_number(self._ended.signal or "")
        if failed:
            return own or code  # 0 would hide that it failed
        return own if own in self._only.config.stop_exit_codes else code

    @property
    def are_gone(self) -> bool:
        """Whether nothing remains of those that ended."""
        return not self._remains

    def close(self) -> None:
        """At the end of the master: who left its session, and lost its parent, ends here."""
        self._guard.close()
        if self.adopts:
            process_tree.kill_adopted_orphans()

    def close_copy(self) -> None:
        """In a child: close what belongs to the siblings."""
        self._guard.close()
        for program in self._programs.values():
            program.notify.close()
        for words in self._words():
            words.close_copy()
