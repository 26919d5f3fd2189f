"""The last records of an app's logs, as they come: a pane shows a few of them."""

from collections import deque
from itertools import chain

from prefork.cli.verbs.logs import Wanted, by_time, sources_of
from prefork.observe.log_records import Record
from prefork.unix.home import Entry

KEPT = 200
EVERYTHING = Wanted(frozenset(), None, None, "")


class Recent:
    """Of one app: what its master and its workers say, merged by time."""

    def __init__(self, app: Entry) -> None:
        self._sources = sources_of(app, EVERYTHING, [])
        last = chain.from_iterable(source.last(KEPT) for source in self._sources)
        self._kept = deque((one.record for one in by_time(last)), KEPT)

    def look(self) -> list[Record] | None:
        """With those that came since the last look; None: it logs to no file."""
        came = [one for source in self._sources for piece in source.more() for one in piece]
        self._kept.extend(one.record for one in by_time(came))
        return list(self._kept) if self._sources else None
