"""Goals: when a command of a client is done, or why it has failed.

Such commands are ``wait``, ``scale``, ``reload`` and ``stop``.

A command changes the desired state of the pool, and its client waits for a goal. A goal observes
every event that the pool announces after the command. When the pool has handled all facts, the goal
gives its verdict:

    None      the client keeps waiting
    Reached   the state is as requested, or as a later command changed it
    Failed    why it is not, and what the pool goes on trying

Every goal ends. The pool bounds boots, drains and rolls in time, so a goal waits for them. The pool
restarts a worker that cannot start for ever, so a goal counts its failures. Only the kernel can end
a process in uninterruptible sleep, so the pool reports such a process (``Worker.is_lingering``).

Design
------
- **Goals are decided beside the pool,** from its state and its events, so that the simulator can
  begin each goal in each state and see it end.
- **A goal fails after three failures in a row of a slot that it waits for,** or fewer with
  ``--max-restarts``, because the pool itself may go on trying for ever. The command ends; the pool
  goes on. Of a slot that was failing before the command one more failure is enough: its delays have
  grown to 15 seconds, and the reason is known.
- **A later command takes the place of an earlier one.** A reload is fulfilled by a later
  generation. A ``scale`` that another one or the autoscaler replaced exits 0 and names the number
  that holds. A command that a stop or a drain ended exits 100. Rejected: to wait for the later
  command, which would tell the first client about something that it did not request.
- **``scale`` is refused outside of the limits of the operator** (``--min-workers``,
  ``--max-workers``). Within them the autoscaler goes on from that number, and its calm time begins
  anew, so the number lasts at least that long.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefork.errors import MachineError, UsageError
from prefork.json_records import REFERENCE, dump_record, load_record
from prefork.plural import pluralize
from prefork.pool import orders
from prefork.pool.orders import Cause
from prefork.pool.pool import Pool
from prefork.pool.pool_state import MasterState
from prefork.pool.workers import STARTING_STATES, Worker, WorkerState


@dataclass(frozen=True, slots=True)
class Reached:
    """The goal is reached. ``values``: the result for the client, as JSON."""

    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The goal will not be reached.

    ``fault``: an exit code of ``prefork.errors``, which tells whose fault that is.
    """

    reason: str
    fault: int


Verdict = Reached | Failed


@dataclass(eq=False)
class Goal:
    """Base class: the end of the master, repeated failures, and killed processes that linger.

    ``name``: of the kind of goal, in dumps. ``failures``: of each slot since the command;
    ``last_failures``: the last one of each.
    """

    name: ClassVar[str]

    pool: Pool = field(repr=False, metadata=REFERENCE)
    outcome: Verdict | None = field(default=None, kw_only=True)
    """The verdict that an event led to."""
    failures: dict[int, int] = field(default_factory=dict, kw_only=True)
    last_failures: dict[int, orders.WorkerGone] = field(default_factory=dict, kw_only=True)

    def observe(self, event: orders.Event) -> None:
        """Take note of an event after the command."""
        match event:
            case orders.Ending():
                self._conclude(self._on_ending(event))
            case orders.WorkerGone(slot=slot) if event.retry_in is not None:
                self.failures[slot] = self.failures.get(slot, 0) + 1
                self.last_failures[slot] = event
            case _:
                self._on_event(event)

    @property
    def accepted_values(self) -> Mapping[str, Any]:
        """The answer to a client that does not wait for the verdict."""
        return {}

    def dump(self) -> dict[str, Any]:
        """Return the goal as JSON: its name as ``goal``, and its fields."""
        return {"goal": self.name, **dump_record(self)}

    def verdict(self) -> Verdict | None:
        """Return how the goal ended; None while it is open."""
        return self.outcome or self._check() or self._find_failure()

    def _on_event(self, event: orders.Event) -> None:
        """Take note of an event that only goals of this kind need."""

    def _check(self) -> Verdict | None:
        """Return the verdict by the present state of the pool; None: still open."""
        return None

    def _conclude(self, outcome: Verdict | None) -> None:
        """Set the verdict. The first one stands: later events belong to later commands."""
        self.outcome = self.outcome or outcome

    def _on_ending(self, ending: orders.Ending) -> Verdict | None:
        """Return the verdict if the master ends before the goal is reached."""
        if ending.reason:
            return Failed(f"the master gave up: {ending.reason}", ending.fault)
        why = ending.done or "it was told to stop before that was done"
        return Failed(why, UsageError.exit_code)

    # Reasons why a goal cannot be reached.

    def _find_failure(self) -> Failed | None:
        """Return why the goal cannot be reached; None: it still can."""
        if self.pool.state is MasterState.RELOADING:
            return None  # a roll has a deadline of its own
        return self._find_failing_slot() or self._find_lingering()

    def _find_failing_slot(self) -> Failed | None:
        """Find a slot that failed so often that waiting for it is of no use."""
        limit = self.pool.plan.policy.failure_limit
        for slot in self._unserved_slots():
            if (times := self.failures.get(slot, 0)) > 0:
                # Failures in a row count from before the command; a reload forgets them.
                times = max(times, self.pool.workers.budget(slot).failures)
                if times >= limit:
                    return self._failing_slot_verdict(slot, times, self.last_failures[slot])
        return None

    def _failing_slot_verdict(self, slot: int, times: int, last: orders.WorkerGone) -> Failed:
        count = "once" if times == 1 else f"{times} times"
        why = last.reason or f"{last.cause} ({last.detail})"
        failed = f"worker {slot} failed {count}: {why}"
        return Failed(f"{self._progress()}, and prefork goes on trying: {failed}", last.fault)

    def _progress(self) -> str:
        """Return the number of workers that serve, as text."""
        wanted = pluralize(self.pool.target, "worker serves", "workers serve")
        return f"{self.pool.ready_count} of {wanted}"

    def _find_lingering(self) -> Failed | None:
        """Find killed processes that the kernel does not end, if only they keep the goal open.

        Either they are what should be gone, or they take the places of new workers.
        """
        lingering = [worker for worker in self.pool.workers if worker.is_lingering]
        moving = [
            w for w in self.pool.workers if w.state is not WorkerState.READY and not w.is_lingering
        ]
        room = self.pool.target + self.pool.plan.policy.surge - len(self.pool.workers)
        if not lingering or moving or (room > 0 and self._unserved_slots()):
            return None
        pids = ", ".join(str(worker.pid) for worker in lingering)
        why = "the kernel does not end it: it may wait for a disk or a network file system"
        return Failed(f"pid {pids} was killed, and {why}", MachineError.exit_code)

    def _unserved_slots(self) -> list[int]:
        """Return the slots that should be served and are not, or not for long enough after a
        failure."""
        workers = self.pool.workers
        serving = {worker.slot for worker in workers.ready() if self.pool.is_steady(worker.slot)}
        slots = range(self.pool.target)
        return [
            slot for slot in slots if slot not in serving and not workers.budget(slot).is_closed
        ]

    def _finished_slots(self) -> list[int]:
        """Return the slots whose workers ended for good (``--stop-exit-codes``)."""
        budget = self.pool.workers.budget
        return [slot for slot in range(self.pool.target) if budget(slot).is_closed]


class StableGoal(Goal):
    """The goal of ``wait``: every slot serves, and every worker that is to leave has left.

    Recycling does not count: where workers wear out quickly, one is always being replaced.
    """

    name = "stable"

    def _check(self) -> Verdict | None:
        if self._unserved_slots() or not all(map(self._is_stable, self.pool.workers)):
            return None
        return Reached({"workers": self.pool.ready_count, "done": self._finished_slots()})

    def _is_stable(self, worker: Worker) -> bool:
        """Return whether the worker serves, or starts or leaves because of recycling only."""
        if worker.state in STARTING_STATES:
            incumbents = (w for w in self.pool.workers.ready() if w.slot == worker.slot)
            return any(w.worn and w.generation == worker.generation for w in incumbents)
        return worker.state is WorkerState.READY or worker.cause is Cause.RECYCLE

    def _on_ending(self, ending: orders.Ending) -> Verdict | None:
        """Count an app whose workers all ended for good as well started."""
        if ending.done:
            return Reached({"workers": 0, "done": [], "ended": ending.done})
        return super()._on_ending(ending)


@dataclass(eq=False)
class ScaleGoal(Goal):
    """The goal of ``scale``: ``requested`` slots serve, and the workers of higher slots have left.

    A later change of the number takes the place of this one.
    """

    name = "scale"

    requested: int
    superseded_by: str = "another command"
    rolled_back: orders.RollFailed | None = None

    def _on_event(self, event: orders.Event) -> None:
        match event:
            case orders.Scaled(why=why):
                self.superseded_by = f"the autoscaler ({why})" if why else "a later command"
            case orders.RollStarted():
                self.superseded_by = "a reload"
            case orders.RollFailed():
                self.rolled_back = event
            case orders.Parked():
                self._conclude(_drained("so many workers served"))

    def _check(self) -> Verdict | None:
        target = self.pool.target
        if target != self.requested:
            return self._superseded(target)
        beyond = any(worker.slot >= target for worker in self.pool.workers)
        if beyond or self._unserved_slots():
            return None
        done = self._finished_slots()
        return Reached({"workers": target, "asked": self.requested, "done": done})

    def _superseded(self, target: int) -> Verdict:
        """Return the verdict when the pool has another number of slots by now."""
        if (failed := self.rolled_back) is not None:
            back = f"a reload failed, and with it the number of workers went back to {target}"
            return Failed(f"{back}: {failed.reason}", failed.fault)
        values = {"workers": target, "asked": self.requested, "instead": self.superseded_by}
        return Reached(values)


@dataclass(eq=False)
class ReloadGoal(Goal):
    """The goal of ``reload``: every slot serves generation ``requested`` or a later one.

    No worker of an older generation accepts connections then. A later reload takes the place of
    this one, also when it fails.
    """

    name = "reload"

    @property
    def accepted_values(self) -> Mapping[str, Any]:
        """The changed options that a restart alone can change."""
        return {"needs_restart": self.needs_restart} if self.needs_restart else {}

    requested: int
    needs_restart: list[str] = field(default_factory=list)
    """The changed options that the reload cannot change."""
    newest: int = 0
    """The generation that the pool rolls to; 0: the requested roll has not begun."""

    def _on_event(self, event: orders.Event) -> None:
        match event:
            case orders.RollStarted(generation) if generation >= self.requested:
                self.newest = generation
            case orders.RollDone(generation, took) if generation >= self.requested:
                values = {"generation": generation, "asked": self.requested, "took": took}
                self._conclude(Reached({**values, **self.accepted_values}))
            case orders.RollFailed(kept, reason, fault) if kept < self.requested <= self.newest:
                # A failure that keeps the requested generation belongs to a later reload, which
                # was refused; the roll to the requested one goes on.
                self._conclude(Failed(self._failure_text(kept, reason), fault))
            case orders.Parked() if self.newest:
                self._conclude(_drained(f"gen {self.newest} served"))

    def _unserved_slots(self) -> list[int]:
        """Return the slots without a worker of the plan's generation.

        A later reload that failed may have left workers of its own generation. They serve, but they
        do not fulfil this goal.
        """
        if not self.newest:
            return []  # failures before the roll are those of another generation
        pool, generation = self.pool, self.pool.plan.generation
        return [
            slot
            for slot in range(pool.target)
            if not (pool.workers.is_served(slot, generation) and pool.is_steady(slot))
        ]

    def _progress(self) -> str:
        target, generation = self.pool.target, self.pool.plan.generation
        serving = sum(w.generation == generation for w in self.pool.workers.ready())
        return (
            f"{serving} of {pluralize(target, 'worker serves', 'workers serve')} gen {generation}"
        )

    def _failure_text(self, kept: int, reason: str) -> str:
        later = f" (it was overtaken by one to gen {self.newest})"
        also = later if self.newest > self.requested else ""
        return f"reload failed{also}, gen {kept} serves on: {reason}"


class StopGoal(Goal):
    """The goal of ``stop``: the pool stops, and every worker is gone."""

    name = "stop"

    def _check(self) -> Verdict | None:
        return Reached({}) if self.pool.is_stopping and not self.pool.workers else None

    def _on_ending(self, _ending: orders.Ending) -> Verdict | None:
        return None

    def _find_failure(self) -> Failed | None:
        return self._find_lingering() if self.pool.is_stopping else None


GOALS: dict[str, type[Goal]] = {
    kind.name: kind for kind in (StableGoal, ScaleGoal, ReloadGoal, StopGoal)
}
"""The goals of the pool by name."""


def load_goal(dumped: Mapping[str, Any], pool: Pool) -> Goal:
    """Return the goal that goes on from a dump. Raises ValueError if ``dumped`` is none."""
    content = dict(dumped)
    if (name := content.pop("goal", None)) not in GOALS:
        raise ValueError(f"there is no goal {name!r}")
    return load_record(GOALS[name], content, pool=pool)


def refusal_reason(pool: Pool, workers: int | None = None) -> str:
    """Return why the pool refuses a command now; empty if it takes it.

    ``workers``: the number that a ``scale`` asks for; None for any other command.
    """
    if pool.is_stopping:
        return "it is stopping"
    policy = pool.plan.policy
    if workers is not None and workers != policy.clamp(workers):
        most = pluralize(policy.max_workers, "worker")
        return f"there may be {policy.min_workers} to {most}, not {workers}"
    return ""


def _drained(goal: str) -> Failed:
    """Return the verdict of a goal that a drain (SIGWINCH) ended."""
    why = "a reload or a scale brings workers back"
    return Failed(f"all workers were told to leave before {goal}; {why}", UsageError.exit_code)
