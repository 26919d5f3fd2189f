"""Restarts that nobody asks for at the moment: by the clock, by changed files, by memory.

They only make wishes: the pool decides which worker is replaced and when, and a wish to reload
waits for the end of a roll, so that many changes during one make one more.
"""

import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from prefork.master.children import Children
from prefork.master.file_watch import WatcherProcess
from prefork.master.generation import Generation
from prefork.master.memory_limit import MemoryLimit
from prefork.master.restart_schedule import RestartSchedule
from prefork.pool import MasterState, Pool, facts
from prefork.unix.poller import Poller
from prefork.unix.time_zone import local_zone
from prefork.wire.watcher_messages import FilesChanged


class PlannedRestarts:
    """``tell`` takes facts; ``reload`` is what a HUP does; ``begin``: what a child of ours that is
    no worker does first."""

    def __init__(
        self,
        poller: Poller,
        children: Children,
        pool: Pool,
        logger: logging.Logger,
        add_fact: Callable[[facts.Fact], None],
        reload: Callable[[], object],
        enter_child: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._logger = logger
        self._add_fact = add_fact
        self._reload = reload
        self._wants_reload = False
        self._schedule = RestartSchedule(time, local_zone)
        self._watcher = WatcherProcess(poller, enter_child, self._on_change, logger)
        self._memory_limit = MemoryLimit(
            children, pool, lambda worker, why: add_fact(facts.Worn(worker, why)), logger
        )

    def _on_change(self, changed: FilesChanged) -> None:
        self._wants_reload = True
        rolling = self._pool.state is MasterState.RELOADING
        what = "one more reload when this one has ended" if rolling else "reloading"
        self._logger.info("%s; %s", changed, what)

    def run_due(self, in_force: Generation) -> None:
        """What is due, by the settings in force."""
        if self._is_paused:
            return
        config = in_force.config
        self._memory_limit.run_due(config)
        if (expression := self._schedule.pop_due(config.cron)) is not None:
            self._add_fact(facts.RecycleRequested(f"--cron {expression}"))
        self._watcher.ensure_running(in_force.watched)
        if self._wants_reload and self._pool.state is not MasterState.RELOADING:
            self._wants_reload = False
            self._reload()

    def next_deadline(self) -> float | None:
        """When ``settle`` is due although nothing happens."""
        if self._is_paused:
            return None
        due = [self._memory_limit.next_deadline(), self._watcher.next_deadline()]
        if (patience := self._schedule.seconds_to_next_check()) is not None:
            due.append(monotonic() + patience)
        return min((each for each in due if each is not None), default=None)

    @property
    def _is_paused(self) -> bool:
        """Before anything serves, and once the end has begun."""
        return self._pool.is_stopping or self._pool.state is MasterState.STARTING

    def describe(self) -> dict[str, Any]:
        """What will happen by itself."""
        if (planned := self._schedule.next_due) is None:
            return {}
        at, expression = planned
        return {"next_restart": {"at": at.timestamp(), "cron": expression}}

    def knows_pid(self, pid: int) -> bool:
        """Whether it is the watcher's."""
        return self._watcher.knows_pid(pid)

    def close_copy(self) -> None:
        """In a child."""
        self._watcher.close_copy()

    def close(self) -> None:
        """At the end of the master."""
        self._watcher.close()
