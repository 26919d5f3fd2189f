"""The control socket: clients ask for verbs, wait for goals and follow events.

No client may keep the master busy: one that floods the socket, stalls or sends an invalid request
gets an error and is disconnected. A verb that changes something changes only the desired state. Its
client stays connected until the goal of the verb has a verdict, and gets all events meanwhile.
"""

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefork.errors import PreforkError, UsageError
from prefork.master.death_record import DeathRecord
from prefork.master.master_logs import MasterLogs
from prefork.master.master_record import ClientRecord, Descriptors
from prefork.master.registration import Registration
from prefork.master.verb_actions import Action, LogWriterGoal, MasterActions, Reply, VerbContext
from prefork.pool import Pool, orders
from prefork.pool.goals import Failed, Goal, Reached, StopGoal, Verdict
from prefork.unix.control import ControlConnection
from prefork.unix.identity import describe_user
from prefork.unix.poller import Poller
from prefork.wire import control as wire
from prefork.wire.verb import Role, resolve
from prefork.wire.verb_table import requests

MAX_CLIENTS = 64
"""Clients at a time. Clients that may change nothing get half of them, so that they cannot keep the
owner out."""


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
    """The control socket of one master and its sessions. ``deaths``: the last deaths of workers."""

    def __init__(
        self,
        registration: Registration,
        poller: Poller,
        pool: Pool,
        master: MasterActions,
        logs: MasterLogs,
        clock: Callable[[], float],
    ) -> None:
        self._registration = registration
        self._socket = registration.socket
        self._group = registration.group
        self._owner = describe_user(os.geteuid())
        self._poller = poller
        self._logger = logs.logger
        self._clock = clock
        self._sessions: list[ControlSession] = []
        self.deaths = DeathRecord(registration.read_deaths())
        self._context = VerbContext(registration.name, pool, master, logs, self.deaths)
        # At the start: a later import could read the files of another version.
        self._actions: dict[str, Action] = {
            name: resolve(verb.action) for name, verb in requests().items()
        }
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
        def read() -> None:
            self._read(session)

        self._sessions.append(session)
        self._poller.add_reader(session.connection.fileno(), read)

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
        if verb.role is Role.OWNER and not session.may_change:
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
        accepted: Mapping[str, Any] = {}
        match self._actions[request.verb.name](self._context, request.arguments):
            case None:
                session.follows_events = True
            case Goal() as goal:
                session.goal, accepted = goal, goal.accepted_values
            case Reply(values, fds):
                self._finish(session, wire.encode_result(values), fds)
        if request.arguments.get("no_wait"):
            self._finish(session, wire.encode_result({"accepted": True, **accepted}))

    # Events and verdicts.

    def publish(self, event: orders.Event, text: str) -> None:
        """Pass an event to all goals, and send it to the clients that wait or follow."""
        if isinstance(event, orders.WorkerGone):
            self.deaths.add(event, {"at": self._clock(), **_encode_event(event)})
        line = wire.encode_progress(text, at=self._clock(), **_encode_event(event))
        for session in list(self._sessions):
            if session.goal is not None:
                session.goal.observe(event)
            elif not session.follows_events:
                continue
            if not session.connection.send(line):
                self._close_session(session)  # its socket is full: it does not read

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
        """Keep the deaths, send the last verdicts and close all sessions, at the master's end."""
        self._registration.write_deaths(wire.fit_deaths(self.deaths.all()))
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


def _encode_verdict(verdict: Verdict) -> bytes:
    """Return the last line for a client."""
    if isinstance(verdict, Reached):
        return wire.encode_result(verdict.values)
    return wire.encode_error(verdict.reason, verdict.fault)


def _encode_event(event: orders.Event) -> dict[str, Any]:
    """Return the kind and the fields of an event for JSON."""
    return {"kind": type(event).__name__, **dataclasses.asdict(event)}
