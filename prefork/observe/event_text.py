"""Describe the pool's events as log lines, and the state of an app as one line.

All log lines about workers, reloads and scaling are written here.
"""

import logging

from prefork.config.value_types import format_duration
from prefork.plural import pluralize
from prefork.pool import MasterState, Pool, orders

LevelAndText = tuple[int, str]

_WorkerEvent = (
    orders.WorkerReady
    | orders.WorkerLeaving
    | orders.WorkerHung
    | orders.WorkerLingers
    | orders.RecycleFailed
    | orders.RecycleWaits
)


_EXCEEDED = {
    "timeout": "passed its deadline (--timeout)",
    "boot-timeout": "was not ready in time (--boot-timeout)",
    "kill-timeout": "did not leave within the kill timeout (--kill-timeout)",
}
"""The behaviour of a worker that exceeded the time of an option."""


def describe_event(event: orders.Event) -> LevelAndText:  # noqa: PLR0911 - a case each
    """Return the level and the text of the log line about an event."""
    match event:
        case orders.WorkerGone():
            return _describe_death(event)
        case orders.Running(generation):
            return logging.INFO, f"running, gen {generation}"
        case orders.RollStarted() | orders.RollDone() | orders.RollFailed():
            return _describe_reload(event)
        case orders.Recycling(workers, why):
            return logging.INFO, f"recycling {pluralize(workers, 'worker')}: {why}"
        case orders.Scaled():
            return logging.INFO, _describe_scaling(event)
        case orders.Parked():
            return logging.INFO, "draining all workers; HUP or TTIN brings them back"
        case orders.Ending() | orders.StopDelayOver():
            return _describe_end(event)
        case orders.Overslept(seconds):
            text = f"the master was stopped for {seconds:.0f}s; deadlines are moved by this time"
            return logging.WARNING, text
        case _:
            return _describe_worker_event(event)


def fields_of_event(event: orders.Event) -> dict[str, int]:
    """Return slot and generation of the worker that an event is about, for the journal."""
    names = ("slot", "generation")
    return {name: getattr(event, name) for name in names if hasattr(event, name)}


def _describe_reload(
    event: orders.RollStarted | orders.RollDone | orders.RollFailed,
) -> LevelAndText:
    match event:
        case orders.RollStarted(generation):
            return logging.INFO, f"reloading to gen {generation}"
        case orders.RollDone(generation, took):
            return logging.INFO, f"reloaded to gen {generation} in {took:.2f}s"
        case orders.RollFailed(kept, reason, _):
            return logging.ERROR, f"reload failed, gen {kept} serves on: {reason}"


def _describe_worker_event(event: _WorkerEvent) -> LevelAndText:
    worker = f"worker {event.slot} (pid {event.pid}, gen {event.generation})"
    match event:
        case orders.WorkerReady(took=took):
            return logging.INFO, f"{worker} ready in {took:.2f}s"
        case orders.WorkerLeaving(cause=cause, why=why):
            return logging.INFO, f"{worker} drains: {cause}" + (f": {why}" if why else "")
        case orders.WorkerHung(exceeded=exceeded):
            what = _EXCEEDED[exceeded]
            return logging.ERROR, f"{worker} {what}; its stacks follow, then it is killed"
        case orders.WorkerLingers():
            why = "the kernel does not end it, perhaps because of a disk or a network file system"
            return logging.ERROR, f"{worker} was killed, and {why}"
        case orders.RecycleFailed(why=why):
            return logging.WARNING, f"{worker} is worn ({why}) and serves on until an heir is ready"
        case orders.RecycleWaits(why=why):
            text = f"{worker} is worn ({why}) and serves on until prefork.busy() is over"
            return logging.INFO, text


def _describe_end(ending: orders.Ending | orders.StopDelayOver) -> LevelAndText:
    if isinstance(ending, orders.StopDelayOver):
        why = "skipped" if ending.is_skipped else "over"
        return logging.INFO, f"--stop-delay is {why}"
    if ending.delay:
        delay = format_duration(ending.delay)
        serving = "workers serve on with Connection: close, and /readyz says 503"
        return logging.INFO, f"stopping after --stop-delay {delay}: {serving}"
    if ending.reason:
        return logging.ERROR, f"giving up: {ending.reason}"
    return logging.INFO, f"stopping: {ending.done}" if ending.done else "stopping"


def _describe_scaling(scaled: orders.Scaled) -> str:
    if scaled.workers == scaled.before:
        return f"not scaling: the limit is {scaled.before}"
    why = f": {scaled.why}" if scaled.why else ""
    return f"scaling from {scaled.before} to {pluralize(scaled.workers, 'worker')}{why}"


def _describe_death(gone: orders.WorkerGone) -> LevelAndText:
    """Return the level and the text of the log line about the end of a worker."""
    text = f"worker {gone.slot} (pid {gone.pid}, gen {gone.generation}) gone: {gone.cause}"
    if gone.why:
        text += f": {gone.why}"
    why = f": {gone.reason}" if gone.reason else ""
    if gone.retry_in is None:
        if gone.killed:
            limit = f", it {_EXCEEDED[gone.exceeded]}" if gone.exceeded else ""
            return logging.WARNING, f"{text}; killed{limit}{why}"
        if gone.cause is orders.Cause.EXIT:
            text += f" ({gone.detail})"
        return logging.INFO, text
    wait = f"in {gone.retry_in:.1f}s" if gone.retry_in >= 0.05 else "now"
    option = f", --{gone.exceeded}" if gone.cause is orders.Cause.HANG and gone.exceeded else ""
    return logging.ERROR, f"{text} ({gone.detail}{option}); a new one {wait}{why}"


def describe_status(pool: Pool) -> str:
    """Return the state of an app as one line, such as ``running gen 3, 4/4 ready``.

    It is shown in process titles and in systemd's STATUS.

    Design: the line says "reload failed" without the reason, because every user of the machine may
    read it (proc(5)), and the last line of an exception may contain a password. The registry
    (0700), the log and the control socket have the reason.
    """
    shown = pool.shown_state
    state = "reload failed," if shown is MasterState.FROZEN else shown.value
    return f"{state} gen {pool.plan.generation}, {pool.ready_count}/{pool.target} ready"
