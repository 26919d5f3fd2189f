"""Short histories of a pool."""

from random import Random

from prefork.pool import Policy, Pool, facts, orders
from prefork.pool.workers import WorkerState


class Story:
    """A pool and its clock; it remembers all orders."""

    def __init__(self, **policy: object) -> None:
        self.now = 100.0
        self.policy = Policy(**policy)  # type: ignore[arg-type]
        self.pool = Pool(self.policy, Random(1))
        self.newest = 1
        self.ordered: list[orders.Order] = []
        self.tell(facts.Tick())

    def tell(self, fact: facts.Fact) -> list[orders.Order]:
        """Pass a fact to the pool; forks succeed at once."""
        got = self.pool.handle(fact, self.now)
        self.ordered += got
        for order in got:
            if isinstance(order, orders.Spawn):
                self.tell(facts.Spawned(order.worker, 1000 + order.worker))
        return got

    def later(self, seconds: float) -> list[orders.Order]:
        """Let so much time pass, with a Tick at every deadline; return the orders."""
        start, until = len(self.ordered), self.now + seconds
        while (due := self.pool.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.tell(facts.Tick())
        self.now = until
        self.tell(facts.Tick())
        return self.ordered[start:]

    def ready(self, *workers: int) -> None:
        for worker in workers:
            self.tell(facts.Ready(worker))

    def exit(self, worker: int, code: int | None = 0, signal: str | None = None) -> None:
        self.tell(facts.Exited(worker, None if signal else code, signal))

    def hup(self, **changes: object) -> int:
        self.newest += 1
        policy = Policy(**changes) if changes else self.pool.plan.policy  # type: ignore[arg-type]
        self.tell(facts.ReloadRequested(self.newest, policy))
        return self.newest

    def all(self, kind: type) -> list:
        """Return all orders, or announced events, of a type."""
        told = [o.event for o in self.ordered if isinstance(o, orders.Announce)]
        return [thing for thing in [*self.ordered, *told] if isinstance(thing, kind)]

    def slots(self) -> dict[int, tuple[int, WorkerState]]:
        return {w.id: (w.slot, w.state) for w in self.pool.workers}
