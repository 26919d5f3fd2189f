"""The master's side of the control socket: who asks what, and who waits for which goal.

Nobody here may hold the master up: a client that floods, stalls or talks nonsense is told so and
dropped. A verb that changes something only changes what is desired; its client waits here until
the pool says how it ended, and hears on the way what happens.
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
from prefork.master.master_logs import MasterLogs
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
"""Half of them for those who only look, so that they cannot keep the owner out."""
MAX_DEATHS = 100
"""So many are remembered for ``why``."""

MAX_RECYCLED = 20
"""And so many workers that were worn: where they are many, they must not displace a crash."""

LOG_WRITER_TIMEOUT = 30.0
"""Seconds in which the log writer does what it is asked, or its client is told that it does not."""

PLANNED_CAUSES = {Cause.RECYCLE, Cause.SCALE, Cause.RELOAD, Cause.STOP}


class MasterActions(Protocol):
    """What the master does for a verb."""

    @property
    def config(self) -> Config:
        """The settings in force."""

    def read_settings(self) -> Config:
        """Those of a reload now. Raises PreforkError."""

    def describe(self) -> Mapping[str, Any]:
        """Everything about it that may be shown."""

    def reload(self) -> int | str:
        """The new generation's number, or why there will be none."""

    def scale(self, workers: int) -> None:
        """From now on so many."""

    def stop(self, quick: bool) -> None:
        """From now on none."""

    def signal(self, signum: int, slot: int | None) -> list[int]:
        """To the workers, or to those of one slot; the pids of those who got it."""

    def hand_over(self) -> Sequence[Listener]:
        """The listeners, which somebody else goes on with."""

    def reopen_logs(self) -> int | None:
        """The logs; the number of what the log writer was asked."""


@dataclass(slots=True)
class ControlSession:
    """One client. ``may_change``: its owner, or root. ``goal``: it waits for that; ``follows``: it
    hears all that happens. ``verbs``: what it may ask; None: all."""

    peer: ControlConnection
    may_change: bool
    verbs: Collection[str] | None = None
    lines: wire.LineDecoder = field(default_factory=wire.LineDecoder)
    goal: Goal | None = None
    follows_events: bool = False


class ControlServer:
    """All conversations of one master."""

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
        """By slot: how often its worker failed and was replaced."""
        poller.add_reader(self._socket.fileno(), self._accept)

    # Conversations.

    def _accept(self) -> None:
        peer = self._socket.accept()
        if peer is None:
            return
        talk = ControlSession(peer, may_change=peer.is_owner)
        if not talk.may_change and not (self._group is not None and peer.is_in_group(self._group)):
            self._reject(peer, f"this app belongs to {self._owner}")
        elif len(self._sessions) >= (MAX_CLIENTS if talk.may_change else MAX_CLIENTS // 2):
            self._reject(peer, "too many are talking to this master")
        else:
            self._start_session(talk)

    def add_session(self, peer: ControlConnection, verbs: Collection[str]) -> None:
        """A client that the master itself has introduced, and what it may ask. There may be no
        more of them than of those who only look."""
        if len(self._sessions) >= MAX_CLIENTS // 2:
            self._reject(peer, "too many are talking to this master")
        else:
            self._start_session(ControlSession(peer, may_change=True, verbs=verbs))

    def _start_session(self, talk: ControlSession) -> None:
        self._sessions.append(talk)
        self._poller.add_reader(talk.peer.fileno(), lambda: self._read(talk))

    def _reject(self, peer: ControlConnection, why: str) -> None:
        peer.send(wire.encode_error(why, UsageError.exit_code))
        peer.hang_up(self._poller)

    def _read(self, talk: ControlSession) -> None:
        """Whatever a client says, and whatever we make of it, ends its own conversation at most."""
        try:
            data = talk.peer.read()
            if data == b"":
                self._close_session(talk)
            if not data:
                return
            for line in talk.lines.feed(data):
                if talk.goal is not None or talk.follows_events:
                    raise UsageError("one connection carries one request")
                self._answer(talk, self._check_permission(talk, wire.decode_request(line)))
                if talk not in self._sessions:
                    return
        except PreforkError as error:
            self._finish(talk, wire.encode_error(str(error), error.exit_code))
        except Exception as error:
            text = "a client of the control socket (pid %d, uid %d) asked for what we could not do"
            self._logger.exception(text, talk.peer.pid, talk.peer.uid)
            text = f"this is a bug in prefork, please report it; see its log: {error!r}"
            self._finish(talk, wire.encode_error(text, PreforkError.exit_code))

    def _check_permission(self, talk: ControlSession, request: wire.Request) -> wire.Request:
        """Raises UsageError."""
        verb = request.verb
        if talk.verbs is not None and verb.name not in talk.verbs:
            raise UsageError(f"{verb.name} is not for you to ask")
        if verb.owner_only and not talk.may_change:
            raise UsageError(f"{verb.name} is for {self._owner}, whose app this is; you may look")
        return request

    def _finish(self, talk: ControlSession, outcome: bytes, fds: Sequence[int] = ()) -> None:
        talk.peer.send(outcome, fds)
        self._close_session(talk)

    def _close_session(self, talk: ControlSession) -> None:
        if talk in self._sessions:
            self._sessions.remove(talk)
            self._poller.remove(talk.peer.fileno())
            talk.peer.hang_up(self._poller)

    # Verbs.

    def _answer(self, talk: ControlSession, request: wire.Request) -> None:
        """Raises UsageError."""
        match request.verb.name:
            case "events":
                talk.follows_events = True
            case "wait":
                self._check_refused()
                talk.goal = StableGoal(self._pool)
            case "reload":
                self._reload(talk)
            case "scale":
                self._scale(talk, request.arguments["workers"])
            case "reopen":
                talk.goal = LogWriterGoal(self._pool, self._logs, self._master.reopen_logs())
            case "rotate" | "flush" as what:
                talk.goal = LogWriterGoal(self._pool, self._logs, self._logs.order(what))
            case "stop":
                talk.goal = StopGoal(self._pool)
                self._master.stop(quick=bool(request.arguments.get("quick")))
            case "hand_over":
                listeners = self._master.hand_over()
                fds = [listener.socket.fileno() for listener in listeners]
                self._finish(
                    talk, wire.encode_result({"listeners": describe_sockets(listeners)}), fds
                )
            case name:
                self._finish(
                    talk, wire.encode_result(self._immediate_result(name, request.arguments))
                )
        if request.arguments.get("no_wait"):
            self._finish(talk, wire.encode_result({"accepted": True}))

    def _immediate_result(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of a verb that has no goal to wait for. Raises PreforkError."""
        match verb:
            case "signal":
                return {"pids": self._signal(**arguments)}
            case "show":
                return self._master.describe()
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

    def _reload(self, talk: ControlSession) -> None:
        asked = self._master.reload()
        if isinstance(asked, str):
            raise UsageError(asked)
        talk.goal = ReloadGoal(self._pool, asked)

    def _scale(self, talk: ControlSession, workers: object) -> None:
        # By the plan: a pool that was drained wants no worker now, but has a number all the same.
        asked = wire.parse_target(workers, self._pool.plan.target)
        self._check_refused(asked)
        self._master.scale(asked)
        talk.goal = ScaleGoal(self._pool, asked)

    def _check_refused(self, workers: int | None = None) -> None:
        """Raises UsageError for a wish that the pool does not take."""
        if why := refusal_reason(self._pool, workers):
            raise UsageError(why)

    def _signal(self, signal: object, slot: object = None) -> list[int]:
        """Raises UsageError."""
        signum = signal_number(str(signal))
        if slot is not None and (not isinstance(slot, int) or isinstance(slot, bool)):
            raise UsageError(f"a slot is a number, not {slot!r}")
        pids = self._master.signal(signum, slot)
        if not pids and slot is not None:
            slots = ", ".join(map(str, sorted({each.slot for each in self._pool.workers})))
            raise UsageError(f"no worker is in slot {slot}; there are {slots or 'none'}")
        return pids

    # What happens.

    def publish(self, event: orders.Event, text: str) -> None:
        """Something happened: those who wait for it and those who follow hear of it."""
        if isinstance(event, orders.WorkerGone):
            self._record_death(event)
        line = wire.encode_progress(text, at=self._clock(), **_encode_event(event))
        for talk in list(self._sessions):
            if talk.goal is not None:
                talk.goal.observe(event)
            elif not talk.follows_events:
                continue
            if not talk.peer.send(line):
                self._close_session(talk)  # it does not read

    def _record_death(self, gone: orders.WorkerGone) -> None:
        death = {"at": self._clock(), **_encode_event(gone)}
        if not _was_planned(gone):
            self._deaths.append(death)
            self.restarts[gone.slot] += gone.retry_in is not None
        elif gone.why:
            self._recycled.append(death)

    def send_verdicts(self) -> None:
        """The pool has decided everything for now: those whose goal has a verdict are told it."""
        for talk in list(self._sessions):
            verdict = talk.goal.verdict() if talk.goal is not None else None
            # A stop has reached its goal when the master is gone, too: ``close`` tells it.
            stopped = isinstance(talk.goal, StopGoal) and isinstance(verdict, Reached)
            if verdict is not None and not stopped:
                self._finish(talk, _encode_verdict(verdict))

    def next_deadline(self) -> float | None:
        """When ``settle`` is due although nothing happens."""
        goals = (talk.goal for talk in self._sessions)
        return min(
            (each.deadline_at for each in goals if isinstance(each, LogWriterGoal)), default=None
        )

    def close(self) -> None:
        """The master ends: clients that waited for that are told so, and the others, too."""
        for talk in list(self._sessions):
            if talk.goal is None:
                self._close_session(
                    talk
                )  # what it asked, if anything, was not read: the end tells it
            else:
                why = Failed("it stopped before it could answer", UsageError.exit_code)
                self._finish(talk, _encode_verdict(talk.goal.verdict() or why))
        self._socket.close()

    def close_copy(self) -> None:
        """In a child."""
        for talk in self._sessions:
            talk.peer.close()
        self._socket.close()


class LogWriterGoal(Goal):
    """The log writer has done what it was asked; ``asked``: the number of that, None: nothing."""

    def __init__(self, pool: Pool, logs: MasterLogs, number: int | None) -> None:
        super().__init__(pool)
        self._logs = logs
        self._number = number
        self.deadline_at = monotonic() + LOG_WRITER_TIMEOUT

    def _check(self) -> Verdict | None:
        if self._logs.has_done(self._number):
            return Reached({})
        if monotonic() < self.deadline_at:
            return None
        why = f"the log writer did not do it within {LOG_WRITER_TIMEOUT:g} s; see its log"
        return Failed(why, MachineError.exit_code)

    def _find_failure(self) -> Failed | None:
        return None  # the workers have no part in it


def _encode_verdict(verdict: Verdict) -> bytes:
    """The last line for the client."""
    if isinstance(verdict, Reached):
        return wire.encode_result(verdict.values)
    return wire.encode_error(verdict.reason, verdict.fault)


def _was_planned(gone: orders.WorkerGone) -> bool:
    return gone.cause in PLANNED_CAUSES and not gone.killed


def _encode_event(event: orders.Event) -> dict[str, Any]:
    """The event for programs: its kind and its fields."""
    return {"kind": type(event).__name__, **dataclasses.asdict(event)}
