"""The helpers that a worker of any interface has, from before the import of its app to its end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefork.worker.background_work import BackgroundWork
    from prefork.worker.fork_hooks import ForkHooks
    from prefork.worker.monitor.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Companions:
    """The watchdog, the fork hooks and the background work of one worker."""

    watchdog: "Watchdog"
    hooks: "ForkHooks"
    background_work: "BackgroundWork"
