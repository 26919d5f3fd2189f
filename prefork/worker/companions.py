"""What accompanies a worker of any interface, from before its app is imported to its end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefork.worker.background_work import BackgroundWork
    from prefork.worker.fork_hooks import ForkHooks
    from prefork.worker.monitor.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Companions:
    """One of each for a worker."""

    watchdog: "Watchdog"
    hooks: "ForkHooks"
    background_work: "BackgroundWork"
