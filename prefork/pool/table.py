"""The table of all live workers by serial number, and questions about slots.

The table only answers. ``reconciler.py`` alone decides which worker is spawned or stopped.

Design
------
- **Recycling takes one heir at a time, whatever ``--surge`` says** (``slots_to_fill``). The
  operator does not wait for it, and workers that wear out together (a leak, the same age) must not
  all boot at once. How many old workers may drain meanwhile is still bounded by ``surge``.
- **A slot whose workers wear out within half a minute waits longer and longer for the next heir**
  (``delay_heir``), by the same budget as after crashes. A limit below what an app needs would
  otherwise make the master fork without end.
- **A worker that only waits for its threads does not count against ``surge``**
  (``counted_processes``); it reports so by ``leaving`` with a text. A roll over four workers with
  an endless thread would take four kill timeouts otherwise. Beyond one for each slot they count,
  because reloads that follow each other would fill the memory.
"""

from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from random import Random

from prefork.pool.budget import Budget
from prefork.pool.policy import Policy
from prefork.pool.workers import BEATING_STATES, STARTING_STATES, Worker, WorkerState


@dataclass(slots=True)
class WorkerTable:
    """The live workers by serial number, and the budgets of all slots."""

    live: dict[int, Worker] = field(default_factory=dict)
    budgets: dict[int, Budget] = field(default_factory=dict)
    """By slot: failures of its workers."""
    wear_budgets: dict[int, Budget] = field(default_factory=dict)
    """By slot: workers that wore out young."""
    serial: int = 0
    """The serial number of the last worker."""

    def __iter__(self) -> Iterator[Worker]:
        """Iterate over a copy, because workers may enter and leave during the iteration."""
        return iter(list(self.live.values()))

    def __len__(self) -> int:
        return len(self.live)

    def counted_processes(self, target: int) -> int:
        """Return the number of live processes that count against ``target`` + surge.

        Workers that only wait for their threads do not count, up to one for each slot (see Design).
        """
        waiting = sum(w.waits_for != "" for w in self.live.values())
        return len(self.live) - min(waiting, target)

    def update_heartbeats(
        self, deadlines: Mapping[int, float], busy: Set[int], not_before: float
    ) -> None:
        """Store what the workers that serve or drain wrote into their rows of the scoreboard.

        ``deadlines``: when the next heartbeat is due at the latest, by worker. ``busy``: workers
        whose app is in ``prefork.busy()``. ``not_before``: no heartbeat is due before this time.
        """
        for worker in self.live.values():
            if worker.state in BEATING_STATES:
                due_at = deadlines.get(worker.id)
                due_at = None if due_at is None else max(due_at, not_before)
                worker.update_heartbeat(due_at, worker.id in busy)

    def add(self, slot: int, generation: int, now: float) -> Worker:
        """Add a worker with the next serial number, and return it."""
        self.serial += 1
        worker = Worker(self.serial, slot, generation, spawned_at=now)
        self.live[worker.id] = worker
        return worker

    def remove(self, worker: Worker) -> None:
        """Remove a worker that was reaped or could not be forked."""
        del self.live[worker.id]

    def get(self, worker_id: int, *states: WorkerState) -> Worker | None:
        """Return the worker, or None if it is unknown or in none of the given ``states``."""
        worker = self.live.get(worker_id)
        return worker if worker is not None and (not states or worker.state in states) else None

    def ready(self) -> list[Worker]:
        """Return the workers that serve."""
        return [w for w in self.live.values() if w.state is WorkerState.READY]

    def serving_or_starting(self) -> list[Worker]:
        """Return the workers that serve or are about to."""
        states = {WorkerState.READY, *STARTING_STATES}
        return [w for w in self.live.values() if w.state in states]

    def is_relieved(self, incumbent: Worker, generation: int) -> bool:
        """Return whether a ready worker can be stopped because its slot no longer needs it.

        A younger worker is ready in its slot; or it was to be replaced (it is worn, or not of this
        ``generation``), and its heir ended with the work of the slot done.
        """
        if incumbent.state is not WorkerState.READY:
            return False
        replaced = incumbent.generation != generation or incumbent.worn
        if replaced and self.budget(incumbent.slot).is_closed:
            return True
        return any(w.slot == incumbent.slot and w.id > incumbent.id for w in self.ready())

    def worn_incumbent(self, heir: Worker) -> Worker | None:
        """Return the worn worker that ``heir`` was to replace, if ``heir`` never served."""
        found = (w for w in self.ready() if w.slot == heir.slot and w.worn)
        return next(found, None) if heir.ready_at is None else None

    def slots_to_fill(self, target: int, generation: int, replace_worn: bool) -> list[int]:
        """Return the slots that need a new worker, in this order: empty, outdated, worn.

        At most one worn slot is among them, and none while the heir of another worn worker boots
        or if ``replace_worn`` is false.
        """
        heirs = {w.slot for w in self.live.values() if w.is_starting}
        incumbents = {w.slot: w for w in self.ready()}
        empty: list[int] = []
        outdated: list[int] = []
        worn: list[int] = []
        for slot in range(target):
            if slot in heirs or self.budget(slot).is_closed:
                continue
            incumbent = incumbents.get(slot)
            if incumbent is None:
                empty.append(slot)
            elif incumbent.generation != generation:
                outdated.append(slot)
            elif incumbent.worn and not incumbent.is_busy:
                worn.append(slot)
        if not replace_worn or any(w.worn and w.slot in heirs for w in incumbents.values()):
            worn = []
        # By due time, so that a slot whose heirs fail does not keep the others waiting.
        worn.sort(key=lambda slot: self.next_spawn_at(slot, generation))
        return empty + outdated + worn[:1]

    def next_spawn_at(self, slot: int, generation: int) -> float:
        """Return the time before which this slot gets no new worker of ``generation``."""
        delays = [
            w.heir_not_before for w in self.ready() if (w.slot, w.generation) == (slot, generation)
        ]
        return max(self.budget(slot).due_at, *delays, 0.0)

    def delay_heir(self, worn: Worker, now: float, rng: Random) -> None:
        """Delay the heir of a worn worker, longer each time that workers of its slot wear out
        young.

        New workers do not help there: the limit is too low.
        """
        budget = self.wear_budgets.setdefault(worn.slot, Budget())
        budget.charge(now, worn.uptime(now), 0.0, rng)
        worn.heir_not_before = budget.due_at

    def is_older_accepting(self, generation: int) -> bool:
        """Return whether a worker of a generation before this one may still accept connections."""
        ending = (WorkerState.HUNG, WorkerState.KILLED)
        return any(
            w.generation < generation and not w.accepts_no_more and w.state not in ending
            for w in self.live.values()
        )

    def is_served(self, slot: int, generation: int) -> bool:
        """Return whether a worker of this generation serves the slot, or the slot is closed."""
        if self.budget(slot).is_closed:
            return True
        return any(w.slot == slot and w.generation == generation for w in self.ready())

    def steady_at(self, slot: int, policy: Policy) -> float:
        """Return the time at which the worker of the slot has served for long enough.

        That is ``min_uptime`` after a failure in the slot, and ``min_ready`` otherwise. The time is
        infinite if no worker serves after a failure, and 0 if the slot is closed.
        """
        has_failed = self.has_failed(slot)
        if self.budget(slot).is_closed or not (has_failed or policy.min_ready):
            return 0.0
        found = (w.ready_at for w in self.ready() if w.slot == slot and w.ready_at is not None)
        if has_failed:
            return max(found, default=float("inf")) + policy.min_uptime
        return max(found, default=0.0) + policy.min_ready

    def next_steady_at(self, target: int, policy: Policy, now: float) -> float | None:
        """Return the next time after ``now`` at which a slot becomes steady; None: there is none.

        Slots of young workers alone are looked at, because a pool may have a thousand of them.
        """
        longest = max(policy.min_uptime, policy.min_ready)
        young = {
            w.slot
            for w in self.ready()
            if w.slot < target and w.ready_at is not None and w.ready_at + longest > now
        }
        times = (self.steady_at(slot, policy) for slot in young)
        return min((at for at in times if now < at < float("inf")), default=None)

    def has_failed(self, slot: int) -> bool:
        """Return whether a worker of the slot failed, and none has recovered since."""
        budget = self.budget(slot)
        return budget.failures > 0 or budget.is_suspect

    def budget(self, slot: int) -> Budget:
        """Return the restart budget of the slot, which outlives its workers."""
        return self.budgets.setdefault(slot, Budget())

    def reset_budgets(self, suspects: Collection[int]) -> None:
        """Clear the budgets of all slots. ``suspects``: slots whose workers had not recovered."""
        for slot, budget in self.budgets.items():
            budget.clear(slot in suspects)
        for budget in self.wear_budgets.values():
            budget.clear()
