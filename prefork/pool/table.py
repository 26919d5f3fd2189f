"""The worker table: every live process by serial number, and questions about slots.

It answers; it never decides. Who is spawned or stopped is decided in pool.py alone.
"""

from collections.abc import Iterator, Mapping, Set
from random import Random

from prefork.pool.budget import Budget
from prefork.pool.workers import STARTING_STATES, Worker, WorkerState


class WorkerTable:
    """Workers by id, budgets by slot."""

    def __init__(self) -> None:
        self._workers: dict[int, Worker] = {}
        self._budgets: dict[int, Budget] = {}
        self._wear_budgets: dict[int, Budget] = {}
        self._serial = 0

    def __iter__(self) -> Iterator[Worker]:
        """A copy: workers may enter and leave while somebody looks."""
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def counted_processes(self, target: int) -> int:
        """Live processes, as far as they keep others from being spawned. Those that only wait for
        their threads do not, or a roll would take the kill timeout for each worker; but beyond one
        for each slot they do, or reloads that follow each other would fill the memory."""
        waiting = sum(w.waits_for_threads for w in self._workers.values())
        return len(self._workers) - min(waiting, target)

    def update_heartbeats(self, deadlines: Mapping[int, float], busy: Set[int]) -> None:
        """What those that serve tell of themselves: by when they beat again, and who is busy."""
        for worker in self.ready():
            worker.deadline = deadlines.get(worker.id, worker.deadline)
            worker.is_busy = worker.id in busy

    def add(self, slot: int, generation: int, now: float) -> Worker:
        """A new worker with the next serial number."""
        self._serial += 1
        worker = Worker(self._serial, slot, generation, spawned_at=now)
        self._workers[worker.id] = worker
        return worker

    def remove(self, worker: Worker) -> None:
        """Forget a worker that was reaped or never lived."""
        del self._workers[worker.id]

    def get(self, worker_id: int, *states: WorkerState) -> Worker | None:
        """The worker, if it is known and (when states are given) in one of them."""
        worker = self._workers.get(worker_id)
        return worker if worker is not None and (not states or worker.state in states) else None

    def ready(self) -> list[Worker]:
        """Those that serve."""
        return [w for w in self._workers.values() if w.state is WorkerState.READY]

    def serving_or_starting(self) -> list[Worker]:
        """Those that serve or are about to."""
        return [
            w
            for w in self._workers.values()
            if w.state is WorkerState.READY or w.state in STARTING_STATES
        ]

    def is_relieved(self, incumbent: Worker, generation: int) -> bool:
        """Whether a younger worker is ready in the slot of a ready one; or its heir ended with the
        work of the slot done, and the incumbent is worn or of another generation than this one."""
        if incumbent.state is not WorkerState.READY:
            return False
        replaced = incumbent.generation != generation or incumbent.worn
        if replaced and self.budget(incumbent.slot).is_closed:
            return True
        return any(w.slot == incumbent.slot and w.id > incumbent.id for w in self.ready())

    def worn_incumbent(self, heir: Worker) -> Worker | None:
        """Whom a worker that never served was to replace, if that one is worn."""
        found = (w for w in self.ready() if w.slot == heir.slot and w.worn)
        return next(found, None) if heir.ready_at is None else None

    def slots_to_fill(self, target: int, generation: int, replace_worn: bool) -> list[int]:
        """Slots that want a new worker: the empty ones first, then the outdated, then one of the
        worn, if no other has an heir that boots."""
        heirs = {w.slot for w in self._workers.values() if w.state in STARTING_STATES}
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
        # Whose turn it is first: one whose heirs fail does not keep the others waiting.
        worn.sort(key=lambda slot: self.next_spawn_at(slot, generation))
        return empty + outdated + worn[:1]

    def next_spawn_at(self, slot: int, generation: int) -> float:
        """When a slot that wants a worker may have it."""
        rests = [
            w.heir_not_before for w in self.ready() if (w.slot, w.generation) == (slot, generation)
        ]
        return max(self.budget(slot).due_at, *rests, 0.0)

    def delay_heir(self, worn: Worker, now: float, rng: Random) -> None:
        """A slot whose workers wear out soon after they began waits longer and longer for the next,
        because new ones do not help: the limit is too low."""
        account = self._wear_budgets.setdefault(worn.slot, Budget())
        account.charge(now, worn.uptime(now), 0.0, rng)
        worn.heir_not_before = account.due_at

    def is_older_accepting(self, generation: int) -> bool:
        """Whether anybody of an older generation may still accept connections."""
        return any(
            w.generation < generation
            and not w.accepts_no_more
            and w.state not in (WorkerState.HUNG, WorkerState.KILLED)
            for w in self._workers.values()
        )

    def is_served(self, slot: int, generation: int) -> bool:
        """Whether the slot's work is done by this generation, or is to be left undone."""
        if self.budget(slot).is_closed:
            return True
        return any(w.slot == slot and w.generation == generation for w in self.ready())

    def budget(self, slot: int) -> Budget:
        """The slot's account; it outlives its workers."""
        return self._budgets.setdefault(slot, Budget())

    def reset_budgets(self) -> None:
        """Clear all accounts."""
        for budget in (*self._budgets.values(), *self._wear_budgets.values()):
            budget.clear()
