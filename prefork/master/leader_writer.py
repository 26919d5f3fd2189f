"""Name the leader: write it where workers and the next master read it, and tell the worker.

Design
------
- **The next master knows the leader before the worker does.** The name is in the app's folder
  before the worker is told, so that a master which is killed in between leaves no leader that the
  next one does not wait for.
- **The fencing token begins with the time in milliseconds** where it is above the last token that
  the app's folder knows. So it rises also for an app that has no folder, or whose folder was
  deleted, as long as the clock is not set back.
- **A leader that outlived its master is waited for** (pidfd_open(2)), for as long as it lives. It
  drains, and its kill timeout ends it. Rejected: to kill it, since it answers requests.
"""

import os
from collections.abc import Callable
from time import time_ns

from prefork.master.children import Children
from prefork.master.registration import Registration
from prefork.master.scoreboard_writer import ScoreboardWriter
from prefork.observe.logger import Log
from prefork.pool import facts, orders
from prefork.pool.leader_state import LeaderState
from prefork.unix.poller import Poller
from prefork.unix.process_start import open_process, read_start_time
from prefork.wire.registry_state import LeaderRecord


class LeaderWriter:
    """Names the leaders of one master. ``add_fact``: takes the fact for the pool that the leader of
    an earlier master has ended."""

    def __init__(
        self,
        registration: Registration | None,
        poller: Poller,
        children: Children,
        log: Log,
        add_fact: Callable[[facts.Fact], None],
    ) -> None:
        self._registration = registration
        self._poller = poller
        self._children = children
        self._log = log
        self._add_fact = add_fact
        self._predecessor: int | None = None

    def read_last(self) -> LeaderState:
        """Return what an earlier master left, and watch its leader if that one lives."""
        last = self._registration.last_leader if self._registration else LeaderRecord()
        self._predecessor = open_process(last.pid, last.started)
        if self._predecessor is not None:
            self._poller.add_reader(self._predecessor, self._on_predecessor_ended)
            # No warning: most apps do not ask who leads.
            self._log.logger.info(
                "the leader of the last master, pid %d, still runs: no worker leads before it ends",
                last.pid,
            )
        token = max(last.token, time_ns() // 1_000_000)
        return LeaderState(token=token, predecessor_lives=self._predecessor is not None)

    def _on_predecessor_ended(self) -> None:
        if self._predecessor is not None:
            self._poller.remove(self._predecessor)
        self.close_copy()
        self._add_fact(facts.PredecessorEnded())

    def name(self, order: orders.NameLeader, scoreboard: ScoreboardWriter) -> None:
        """Write the name of the leader, and tell it."""
        process = self._children.get(order.worker)
        if process is None:
            return  # it was reaped, and the pool is about to learn that
        pid = process.child.pid
        if self._registration is not None:
            self._registration.write_leader(LeaderRecord(pid, read_start_time(pid), order.token))
        scoreboard.write()
        self._children.tell_leader(order.worker)
        self._log.logger.debug("pid %d leads with the token %d", pid, order.token)

    def descriptors(self) -> dict[str, int]:
        """Return the descriptor of the leader of an earlier master, by role."""
        return {} if self._predecessor is None else {"predecessor": self._predecessor}

    def close_copy(self) -> None:
        """Close the pidfd of the leader of an earlier master, or a child's copy of it."""
        if self._predecessor is not None:
            os.close(self._predecessor)
            self._predecessor = None
