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
from prefork.master.status_report import plan
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

MOST_CLIENTS = 64
"""Half of them for those who only look, so that they cannot keep the owner out."""
MOST_DEATHS = 100
"""So many are remembered for ``why``."""

MOST_RECYCLED = 20
"""And so many workers that were worn: where they are many, they must not displace a crash."""

WRITER_PATIENCE = 30.0
"""Seconds in which the log writer does what it is asked, or its client is told that it does not."""

PLANNED = {Cause.RECYCLE, Cause.SCALE, Cause.RELOAD, Cause.STOP}


class MasterActions(Protocol):
    """What the master does for a verb."""

    @property
    def config(self) -> Config:
        """The settings in force."""

    def reread(self) -> Config:
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

    def reopen(self) -> int | None:
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
    follows: bool = False


class ControlServer:
    """All conversations of one master."""

    def __init__(
        self,
        place: Registration,
        waiter: Poller,
        pool: Pool,
        asked: MasterActions,
        logs: MasterLogs,
        clock: Callable[[], float],
    ) -> None:
        self._socket = place.socket
        self._group = place.group
        self._name = place.name
        self._owner = describe_user(os.geteuid())
        self._waiter = waiter
        self._pool = pool
        self._asked = asked
        self._logs = logs
        self._logger = logs.logger
        self._clock = clock
        self._talks: list[ControlSession] = []
        self._deaths: deque[dict[str, Any]] = deque(maxlen=MOST_DEATHS)
        self._recycled: deque[dict[str, Any]] = deque(maxlen=MOST_RECYCLED)
        self.restarts: Counter[int] = Counter()
        """By slot: how often its worker failed and was replaced."""
        waiter.add_reader(self._socket.fileno(), self._accept)

    # Conversations.

    def _accept(self) -> None:
        peer = self._socket.accept()
        if peer is None:
            return
        talk = ControlSession(peer, may_change=peer.is_owner)
        if not talk.may_change and not (self._group is not None and peer.is_in_group(self._group)):
            self._turn_away(peer, f"this app belongs to {self._owner}")
        elif len(self._talks) >= (MOST_CLIENTS if talk.may_change else MOST_CLIENTS // 2):
            self._turn_away(peer, "too many are talking to this master")
        else:
            self._begin(talk)

    def admit(self, peer: ControlConnection, verbs: Collection[str]) -> None:
        """A client that the master itself has introduced, and what it may ask. There may be no
        more of them than of those who only look."""
        if len(self._talks) >= MOST_CLIENTS // 2:
            self._turn_away(peer, "too many are talking to this master")
        else:
            self._begin(ControlSession(peer, may_change=True, verbs=verbs))

    def _begin(self, talk: ControlSession) -> None:
        self._talks.append(talk)
        self._waiter.add_reader(talk.peer.fileno(), lambda: self._hear(talk))

    def _turn_away(self, peer: ControlConnection, why: str) -> None:
        peer.send(wire.encode_error(why, UsageError.exit_code))
        peer.hang_up(self._waiter)

    def _hear(self, talk: ControlSession) -> None:
        """Whatever a client says, and whatever we make of it, ends its own conversation at most."""
        try:
            data = talk.peer.read()
            if data == b"":
                self._hang_up(talk)
            if not data:
                return
            for line in talk.lines.feed(data):
                if talk.goal is not None or talk.follows:
                    raise UsageError("one connection carries one request")
                self._answer(talk, self._permitted(talk, wire.decode_request(line)))
                if talk not in self._talks:
                    return
        except PreforkError as error:
            self._end(talk, wire.encode_error(str(error), error.exit_code))
        except Exception as error:
            text = "a client of the control socket (pid %d, uid %d) asked for what we could not do"
            self._logger.exception(text, talk.peer.pid, talk.peer.uid)
            text = f"this is a bug in prefork, please report it; see its log: {error!r}"
            self._end(talk, wire.encode_error(text, PreforkError.exit_code))

    def _permitted(self, talk: ControlSession, request: wire.Request) -> wire.Request:
        """Raises UsageError."""
        verb = request.verb
        if talk.verbs is not None and verb.name not in talk.verbs:
            raise UsageError(f"{verb.name} is not for you to ask")
        if verb.owner_only and not talk.may_change:
            raise UsageError(f"{verb.name} is for {self._owner}, whose app this is; you may look")
        return request

    def _end(self, talk: ControlSession, outcome: bytes, fds: Sequence[int] = ()) -> None:
        talk.peer.send(outcome, fds)
        self._hang_up(talk)

    def _hang_up(self, talk: ControlSession) -> None:
        if talk in self._talks:
            self._talks.remove(talk)
            self._waiter.remove(talk.peer.fileno())
            talk.peer.hang_up(self._waiter)

    # Verbs.

    def _answer(self, talk: ControlSession, request: wire.Request) -> None:
        """Raises UsageError."""
        match request.verb.name:
            case "events":
                talk.follows = True
            case "wait":
                self._refuse()
                talk.goal = StableGoal(self._pool)
            case "reload":
                self._reload(talk)
            case "scale":
                self._scale(talk, request.arguments["workers"])
            case "reopen":
                talk.goal = LogWriterGoal(self._pool, self._logs, self._asked.reopen())
            case "rotate" | "flush" as what:
                talk.goal = LogWriterGoal(self._pool, self._logs, self._logs.ask(what))
            case "stop":
                talk.goal = StopGoal(self._pool)
                self._asked.stop(quick=bool(request.arguments.get("quick")))
            case "hand_over":
                listeners = self._asked.hand_over()
                fds = [listener.socket.fileno() for listener in listeners]
                self._end(talk, wire.encode_result({"listeners": describe_sockets(listeners)}), fds)
            case name:
                self._end(talk, wire.encode_result(self._at_once(name, request.arguments)))
        if request.arguments.get("no_wait"):
            self._end(talk, wire.encode_result({"accepted": True}))

    def _at_once(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of a verb that has no goal to wait for. Raises PreforkError."""
        match verb:
            case "signal":
                return {"pids": self._signal(**arguments)}
            case "show":
                return self._asked.describe()
            case "plan":
                return plan(self._pool, self._asked.config, self._asked.reread())
            case "env":
                return {"env": {**os.environ, **self._asked.config.env}}
            case "why":
                deaths = wire.fit_deaths([*self._deaths, *self._recycled])
                return {"deaths": deaths, "failure": self._pool.failure}
            case "reset":
                self._deaths.clear()
                self._recycled.clear()
                self.restarts.clear()
        return {"name": self._name, "pid": os.getpid()}

    def _reload(self, talk: ControlSession) -> None:
        asked = self._asked.reload()
        if isinstance(asked, str):
            raise UsageError(asked)
        talk.goal = ReloadGoal(self._pool, asked)

    def _scale(self, talk: ControlSession, workers: object) -> None:
        # By the plan: a pool that was drained wants no worker now, but has a number all the same.
        asked = wire.parse_target(workers, self._pool.plan.target)
        self._refuse(asked)
        self._asked.scale(asked)
        talk.goal = ScaleGoal(self._pool, asked)

    def _refuse(self, workers: int | None = None) -> None:
        """Raises UsageError for a wish that the pool does not take."""
        if why := refusal_reason(self._pool, workers):
            raise UsageError(why)

    def _signal(self, signal: object, slot: object = None) -> list[int]:
        """Raises UsageError."""
        signum = signal_number(str(signal))
        if slot is not None and (not isinstance(slot, int) or isinstance(slot, bool)):
            raise UsageError(f"a slot is a number, not {slot!r}")
        pids = self._asked.signal(signum, slot)
        if not pids and slot is not None:
            slots = ", ".join(map(str, sorted({each.slot for each in self._pool.workers})))
            raise UsageError(f"no worker is in slot {slot}; there are {slots or 'none'}")
        return pids

    # What happens.

    def tell(self, happening: orders.Event, text: str) -> None:
        """Something happened: those who wait for it and those who follow hear of it."""
        if isinstance(happening, orders.WorkerGone):
            self._remember(happening)
        line = wire.encode_progress(text, at=self._clock(), **_details(happening))
        for talk in list(self._talks):
            if talk.goal is not None:
                talk.goal.hear(happening)
            elif not talk.follows:
                continue
            if not talk.peer.send(line):
                self._hang_up(talk)  # it does not read

    def _remember(self, gone: orders.WorkerGone) -> None:
        death = {"at": self._clock(), **_details(gone)}
        if not _was_planned(gone):
            self._deaths.append(death)
            self.restarts[gone.slot] += gone.retry_in is not None
        elif gone.why:
            self._recycled.append(death)

    def settle(self) -> None:
        """The pool has decided everything for now: those whose goal has a verdict are told it."""
        for talk in list(self._talks):
            verdict = talk.goal.verdict() if talk.goal is not None else None
            # A stop has reached its goal when the master is gone, too: ``close`` tells it.
            stopped = isinstance(talk.goal, StopGoal) and isinstance(verdict, Reached)
            if verdict is not None and not stopped:
                self._end(talk, _told(verdict))

    def next_deadline(self) -> float | None:
        """When ``settle`` is due although nothing happens."""
        goals = (talk.goal for talk in self._talks)
        return min(
            (each.deadline for each in goals if isinstance(each, LogWriterGoal)), default=None
        )

    def close(self) -> None:
        """The master ends: clients that waited for that are told so, and the others, too."""
        for talk in list(self._talks):
            if talk.goal is None:
                self._hang_up(talk)  # what it asked, if anything, was not read: the end tells it
            else:
                why = Failed("it stopped before it could answer", UsageError.exit_code)
                self._end(talk, _told(talk.goal.verdict() or why))
        self._socket.close()

    def close_copy(self) -> None:
        """In a child."""
        for talk in self._talks:
            talk.peer.close()
        self._socket.close()


class LogWriterGoal(Goal):
    """The log writer has done what it was asked; ``asked``: the number of that, None: nothing."""

    def __init__(self, pool: Pool, logs: MasterLogs, asked: int | None) -> None:
        super().__init__(pool)
        self._logs = logs
        self._asked = asked
        self.deadline = monotonic() + WRITER_PATIENCE

    def _decide(self) -> Verdict | None:
        if self._logs.has_done(self._asked):
            return Reached({})
        if monotonic() < self.deadline:
            return None
        why = f"the log writer did not do it within {WRITER_PATIENCE:g} s; see its log"
        return Failed(why, MachineError.exit_code)

    def _hopeless(self) -> Failed | None:
        return None  # the workers have no part in it


def _told(verdict: Verdict) -> bytes:
    """The last line for the client."""
    if isinstance(verdict, Reached):
        return wire.encode_result(verdict.values)
    return wire.encode_error(verdict.reason, verdict.fault)


def _was_planned(gone: orders.WorkerGone) -> bool:
    return gone.cause in PLANNED and not gone.killed


def _details(happening: orders.Event) -> dict[str, Any]:
    """The happening for programs: its kind and its fields."""
    return {"kind": type(happening).__name__, **dataclasses.asdict(happening)}
