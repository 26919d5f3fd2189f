"""The master's part of the scoreboard: who is who, and what it wants of them."""

from time import monotonic, time

from prefork.master.children import Children
from prefork.pool import Pool, orders
from prefork.unix.scoreboard import Scoreboard
from prefork.wire.scoreboard import STATES, WORKER_STATES


class ScoreboardWriter:
    """Written whenever something has changed; nobody has to ask the master for it."""

    def __init__(self, scoreboard: Scoreboard, children: Children, pool: Pool) -> None:
        self._scoreboard = scoreboard
        self._children = children
        self._pool = pool
        self._reloads = self._failures = self._restarts = 0
        scoreboard.set_head_fields(began=time())

    def count(self, event: orders.Event) -> None:
        """Something happened, and somebody who hears of it may look at once."""
        match event:
            case orders.RollDone():
                self._reloads += 1
            case orders.RollFailed():
                self._failures += 1
            case orders.WorkerGone() if event.retry_in is not None:
                self._restarts += 1
        self.write()

    def write(self) -> None:
        """The pool has decided everything for now."""
        pool = self._pool
        self._scoreboard.set_head_fields(
            state=STATES.index(pool.state),
            target=pool.target,
            generation=pool.plan.generation,
            reloads=self._reloads,
            failures=self._failures,
            restarts=self._restarts,
        )
        born = time() - monotonic()
        for worker in pool.workers:
            if (process := self._children.get(worker.id)) is not None:
                self._scoreboard.set_row_fields(
                    process.row,
                    slot=worker.slot,
                    generation=worker.generation,
                    pid=worker.pid,
                    outdated=worker.generation != pool.plan.generation or worker.worn != "",
                    state=WORKER_STATES.index(worker.state),
                    born=born + worker.spawned_at,
                )
