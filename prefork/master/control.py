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
from typing import Any, Protocol

from prefork.config import Config
from prefork.errors import PreforkError, UsageError
from prefork.master.describe import plan
from prefork.master.logs import Logs
from prefork.master.registration import Registration
from prefork.pool import Pool, orders
from prefork.pool.orders import Cause
from prefork.unix.control import Peer
from prefork.unix.identity import user_name
from prefork.unix.listeners import Listener
from prefork.unix.signals import signal_number
from prefork.unix.succession import describe as describe_sockets
from prefork.unix.waiting import Waiter
from prefork.wire import control as wire

MOST_CLIENTS = 64
"""Half of them for those who only look, so that they cannot keep the owner out."""
MOST_DEATHS = 100
"""So many are remembered for ``why``."""

MOST_RECYCLED = 20
"""And so many workers that were worn: where they are many, they must not displace a crash."""

Outcome = bytes
"""The line that ends a conversation."""

Goal = Callable[[orders.Happening | None], Outcome | None]
"""Asked after each happening, and with None when the pool has settled."""

PLANNED = {Cause.RECYCLE, Cause.SCALE, Cause.RELOAD, Cause.STOP}


class Asked(Protocol):
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
class Talk:
    """One client. ``may_change``: its owner, or root. ``goal`` is asked after each change;
    ``follows``: it hears all that happens. ``verbs``: what it may ask; None: all."""

    peer: Peer
    may_change: bool
    verbs: Collection[str] | None = None
    lines: wire.Lines = field(default_factory=wire.Lines)
    goal: Goal | None = None
    follows: bool = False
    stopping: bool = False


class Control:
    """All conversations of one master."""

    def __init__(
        self,
        place: Registration,
        waiter: Waiter,
        pool: Pool,
        asked: Asked,
        logs: Logs,
        clock: Callable[[], float],
    ) -> None:
        self._socket = place.socket
        self._group = place.group
        self._owner = user_name(os.geteuid())
        self._waiter = waiter
        self._pool = pool
        self._asked = asked
        self._logs = logs
        self._clock = clock
        self._talks: list[Talk] = []
        self._deaths: deque[dict[str, Any]] = deque(maxlen=MOST_DEATHS)
        self._recycled: deque[dict[str, Any]] = deque(maxlen=MOST_RECYCLED)
        self.restarts: Counter[int] = Counter()
        """By slot: how often its worker failed and was replaced."""
        waiter.watch(self._socket.fileno(), self._accept)

    # Conversations.

    def _accept(self) -> None:
        peer = self._socket.accept()
        if peer is None:
            return
        talk = Talk(peer, may_change=peer.is_owner)
        if not talk.may_change and not (self._group is not None and peer.is_in(self._group)):
            peer.send(wire.error(f"this app belongs to {self._owner}", UsageError.exit_code))
            peer.close()
        elif len(self._talks) >= (MOST_CLIENTS if talk.may_change else MOST_CLIENTS // 2):
            peer.send(wire.error("too many are talking to this master", UsageError.exit_code))
            peer.close()
        else:
            self._talks.append(talk)
            self._waiter.watch(peer.fileno(), lambda: self._hear(talk))

    def admit(self, peer: Peer, verbs: Collection[str]) -> None:
        """Somebody whom the master itself has introduced, and what it may ask."""
        talk = Talk(peer, may_change=True, verbs=verbs)
        self._talks.append(talk)
        self._waiter.watch(peer.fileno(), lambda: self._hear(talk))

    def _hear(self, talk: Talk) -> None:
        data = talk.peer.read()
        if data == b"":
            self._hang_up(talk)
        if not data:
            return
        try:
            for line in talk.lines.feed(data):
                if talk.goal is not None or talk.follows or talk.stopping:
                    raise UsageError("one connection carries one request")
                self._answer(talk, self._permitted(talk, wire.read_request(line)))
                if talk not in self._talks:
                    return
        except PreforkError as error:
            self._end(talk, wire.error(str(error), error.exit_code))

    def _permitted(self, talk: Talk, request: wire.Request) -> wire.Request:
        """Raises UsageError."""
        verb = request.verb
        if talk.verbs is not None and verb.name not in talk.verbs:
            raise UsageError(f"{verb.name} is not for you to ask")
        if verb.changes and not talk.may_change:
            raise UsageError(f"{verb.name} is for {self._owner}, whose app this is; you may look")
        return request

    def _end(self, talk: Talk, outcome: Outcome, fds: Sequence[int] = ()) -> None:
        talk.peer.send(outcome, fds)
        self._hang_up(talk)

    def _hang_up(self, talk: Talk) -> None:
        if talk in self._talks:
            self._talks.remove(talk)
            self._waiter.forget(talk.peer.fileno())
            talk.peer.close()

    # Verbs.

    def _answer(self, talk: Talk, request: wire.Request) -> None:
        """Raises UsageError."""
        match request.verb.name:
            case "events":
                talk.follows = True
            case "wait":
                talk.goal = self._when_settled({})
            case "reload":
                self._reload(talk)
            case "scale":
                self._scale(talk, request.arguments["workers"])
            case "reopen":
                talk.goal = self._when_written(self._asked.reopen())
            case "rotate" | "flush" as what:
                talk.goal = self._when_written(self._logs.ask(what))
            case "stop":
                talk.stopping = True
                self._asked.stop(quick=bool(request.arguments.get("quick")))
            case "hand_over":
                listeners = self._asked.hand_over()
                fds = [listener.socket.fileno() for listener in listeners]
                self._end(talk, wire.result({"listeners": describe_sockets(listeners)}), fds)
            case name:
                self._end(talk, wire.result(self._at_once(name, request.arguments)))
        if request.arguments.get("no_wait"):
            self._end(talk, wire.result({"accepted": True}))

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
                known = [*self._deaths, *self._recycled]
                return {"deaths": sorted(known, key=lambda death: float(death["at"]))}
            case "reset":
                self._deaths.clear()
                self._recycled.clear()
                self.restarts.clear()
        return {"name": self._asked.describe()["name"]}

    def _reload(self, talk: Talk) -> None:
        asked = self._asked.reload()
        if isinstance(asked, str):
            raise UsageError(asked)

        def outcome(happening: orders.Happening | None) -> Outcome | None:
            match happening:
                case orders.RollDone(generation, took) if generation >= asked:
                    return wire.result({"generation": generation, "asked": asked, "took": took})
                case orders.RollFailed(kept, reason):
                    text = f"reload failed, gen {kept} serves on: {reason}"
                    return wire.error(text, PreforkError.exit_code + 1)
            return None

        talk.goal = outcome

    def _scale(self, talk: Talk, workers: object) -> None:
        asked = wire.new_target(workers, self._pool.target)
        policy = self._pool.plan.policy
        if asked != policy.clip(asked):
            limits = f"{policy.least} to {policy.most}"
            raise UsageError(f"there may be {limits} workers, not {asked}")
        self._asked.scale(asked)
        talk.goal = self._when_settled({"asked": asked})

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

    def _when_settled(self, also: dict[str, Any]) -> Goal:
        pool = self._pool

        def outcome(happening: orders.Happening | None) -> Outcome | None:
            reached = pool.ready == len(pool.workers) == pool.target
            if happening is None and reached:
                return wire.result({"workers": pool.target, **also})
            return None

        return outcome

    def _when_written(self, asked: int | None) -> Goal:
        def outcome(happening: orders.Happening | None) -> Outcome | None:
            done = happening is None and self._logs.has_done(asked)
            return wire.result({}) if done else None

        return outcome

    # What happens.

    def tell(self, happening: orders.Happening, text: str) -> None:
        """Something happened: those who wait for it and those who follow hear of it."""
        if isinstance(happening, orders.WorkerGone):
            self._remember(happening)
        line = wire.progress(text, at=self._clock(), **_details(happening))
        for talk in list(self._talks):
            waits = talk.goal is not None or talk.stopping
            if (waits or talk.follows) and not talk.peer.send(line):
                self._hang_up(talk)  # it does not read
        self._look(happening)

    def _remember(self, gone: orders.WorkerGone) -> None:
        death = {"at": self._clock(), **_details(gone)}
        if not _was_planned(gone):
            self._deaths.append(death)
            self.restarts[gone.slot] += gone.retry_in is not None
        elif gone.why:
            self._recycled.append(death)

    def settle(self) -> None:
        """The pool has decided everything for now."""
        self._look(None)

    def _look(self, happening: orders.Happening | None) -> None:
        for talk in list(self._talks):
            outcome = talk.goal(happening) if talk.goal is not None else None
            if outcome is not None:
                self._end(talk, outcome)

    def close(self) -> None:
        """It is over: who waited for that is told so, and the others, too."""
        for talk in list(self._talks):
            over = wire.result({}) if talk.stopping else wire.error("the master stopped", 111)
            self._end(talk, over)
        self._socket.close()

    def close_copy(self) -> None:
        """In a child."""
        for talk in self._talks:
            talk.peer.close()
        self._socket.close()


def _was_planned(gone: orders.WorkerGone) -> bool:
    return gone.cause in PLANNED and not gone.killed


def _details(happening: orders.Happening) -> dict[str, Any]:
    """The happening for programs: its kind and its fields."""
    return {"kind": type(happening).__name__, **dataclasses.asdict(happening)}
