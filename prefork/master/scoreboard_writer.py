"""The master's part of the scoreboard: its own state, and slot, pid and state of each worker."""

from time import monotonic, time

from prefork.master.children import Children
from prefork.pool import Pool, orders
from prefork.unix.scoreboard import Scoreboard
from prefork.wire.fields import STATES, WORKER_STATES


class ScoreboardWriter:
    """Writes the master's part of the scoreboard after each change.

    Other processes read it without asking the master, also when the master hangs.
    """

    def __init__(self, scoreboard: Scoreboard, children: Children, pool: Pool) -> None:
        self._scoreboard = scoreboard
        self._children = children
        self._pool = pool
        self._reloads = self._failures = self._restarts = 0
        scoreboard.set_head_fields(began=time())

    def count(self, event: orders.Event) -> None:
        """Count an event, and write at once.

        The event is announced after this, and a client that gets it may read the scoreboard at
        once.
        """
        match event:
            case orders.RollDone():
                self._reloads += 1
            case orders.RollFailed():
                self._failures += 1
            case orders.WorkerGone() if event.retry_in is not None:
                self._restarts += 1
        self.write()

    def write(self) -> None:
        """Write the present state of the pool."""
        pool = self._pool
        self._scoreboard.set_head_fields(
            state=STATES.index(pool.shown_state),
            target=pool.target,
            generation=pool.plan.generation,
            reloads=self._reloads,
            failures=self._failures,
            restarts=self._restarts,
            leader_token=pool.leader.shown_token,
            leader=pool.leader.worker,
        )
        clock_offset = time() - monotonic()
        for worker in pool.workers:
            if (process := self._children.get(worker.id)) is not None:
                self._scoreboard.set_row_fields(
                    process.row,
                    slot=worker.slot,
                    generation=worker.generation,
                    pid=worker.pid,
                    outdated=worker.generation != pool.plan.generation or worker.worn != "",
                    state=WORKER_STATES.index(worker.state),
                    born=clock_offset + worker.spawned_at,
                )
