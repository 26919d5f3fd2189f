"""The last records of an app's logs, and those that are added: for the log pane of ``monit``."""

from collections import deque
from itertools import chain

from prefork.cli.registry.log_sources import RecordFilter, open_sources, sort_by_time
from prefork.observe.log_records import Record
from prefork.unix.registry_entry import RegistryEntry

MAX_RECORDS = 200
ALL_RECORDS = RecordFilter(frozenset(), None, None, "")


class LogTail:
    """The last log records of an app's master and workers, merged by time."""

    def __init__(self, app: RegistryEntry) -> None:
        self._sources = open_sources(app, ALL_RECORDS, [])
        last = chain.from_iterable(source.last_records(MAX_RECORDS) for source in self._sources)
        self._records = deque((each.record for each in sort_by_time(last)), MAX_RECORDS)

    def read(self) -> list[Record] | None:
        """Return the last records, with those added since the last call.

        None: the app logs to no file.
        """
        new = [
            each for source in self._sources for records in source.new_records() for each in records
        ]
        self._records.extend(each.record for each in sort_by_time(new))
        return list(self._records) if self._sources else None
