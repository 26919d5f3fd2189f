"""Describe the pool's events as log lines, and the state of an app as one line.

All log lines about workers, reloads and scaling are written here.
"""

import logging

from prefork.plural import pluralize
from prefork.pool import MasterState, Pool, orders

LevelAndText = tuple[int, str]


def describe_event(event: orders.Event) -> LevelAndText:  # noqa: C901, PLR0911, PLR0912 - a case each
    """Return the level and the text of the log line about an event."""
    match event:
        case orders.WorkerReady(_, pid, slot, generation, took):
            return logging.INFO, f"worker {slot} (pid {pid}, gen {generation}) ready in {took:.2f}s"
        case orders.WorkerLeaving(_, pid, slot, generation, cause, why):
            text = f"worker {slot} (pid {pid}, gen {generation}) drains: {cause}"
            return logging.INFO, f"{text}: {why}" if why else text
        case orders.WorkerHung(_, pid, slot, generation, cause):
            who = f"worker {slot} (pid {pid}, gen {generation})"
            what = "passed its deadline" if cause is orders.Cause.HANG else str(cause)
            return logging.ERROR, f"{who} {what}; its stacks follow, then it is killed"
        case orders.WorkerGone():
            return _describe_death(event)
        case orders.WorkerLingers(_, pid, slot, generation):
            who = f"worker {slot} (pid {pid}, gen {generation})"
            why = "the kernel does not end it, perhaps because of a disk or a network file system"
            return logging.ERROR, f"{who} was killed, and {why}"
        case orders.Running(generation):
            return logging.INFO, f"running, gen {generation}"
        case orders.RollStarted(generation):
            return logging.INFO, f"reloading to gen {generation}"
        case orders.RollDone(generation, took):
            return logging.INFO, f"reloaded to gen {generation} in {took:.2f}s"
        case orders.RollFailed(kept, reason, _):
            return logging.ERROR, f"reload failed, gen {kept} serves on: {reason}"
        case orders.Recycling(workers, why):
            return logging.INFO, f"recycling {pluralize(workers, 'worker')}: {why}"
        case orders.RecycleFailed(_, pid, slot, generation, why):
            who = f"worker {slot} (pid {pid}, gen {generation})"
            return logging.WARNING, f"{who} is worn ({why}) and serves on until an heir is ready"
        case orders.RecycleWaits(_, pid, slot, generation, why):
            who = f"worker {slot} (pid {pid}, gen {generation})"
            return logging.INFO, f"{who} is worn ({why}) and serves on until prefork.busy() is over"
        case orders.Scaled():
            return logging.INFO, _describe_scaling(event)
        case orders.Parked():
            return logging.INFO, "draining all workers; HUP or TTIN brings them back"
        case orders.Ending(reason, done=done):
            if reason:
                return logging.ERROR, f"giving up: {reason}"
            return logging.INFO, f"stopping: {done}" if done else "stopping"
        case orders.Overslept(seconds):
            return (
                logging.WARNING,
                f"the master was stopped for {seconds:.0f}s; all deadlines are moved by this time",
            )


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
    if gone.retry_in is None:
        if gone.killed and gone.cause in (orders.Cause.HANG, orders.Cause.BOOT_TIMEOUT):
            return logging.WARNING, f"{text}; killed"
        if gone.killed:
            return logging.WARNING, f"{text}; killed, it did not leave within the kill timeout"
        if gone.cause is orders.Cause.EXIT:
            text += f" ({gone.detail})"
        return logging.INFO, text
    wait = f"in {gone.retry_in:.1f}s" if gone.retry_in >= 0.05 else "now"
    why = f": {gone.reason}" if gone.reason else ""
    return logging.ERROR, f"{text} ({gone.detail}); a new one {wait}{why}"


def describe_status(pool: Pool) -> str:
    """Return the state of an app as one line, such as ``running gen 3, 4/4 ready``.

    It is shown in process titles and in systemd's STATUS.

    Design: the line says "reload failed" without the reason, because every user of the machine may
    read it (proc(5)), and the last line of an exception may contain a password. The registry
    (0700), the log and the control socket have the reason.
    """
    state = "reload failed," if pool.state is MasterState.FROZEN else pool.state.value
    return f"{state} gen {pool.plan.generation}, {pool.ready_count}/{pool.target} ready"
