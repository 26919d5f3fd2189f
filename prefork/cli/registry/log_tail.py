"""The last records of an app's logs, as they come: a pane shows a few of them."""

from collections import deque
from itertools import chain

from prefork.cli.registry.log_sources import RecordFilter, open_sources, sort_by_time
from prefork.observe.log_records import Record
from prefork.unix.home import RegistryEntry

KEPT = 200
EVERYTHING = RecordFilter(frozenset(), None, None, "")


class LogTail:
    """Of one app: what its master and its workers say, merged by time."""

    def __init__(self, app: RegistryEntry) -> None:
        self._sources = open_sources(app, EVERYTHING, [])
        last = chain.from_iterable(source.last_records(KEPT) for source in self._sources)
        self._kept = deque((one.record for one in sort_by_time(last)), KEPT)

    def read(self) -> list[Record] | None:
        """With those that came since the last look; None: it logs to no file."""
        came = [one for source in self._sources for piece in source.new_records() for one in piece]
        self._kept.extend(one.record for one in sort_by_time(came))
        return list(self._kept) if self._sources else None
