"""The last records of an app's logs, as they come: a pane shows a few of them."""

from collections import deque
from itertools import chain

from prefork.cli.registry.log_sources import RecordFilter, open_sources, sort_by_time
from prefork.observe.log_records import Record
from prefork.unix.home import RegistryEntry

MAX_RECORDS = 200
ALL_RECORDS = RecordFilter(frozenset(), None, None, "")


class LogTail:
    """Of one app: what its master and its workers say, merged by time."""

    def __init__(self, app: RegistryEntry) -> None:
        self._sources = open_sources(app, ALL_RECORDS, [])
        last = chain.from_iterable(source.last_records(MAX_RECORDS) for source in self._sources)
        self._records = deque((each.record for each in sort_by_time(last)), MAX_RECORDS)

    def read(self) -> list[Record] | None:
        """With those that came since the last look; None: it logs to no file."""
        new = [
            each for source in self._sources for records in source.new_records() for each in records
        ]
        self._records.extend(each.record for each in sort_by_time(new))
        return list(self._records) if self._sources else None
