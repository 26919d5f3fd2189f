"""Restarts without a command: by the clock (``--cron``), changed files, or memory.

They only request: the pool decides which worker is replaced and when. A reload for changed files
waits for the end of a roll that goes on, so that many changes during a roll cause one more.

Design
------
- **``--cron`` recycles, it does not reload:** at four in the morning no operator would see that a
  file was half edited. So the settings stay, the number of the generation stays, too, and an heir
  that fails is tried again.
"""

import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from prefork.config import Config
from prefork.master.children import Children
from prefork.master.file_watch import WatcherProcess
from prefork.master.generation import Generation
from prefork.master.master_record import AuxiliaryRecord
from prefork.master.memory_limit import MemoryLimit
from prefork.master.restart_schedule import RestartSchedule
from prefork.pool import MasterState, Pool, facts
from prefork.unix.poller import Poller
from prefork.unix.time_zone import local_zone
from prefork.wire.watcher_messages import FilesChanged


class PlannedRestarts:
    """Runs the schedule, the file watcher and the memory limit.

    ``add_fact``: takes facts for the pool. ``reload``: reloads as on SIGHUP. ``find_obstacle``:
    returns why no worker can have an heir beside it. ``enter_child``: called first in the process
    of the watcher.
    """

    def __init__(
        self,
        poller: Poller,
        children: Children,
        pool: Pool,
        logger: logging.Logger,
        add_fact: Callable[[facts.Fact], None],
        reload: Callable[[], object],
        find_obstacle: Callable[[Config], str],
        enter_child: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._logger = logger
        self._add_fact = add_fact
        self._reload = reload
        self._find_obstacle = find_obstacle
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
        """Do what is due by the settings in force."""
        if self._is_paused:
            return
        config = in_force.config
        self._memory_limit.run_due(config)
        if (expression := self._schedule.pop_due(config.cron)) is not None:
            self._recycle(config, f"--cron {expression}")
        self._watcher.ensure_running(in_force.watched)
        if self._wants_reload and self._pool.state is not MasterState.RELOADING:
            self._wants_reload = False
            self._reload()

    def _recycle(self, config: Config, why: str) -> None:
        if obstacle := self._find_obstacle(config):
            self._logger.warning("not recycling for %s: %s", why, obstacle)
        else:
            self._add_fact(facts.RecycleRequested(why))

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which ``run_due`` is due although nothing happens."""
        if self._is_paused:
            return None
        due = [self._memory_limit.next_deadline(), self._watcher.next_deadline()]
        if (patience := self._schedule.seconds_to_next_check()) is not None:
            due.append(monotonic() + patience)
        return min((each for each in due if each is not None), default=None)

    @property
    def _is_paused(self) -> bool:
        """Return whether nothing is checked: before the first worker serves, and while stopping."""
        return self._pool.is_stopping or self._pool.state is MasterState.STARTING

    def describe(self) -> dict[str, Any]:
        """Return the time of the next ``--cron`` for ``prefork show``; empty: there is none."""
        if (planned := self._schedule.next_due) is None:
            return {}
        at, expression = planned
        return {"next_restart": {"at": at.timestamp(), "cron": expression}}

    def records(self) -> list[AuxiliaryRecord]:
        """Return what the master holds of the watcher; empty: none runs."""
        return self._watcher.records()

    def knows_pid(self, pid: int) -> bool:
        """Return whether ``pid`` is the watcher."""
        return self._watcher.knows_pid(pid)

    def close_copy(self) -> None:
        """Close the copies of the watcher's descriptors, in a child."""
        self._watcher.close_copy()

    def close(self) -> None:
        """End the watcher, at the end of the master."""
        self._watcher.close()
