"""Goals: what a client that waits for the pool is told in the end, and when. PURE.

A verb changes what is desired; the goal of its client says when that is reached, or why it will not
be. A goal hears every event from its verb on, and gives its verdict when the pool has decided
everything for now:

    verdict   the client is told
    None      nothing yet
    Reached   that it is as asked, now or as a later wish changed it
    Failed    why it is not; what the pool goes on trying, if anything

Every goal ends, whatever happens meanwhile. What the pool itself bounds in time (a boot, a drain, a
roll) the goal waits for. What the pool repeats for ever (a worker that cannot start) the goal
counts. What the kernel alone can end (a process in uninterruptible sleep) the pool tells it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefork.errors import MachineError, UsageError
from prefork.plural import pluralize
from prefork.pool import orders
from prefork.pool.orders import Cause
from prefork.pool.pool import MasterState, Pool
from prefork.pool.workers import STARTING_STATES, Worker, WorkerState

MAX_FAILURES = 3
"""Failures of one slot, since the goal began, after which the client is told; fewer where
``max_restarts`` allows fewer in a row. The pool itself goes on."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The goal is reached; ``values`` say how."""

    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The goal will not be reached; ``fault``: whose fault that is, an exit code of errors.py."""

    reason: str
    fault: int


Verdict = Reached | Failed


class Goal:
    """What all goals have in common: the end of the master, failures, and processes that linger."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._outcome: Verdict | None = None
        self._failures: Counter[int] = Counter()
        self._last_failures: dict[int, orders.WorkerGone] = {}

    def observe(self, event: orders.Event) -> None:
        """Take note of what happened after the verb was asked."""
        match event:
            case orders.Ending():
                self._conclude(self._on_ending(event))
            case orders.WorkerGone(slot=slot) if event.retry_in is not None:
                self._failures[slot] += 1
                self._last_failures[slot] = event
            case _:
                self._on_event(event)

    def verdict(self) -> Verdict | None:
        """The outcome; None while it is open."""
        return self._outcome or self._check() or self._find_failure()

    def _on_event(self, event: orders.Event) -> None:
        """What a goal of this kind listens for."""

    def _check(self) -> Verdict | None:
        """Whether it is reached now."""
        return None

    def _conclude(self, outcome: Verdict | None) -> None:
        """The first outcome stands: what happens later was asked for later."""
        self._outcome = self._outcome or outcome

    def _on_ending(self, ending: orders.Ending) -> Verdict | None:
        """The outcome when the master ends first."""
        if ending.reason:
            return Failed(f"the master gave up: {ending.reason}", ending.fault)
        why = ending.done or "it was told to stop before that was done"
        return Failed(why, UsageError.exit_code)

    # What keeps a goal from being reached.

    def _find_failure(self) -> Failed | None:
        """Why waiting on is of no use."""
        if self._pool.state is MasterState.RELOADING:
            return None  # a roll has a deadline of its own
        return self._find_failing_slot() or self._find_lingering()

    def _find_failing_slot(self) -> Failed | None:
        most = self._pool.plan.policy.max_restarts
        limit = MAX_FAILURES if most is None else min(MAX_FAILURES, most + 1)
        for slot in self._unserved_slots():
            if (times := self._failures[slot]) >= limit:
                return self._failing_slot_verdict(slot, times, self._last_failures[slot])
        return None

    def _failing_slot_verdict(self, slot: int, times: int, last: orders.WorkerGone) -> Failed:
        count = "once" if times == 1 else f"{times} times"
        why = last.reason or f"{last.cause} ({last.detail})"
        failed = f"worker {slot} failed {count}: {why}"
        return Failed(f"{self._progress()}, and prefork goes on trying: {failed}", last.fault)

    def _progress(self) -> str:
        """The number of workers that serve."""
        wanted = pluralize(self._pool.target, "worker serves", "workers serve")
        return f"{self._pool.ready_count} of {wanted}"

    def _find_lingering(self) -> Failed | None:
        """Processes that were killed and linger: they are what should be gone, or they take the
        places of new ones."""
        lingering = [worker for worker in self._pool.workers if worker.is_lingering]
        moving = [
            w for w in self._pool.workers if w.state is not WorkerState.READY and not w.is_lingering
        ]
        room = self._pool.target + self._pool.plan.policy.surge - len(self._pool.workers)
        if not lingering or moving or (room > 0 and self._unserved_slots()):
            return None
        pids = ", ".join(str(worker.pid) for worker in lingering)
        why = "the kernel does not end it: it may wait for a disk or a network file system"
        return Failed(f"pid {pids} was killed, and {why}", MachineError.exit_code)

    def _unserved_slots(self) -> list[int]:
        """Slots that should be served, and are not."""
        workers = self._pool.workers
        serving = {worker.slot for worker in workers.ready()}
        slots = range(self._pool.target)
        return [
            slot for slot in slots if slot not in serving and not workers.budget(slot).is_closed
        ]

    def _finished_slots(self) -> list[int]:
        """Slots whose workers ended for good."""
        budget = self._pool.workers.budget
        return [slot for slot in range(self._pool.target) if budget(slot).is_closed]


class StableGoal(Goal):
    """Every slot serves, and every worker that is to leave has left. Recycled workers do not count:
    where workers wear out quickly, one is always being replaced."""

    def _check(self) -> Verdict | None:
        if self._unserved_slots() or not all(map(self._is_stable, self._pool.workers)):
            return None
        return Reached({"workers": self._pool.ready_count, "done": self._finished_slots()})

    def _is_stable(self, worker: Worker) -> bool:
        if worker.state in STARTING_STATES:
            incumbents = (w for w in self._pool.workers.ready() if w.slot == worker.slot)
            return any(w.worn and w.generation == worker.generation for w in incumbents)
        return worker.state is WorkerState.READY or worker.cause is Cause.RECYCLE

    def _on_ending(self, ending: orders.Ending) -> Verdict | None:
        """An app whose workers are all done has started, and well."""
        if ending.done:
            return Reached({"workers": 0, "done": [], "ended": ending.done})
        return super()._on_ending(ending)


class ScaleGoal(Goal):
    """So many slots serve, and the workers of higher slots have left. A later change of the number
    takes the place of this one."""

    def __init__(self, pool: Pool, asked: int) -> None:
        super().__init__(pool)
        self._requested = asked
        self._superseded_by = "another wish"
        self._rolled_back: orders.RollFailed | None = None

    def _on_event(self, event: orders.Event) -> None:
        match event:
            case orders.Scaled(why=why):
                self._superseded_by = f"the autoscaler ({why})" if why else "a later wish"
            case orders.RollStarted():
                self._superseded_by = "a reload"
            case orders.RollFailed():
                self._rolled_back = event
            case orders.Parked():
                self._conclude(_drained("so many workers served"))

    def _check(self) -> Verdict | None:
        target = self._pool.target
        if target != self._requested:
            return self._superseded(target)
        beyond = any(worker.slot >= target for worker in self._pool.workers)
        if beyond or self._unserved_slots():
            return None
        return Reached(
            {"workers": target, "asked": self._requested, "done": self._finished_slots()}
        )

    def _superseded(self, target: int) -> Verdict:
        if (failed := self._rolled_back) is not None:
            back = f"a reload failed, and with it the number of workers went back to {target}"
            return Failed(f"{back}: {failed.reason}", failed.fault)
        return Reached(
            {"workers": target, "asked": self._requested, "instead": self._superseded_by}
        )


class ReloadGoal(Goal):
    """Every slot serves generation ``asked`` or a later one, and no older one accepts any more. A
    later reload takes the place of this one, also when it fails."""

    def __init__(self, pool: Pool, asked: int) -> None:
        super().__init__(pool)
        self._requested = asked
        self._newest = 0
        """The generation that the roll is at; 0: the pool has not begun with ours."""

    def _on_event(self, event: orders.Event) -> None:
        match event:
            case orders.RollStarted(generation) if generation >= self._requested:
                self._newest = generation
            case orders.RollDone(generation, took) if generation >= self._requested:
                values = {"generation": generation, "asked": self._requested, "took": took}
                self._conclude(Reached(values))
            case orders.RollFailed(kept, reason, fault) if kept < self._requested <= self._newest:
                # One that keeps our generation was refused, and the roll to ours goes on.
                self._conclude(Failed(self._failure_text(kept, reason), fault))
            case orders.Parked() if self._newest:
                self._conclude(_drained(f"gen {self._newest} served"))

    def _unserved_slots(self) -> list[int]:
        """Slots without a worker of the plan's generation. A later reload that failed may have left
        workers of its own; they serve, but the goal is another generation."""
        if not self._newest:
            return []  # failures until then are those of another generation
        workers, generation = self._pool.workers, self._pool.plan.generation
        return [n for n in range(self._pool.target) if not workers.is_served(n, generation)]

    def _progress(self) -> str:
        target, generation = self._pool.target, self._pool.plan.generation
        serving = sum(w.generation == generation for w in self._pool.workers.ready())
        return (
            f"{serving} of {pluralize(target, 'worker serves', 'workers serve')} gen {generation}"
        )

    def _failure_text(self, kept: int, reason: str) -> str:
        later = f" (it was overtaken by one to gen {self._newest})"
        also = later if self._newest > self._requested else ""
        return f"reload failed{also}, gen {kept} serves on: {reason}"


class StopGoal(Goal):
    """Every worker is gone."""

    def _check(self) -> Verdict | None:
        return Reached({}) if self._pool.is_stopping and not self._pool.workers else None

    def _on_ending(self, _ending: orders.Ending) -> Verdict | None:
        return None

    def _find_failure(self) -> Failed | None:
        return self._find_lingering() if self._pool.is_stopping else None


def refusal_reason(pool: Pool, workers: int | None = None) -> str:
    """Why a wish is not taken, be it for a number of ``workers`` or not; empty: it may be."""
    if pool.is_stopping:
        return "it is stopping"
    policy = pool.plan.policy
    if workers is not None and workers != policy.clamp(workers):
        return f"there may be {policy.min_workers} to {pluralize(policy.max_workers, 'worker')}, not {workers}"
    return ""


def _drained(goal: str) -> Failed:
    why = "a reload or a scale brings workers back"
    return Failed(f"all workers were told to leave before {goal}; {why}", UsageError.exit_code)
