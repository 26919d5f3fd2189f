"""The actions of the master for the verbs of the control protocol.

A declaration of ``wire/verb_table.py`` names its function here. A function gets a VerbContext and
the fields of the request, changes what is desired, and returns what the client gets: a Reply at
once; a Goal, for whose verdict the client waits; or None, then the client follows all events. It
raises PreforkError when the request is refused.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Protocol

from prefork.config import Config
from prefork.errors import MachineError, PreforkError, UsageError
from prefork.json_records import REFERENCE
from prefork.master.death_record import DeathRecord
from prefork.master.master_logs import MasterLogs
from prefork.master.reload_preparation import AcceptedReload, ReloadPreview
from prefork.master.status_report import describe_plan
from prefork.pool import Pool
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
from prefork.unix.listener_handover import describe_listeners as describe_sockets
from prefork.unix.listeners import Listener
from prefork.unix.signals import signal_number
from prefork.wire import control as wire

LOG_WRITER_TIMEOUT = 30.0
"""Seconds after which the client of an order to the log writer gets an error."""


class MasterActions(Protocol):
    """The actions of the master that verbs use."""

    @property
    def config(self) -> Config:
        """The settings in force."""

    def preview_reload(self) -> ReloadPreview:
        """Return what a reload would do now. Raises PreforkError."""

    def dump_state(self) -> Mapping[str, Any]:
        """Return the whole state of this master, as a MasterRecord in JSON."""

    def describe(self) -> Mapping[str, Any]:
        """Return all that ``prefork show`` tells about this master."""

    def reload(self) -> AcceptedReload | str:
        """Request a reload; return what becomes of it, or why it is refused."""

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


@dataclass(frozen=True, slots=True)
class VerbContext:
    """The state that actions of verbs read and change. ``name``: that of the app in the list."""

    name: str
    pool: Pool
    master: MasterActions
    logs: MasterLogs
    deaths: DeathRecord


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a verb that is done at once. ``fds``: descriptors that the client gets."""

    values: Mapping[str, Any]
    fds: Sequence[int] = ()


Fields = Mapping[str, Any]
Outcome = Reply | Goal | None
Action = Callable[[VerbContext, Fields], Outcome]


# Verbs that tell.


def ping(context: VerbContext, _fields: Fields) -> Reply:
    """Tell that the master answers: its name and its pid."""
    return Reply({"name": context.name, "pid": os.getpid()})


def show(context: VerbContext, _fields: Fields) -> Reply:
    """Describe the master, its workers and its settings."""
    return Reply(context.master.describe())


def plan(context: VerbContext, _fields: Fields) -> Reply:
    """Tell what a reload would change now."""
    master = context.master
    preview = master.preview_reload()
    described = describe_plan(context.pool, master.config, preview.wanted)
    refusals = {
        "refusal": _describe_refusal(preview.refusal),
        "restart_refusal": _describe_refusal(preview.restart_refusal),
    }
    return Reply({**described, "obstacle": preview.obstacle, **refusals})


def _describe_refusal(error: PreforkError | None) -> Mapping[str, Any] | None:
    return None if error is None else {"reason": str(error), "code": error.exit_code}


def state(context: VerbContext, _fields: Fields) -> Reply:
    """Tell all that the master knows and holds."""
    return Reply(context.master.dump_state())


def env(context: VerbContext, _fields: Fields) -> Reply:
    """Tell the environment variables of the workers."""
    return Reply({"env": {**os.environ, **context.master.config.env}})


def why(context: VerbContext, _fields: Fields) -> Reply:
    """Tell the last deaths, and why the last reload failed."""
    deaths, pool = wire.fit_deaths(context.deaths.all()), context.pool
    failed_at = None if pool.failed_at is None else time() - (monotonic() - pool.failed_at)
    return Reply({"deaths": deaths, "failure": pool.failure, "failed_at": failed_at})


def follow_events(_context: VerbContext, _fields: Fields) -> None:
    """Let the client follow all events."""


# Verbs that change something, or wait.


def wait(context: VerbContext, _fields: Fields) -> Goal:
    """Wait until every slot serves and no worker is leaving."""
    _check_refused(context.pool)
    return StableGoal(context.pool)


def reload(context: VerbContext, _fields: Fields) -> Goal:
    """Request a rolling reload."""
    accepted = context.master.reload()
    if isinstance(accepted, str):
        raise UsageError(accepted)  # the reason of the refusal
    return ReloadGoal(context.pool, accepted.generation, accepted.needs_restart)


def scale(context: VerbContext, fields: Fields) -> Goal:
    """Request another number of workers."""
    # Relative to the plan, not to ``target``: a drained pool has target 0 but keeps its number.
    target = wire.parse_target(fields["workers"], context.pool.plan.target)
    _check_refused(context.pool, target)
    context.master.scale(target)
    return ScaleGoal(context.pool, target)


def stop(context: VerbContext, fields: Fields) -> Goal:
    """Request the stop of workers and master."""
    context.master.stop(quick=bool(fields.get("quick")))
    return StopGoal(context.pool)


def send_signal(context: VerbContext, fields: Fields) -> Reply:
    """Send a signal to the workers, or to those of one slot."""
    signum = signal_number(str(fields["signal"]))
    slot = fields.get("slot")
    if slot is not None and (not isinstance(slot, int) or isinstance(slot, bool)):
        raise UsageError(f"a slot is a number, not {slot!r}")
    pids = context.master.signal(signum, slot)
    if not pids and slot is not None:
        slots = ", ".join(map(str, sorted({each.slot for each in context.pool.workers})))
        raise UsageError(f"no worker is in slot {slot}; there are {slots or 'none'}")
    return Reply({"pids": pids})


def hand_over(context: VerbContext, _fields: Fields) -> Reply:
    """Give copies of the listening sockets to the client, for the master after this one."""
    listeners = context.master.hand_over()
    fds = [listener.socket.fileno() for listener in listeners]
    return Reply({"listeners": describe_sockets(listeners)}, fds)


def reset(context: VerbContext, fields: Fields) -> Reply:
    """Clear the list of deaths, and restart the counters."""
    context.deaths.clear()
    return ping(context, fields)


def _check_refused(pool: Pool, workers: int | None = None) -> None:
    """Raise UsageError if the pool refuses a command now."""
    if reason := refusal_reason(pool, workers):
        raise UsageError(reason)


# Verbs that the log writer carries out.


def reopen(context: VerbContext, _fields: Fields) -> Goal:
    """Open the logs again, after another program rotated them."""
    return LogWriterGoal(context.pool, context.logs, context.master.reopen_logs())


def rotate(context: VerbContext, _fields: Fields) -> Goal:
    """Rotate the files with the output of the workers."""
    return LogWriterGoal(context.pool, context.logs, context.logs.order("rotate"))


def flush(context: VerbContext, _fields: Fields) -> Goal:
    """Empty the logs and remove the rotated ones."""
    return LogWriterGoal(context.pool, context.logs, context.logs.order("flush"))


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
        reason = f"the log writer did not do it within {LOG_WRITER_TIMEOUT:g} s; see the log"
        return Failed(reason, MachineError.exit_code)

    def _find_failure(self) -> Failed | None:
        return None  # workers are not involved
