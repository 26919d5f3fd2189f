"""The control socket: clients ask for verbs, wait for goals and follow events.

No client may keep the master busy: one that floods the socket, stalls or sends an invalid request
gets an error and is disconnected. A verb that changes something changes only the desired state. Its
client stays connected until the goal of the verb has a verdict, and gets all events meanwhile.
"""

import dataclasses
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from prefork.config import Config
from prefork.errors import MachineError, PreforkError, UsageError
from prefork.json_records import REFERENCE
from prefork.master.master_logs import MasterLogs
from prefork.master.master_record import ClientRecord, Descriptors
from prefork.master.registration import Registration
from prefork.master.status_report import describe_plan
from prefork.pool import Pool, orders
from prefork.pool.goals import (
    Failed,
    Goal,
    Reached,
    ReloadGoal,
    ScaleGoal,
    StableGoal,
    StopGoal,
    Verdict,
    refusal_reason,
)
from prefork.pool.orders import Cause
from prefork.unix.control import ControlConnection
from prefork.unix.identity import describe_user
from prefork.unix.listener_handover import describe_listeners as describe_sockets
from prefork.unix.listeners import Listener
from prefork.unix.poller import Poller
from prefork.unix.signals import signal_number
from prefork.wire import control as wire

MAX_CLIENTS = 64
"""Clients at a time. Clients that may change nothing get half of them, so that they cannot keep the
owner out."""

MAX_DEATHS = 100
"""Unplanned deaths that are remembered for ``why``."""

MAX_RECYCLED = 20
"""Recycled workers that are remembered for ``why``. They have a list of their own, because many of
them must not displace a crash."""

LOG_WRITER_TIMEOUT = 30.0
"""Seconds after which the client of an order to the log writer gets an error."""

PLANNED_CAUSES = {Cause.RECYCLE, Cause.SCALE, Cause.RELOAD, Cause.STOP}
"""Causes of a death that the master ordered."""


class MasterActions(Protocol):
    """The actions of the master that verbs use."""

    @property
    def config(self) -> Config:
        """The settings in force."""

    def read_settings(self) -> Config:
        """Read the settings that a reload would bring now. Raises PreforkError."""

    def dump_state(self) -> Mapping[str, Any]:
        """Return the whole state of this master, as a MasterRecord in JSON."""

    def describe(self) -> Mapping[str, Any]:
        """Return all that ``prefork show`` tells about this master."""

    def reload(self) -> int | str:
        """Request a reload; return the number of the new generation, or why it is refused."""

    def scale(self, workers: int) -> None:
        """Request this number of workers."""

    def stop(self, quick: bool) -> None:
        """Request the stop of workers and master."""

    def signal(self, signum: int, slot: int | None) -> list[int]:
        """Send a signal to all workers, or to those of one slot; return their pids."""

    def hand_over(self) -> Sequence[Listener]:
        """Return the listeners, which the next master goes on with, and keep their paths."""

    def reopen_logs(self) -> int | None:
        """Reopen all logs; return the number of the order to the log writer, if there is one."""


@dataclass(slots=True)
class ControlSession:
    """One client of the control socket.

    ``may_change``: the client is the owner of the app or root. ``verbs``: the verbs that it may ask
    for; None: all. ``goal``: the goal that it waits for. ``follows_events``: it gets all events.
    """

    connection: ControlConnection
    may_change: bool
    verbs: Collection[str] | None = None
    lines: wire.LineDecoder = field(default_factory=wire.LineDecoder)
    goal: Goal | None = None
    follows_events: bool = False

    def record(self) -> ClientRecord:
        """Return what the master holds of this client."""
        connection = self.connection
        goal = None if self.goal is None else self.goal.dump()
        return ClientRecord(
            connection.pid,
            connection.uid,
            self.may_change,
            connection.fileno(),
            self.follows_events,
            goal,
        )


class ControlServer:
    """The control socket of one master and its sessions.

    ``restarts``: by slot, how often its worker failed and was replaced.
    """

    def __init__(
        self,
        registration: Registration,
        poller: Poller,
        pool: Pool,
        master: MasterActions,
        logs: MasterLogs,
        clock: Callable[[], float],
    ) -> None:
        self._socket = registration.socket
        self._group = registration.group
        self._name = registration.name
        self._owner = describe_user(os.geteuid())
        self._poller = poller
        self._pool = pool
        self._master = master
        self._logs = logs
        self._logger = logs.logger
        self._clock = clock
        self._sessions: list[ControlSession] = []
        self._deaths: deque[dict[str, Any]] = deque(maxlen=MAX_DEATHS)
        self._recycled: deque[dict[str, Any]] = deque(maxlen=MAX_RECYCLED)
        self.restarts: Counter[int] = Counter()
        poller.add_reader(self._socket.fileno(), self._accept)

    # Sessions.

    def _accept(self) -> None:
        connection = self._socket.accept()
        if connection is None:
            return
        session = ControlSession(connection, may_change=connection.is_owner)
        in_group = self._group is not None and connection.is_in_group(self._group)
        if not (session.may_change or in_group):
            self._reject(connection, f"this app belongs to {self._owner}")
        elif len(self._sessions) >= (MAX_CLIENTS if session.may_change else MAX_CLIENTS // 2):
            self._reject(connection, "too many are talking to this master")
        else:
            self._start_session(session)

    def add_session(self, connection: ControlConnection, verbs: Collection[str]) -> None:
        """Begin a session for the status server, which may ask for these ``verbs`` only.

        It counts like a client that may change nothing.
        """
        if len(self._sessions) >= MAX_CLIENTS // 2:
            self._reject(connection, "too many are talking to this master")
        else:
            self._start_session(ControlSession(connection, may_change=True, verbs=verbs))

    def _start_session(self, session: ControlSession) -> None:
        self._sessions.append(session)
        self._poller.add_reader(session.connection.fileno(), lambda: self._read(session))

    def _reject(self, connection: ControlConnection, why: str) -> None:
        connection.send(wire.encode_error(why, UsageError.exit_code))
        connection.hang_up(self._poller)

    def _read(self, session: ControlSession) -> None:
        """Read from a client and answer it. Any exception ends the session of this client only."""
        try:
            data = session.connection.read()
            if data == b"":
                self._close_session(session)
            if not data:
                return
            for line in session.lines.feed(data):
                if session.goal is not None or session.follows_events:
                    raise UsageError("one connection carries one request")
                self._answer(session, self._check_permission(session, wire.decode_request(line)))
                if session not in self._sessions:
                    return
        except PreforkError as error:
            self._finish(session, wire.encode_error(str(error), error.exit_code))
        except Exception as error:
            text = "a bug in prefork made a control request fail (client: pid %d, uid %d)"
            self._logger.exception(text, session.connection.pid, session.connection.uid)
            text = f"this is a bug in prefork, please report it; see its log: {error!r}"
            self._finish(session, wire.encode_error(text, PreforkError.exit_code))

    def _check_permission(self, session: ControlSession, request: wire.Request) -> wire.Request:
        """Return the request. Raises UsageError if this client may not ask for its verb."""
        verb = request.verb
        if session.verbs is not None and verb.name not in session.verbs:
            raise UsageError(f"{verb.name} is not for you to ask")
        if verb.owner_only and not session.may_change:
            raise UsageError(f"{verb.name} is for {self._owner}, whose app this is; you may look")
        return request

    def _finish(self, session: ControlSession, outcome: bytes, fds: Sequence[int] = ()) -> None:
        session.connection.send(outcome, fds)
        self._close_session(session)

    def _close_session(self, session: ControlSession) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
            self._poller.remove(session.connection.fileno())
            session.connection.hang_up(self._poller)

    # Verbs.

    def _answer(self, session: ControlSession, request: wire.Request) -> None:
        """Carry out a verb: begin its goal, or send its result at once. Raises PreforkError."""
        match request.verb.name:
            case "events":
                session.follows_events = True
            case "wait":
                self._check_refused()
                session.goal = StableGoal(self._pool)
            case "reload":
                self._reload(session)
            case "scale":
                self._scale(session, request.arguments["workers"])
            case "reopen":
                session.goal = LogWriterGoal(self._pool, self._logs, self._master.reopen_logs())
            case "rotate" | "flush" as what:
                session.goal = LogWriterGoal(self._pool, self._logs, self._logs.order(what))
            case "stop":
                session.goal = StopGoal(self._pool)
                self._master.stop(quick=bool(request.arguments.get("quick")))
            case "hand_over":
                listeners = self._master.hand_over()
                fds = [listener.socket.fileno() for listener in listeners]
                self._finish(
                    session, wire.encode_result({"listeners": describe_sockets(listeners)}), fds
                )
            case name:
                self._finish(
                    session, wire.encode_result(self._immediate_result(name, request.arguments))
                )
        if request.arguments.get("no_wait"):
            self._finish(session, wire.encode_result({"accepted": True}))

    def _immediate_result(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out a verb without a goal, and return its result. Raises PreforkError."""
        match verb:
            case "signal":
                return {"pids": self._signal(**arguments)}
            case "show" | "state":
                return self._master.describe() if verb == "show" else self._master.dump_state()
            case "plan":
                return describe_plan(self._pool, self._master.config, self._master.read_settings())
            case "env":
                return {"env": {**os.environ, **self._master.config.env}}
            case "why":
                deaths = wire.fit_deaths([*self._deaths, *self._recycled])
                return {"deaths": deaths, "failure": self._pool.failure}
            case "reset":
                self._deaths.clear()
                self._recycled.clear()
                self.restarts.clear()
        return {"name": self._name, "pid": os.getpid()}

    def _reload(self, session: ControlSession) -> None:
        generation = self._master.reload()
        if isinstance(generation, str):
            raise UsageError(generation)  # the reason of the refusal
        session.goal = ReloadGoal(self._pool, generation)

    def _scale(self, session: ControlSession, workers: object) -> None:
        # Relative to the plan, not to ``target``: a drained pool has target 0 but keeps its number.
        target = wire.parse_target(workers, self._pool.plan.target)
        self._check_refused(target)
        self._master.scale(target)
        session.goal = ScaleGoal(self._pool, target)

    def _check_refused(self, workers: int | None = None) -> None:
        """Raise UsageError if the pool refuses a command now."""
        if why := refusal_reason(self._pool, workers):
            raise UsageError(why)

    def _signal(self, signal: object, slot: object = None) -> list[int]:
        """Check and carry out the verb ``signal``; return the pids. Raises UsageError."""
        signum = signal_number(str(signal))
        if slot is not None and (not isinstance(slot, int) or isinstance(slot, bool)):
            raise UsageError(f"a slot is a number, not {slot!r}")
        pids = self._master.signal(signum, slot)
        if not pids and slot is not None:
            slots = ", ".join(map(str, sorted({each.slot for each in self._pool.workers})))
            raise UsageError(f"no worker is in slot {slot}; there are {slots or 'none'}")
        return pids

    # Events and verdicts.

    def publish(self, event: orders.Event, text: str) -> None:
        """Pass an event to all goals, and send it to the clients that wait or follow."""
        if isinstance(event, orders.WorkerGone):
            self._record_death(event)
        line = wire.encode_progress(text, at=self._clock(), **_encode_event(event))
        for session in list(self._sessions):
            if session.goal is not None:
                session.goal.observe(event)
            elif not session.follows_events:
                continue
            if not session.connection.send(line):
                self._close_session(session)  # its socket is full: it does not read

    def _record_death(self, gone: orders.WorkerGone) -> None:
        death = {"at": self._clock(), **_encode_event(gone)}
        if not _was_planned(gone):
            self._deaths.append(death)
            self.restarts[gone.slot] += gone.retry_in is not None
        elif gone.why:
            self._recycled.append(death)

    def send_verdicts(self) -> None:
        """Send the verdicts of all goals that have one, after the pool handled all facts."""
        for session in list(self._sessions):
            verdict = session.goal.verdict() if session.goal is not None else None
            # A stop is done when the master is gone, too, so ``close`` sends this verdict.
            stopped = isinstance(session.goal, StopGoal) and isinstance(verdict, Reached)
            if verdict is not None and not stopped:
                self._finish(session, _encode_verdict(verdict))

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which ``send_verdicts`` is due although nothing happens."""
        goals = (session.goal for session in self._sessions)
        return min(
            (each.deadline_at for each in goals if isinstance(each, LogWriterGoal)), default=None
        )

    def records(self) -> list[ClientRecord]:
        """Return what the master holds of its clients."""
        return [session.record() for session in self._sessions]

    def descriptors(self) -> Descriptors:
        """Return the descriptor of the control socket, by role."""
        return {"control": self._socket.fileno()}

    def close(self) -> None:
        """Send the last verdicts and close all sessions, at the end of the master."""
        for session in list(self._sessions):
            if session.goal is None:
                # Its request, if it sent one, was not read; the end of file tells it so.
                self._close_session(session)
            else:
                why = Failed("it stopped before it could answer", UsageError.exit_code)
                self._finish(session, _encode_verdict(session.goal.verdict() or why))
        self._socket.close()

    def close_copy(self) -> None:
        """Close the copies of all sockets, in a child."""
        for session in self._sessions:
            session.connection.close()
        self._socket.close()


@dataclass(eq=False)
class LogWriterGoal(Goal):
    """The goal of ``reopen``, ``rotate`` and ``flush``: the log writer has carried out the order.

    ``number``: the number of the order; None: there is no log writer. ``deadline_at``: monotonic.
    """

    name = "log_writer"

    logs: MasterLogs = field(repr=False, metadata=REFERENCE)
    number: int | None
    deadline_at: float = field(default_factory=lambda: monotonic() + LOG_WRITER_TIMEOUT)

    def _check(self) -> Verdict | None:
        if self.logs.has_done(self.number):
            return Reached({})
        if monotonic() < self.deadline_at:
            return None
        why = f"the log writer did not do it within {LOG_WRITER_TIMEOUT:g} s; see the log"
        return Failed(why, MachineError.exit_code)

    def _find_failure(self) -> Failed | None:
        return None  # workers are not involved


def _encode_verdict(verdict: Verdict) -> bytes:
    """Return the last line for a client."""
    if isinstance(verdict, Reached):
        return wire.encode_result(verdict.values)
    return wire.encode_error(verdict.reason, verdict.fault)


def _was_planned(gone: orders.WorkerGone) -> bool:
    """Whether the master ordered this death, and the worker left by itself."""
    return gone.cause in PLANNED_CAUSES and not gone.killed


def _encode_event(event: orders.Event) -> dict[str, Any]:
    """Return the kind and the fields of an event for JSON."""
    return {"kind": type(event).__name__, **dataclasses.asdict(event)}
