"""Add up the figures that the processes of one program report. PURE.

A program may answer requests in several processes and threads: the workers of Node's ``cluster``
module or of Puma below one worker of prefork. Each reports its own counts (figures_message.py), and
those of processes that ended stay in the sums.

Design
------
- **A sum grows by what a sender's count grew.** So the end of a sender subtracts nothing, and a
  message costs the same however many senders there are.
- **A count that falls is that of another process with the same pid,** as a counter reset in
  Prometheus: all of it is new.
- **The number of senders is bounded.** A program that starts a process for each request would
  otherwise fill the memory of the master. Senders that ended make room.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prefork.wire.figures_message import CLASSES, COUNTERS, GAUGES, Number, ReportedFigures
from prefork.wire.histogram import BUCKET_COUNT
from prefork.wire.scoreboard import MAX_COUNT, MAX_TIME, TIMES

MAX_SENDERS = 64
"""Processes and threads of one program whose figures are added up."""

_LARGEST = {"took": MAX_TIME}
"""The largest sum of a field, where it is another than MAX_COUNT."""


@dataclass(slots=True)
class _Sender:
    """The last figures of one sender: fields by name, and counts by bucket."""

    fields: dict[str, Number] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)

    def has_more_than(self, figures: ReportedFigures) -> bool:
        """Return whether a count in ``figures`` is below the last one: another process sent it."""
        return any(
            number < self.fields.get(name, 0)
            for name, number in figures.fields.items()
            if name in COUNTERS
        ) or any(
            count < self.times.get(bucket, 0) for bucket, count in (figures.times or {}).items()
        )


class FigureTotals:
    """The sums of one program. ``times``: requests by bucket of their duration.

    ``known``: the names of the fields that a sender has reported, and ``times``.
    """

    def __init__(self) -> None:
        self.times = [0] * BUCKET_COUNT
        self.known: set[str] = set()
        self._counters: dict[str, Number] = {}
        self._senders: dict[tuple[int, int], _Sender] = {}

    def add(self, pid: int, figures: ReportedFigures) -> bool:
        """Add the figures that a process reported; return False if it is one sender too many."""
        key = (pid, figures.thread)
        sender = self._senders.get(key)
        if sender is None and len(self._senders) >= MAX_SENDERS:
            return False
        if sender is None or sender.has_more_than(figures):
            sender = self._senders[key] = _Sender()
        for name in COUNTERS:
            if name in figures.fields:
                more = figures.fields[name] - sender.fields.get(name, 0)
                summed = self._counters.get(name, 0) + more
                self._counters[name] = min(summed, _LARGEST.get(name, MAX_COUNT))
        times = figures.times or {}
        for bucket, count in times.items():
            more = count - sender.times.get(bucket, 0)
            self.times[bucket] = min(self.times[bucket] + more, MAX_COUNT)
        sender.fields.update(figures.fields)
        sender.times.update(times)
        self._note_known(figures)
        return True

    def _note_known(self, figures: ReportedFigures) -> None:
        self.known.update(figures.fields)
        if not self.known.isdisjoint(CLASSES):
            self.known.update(CLASSES)
        if figures.times is not None:
            self.known.add(TIMES)

    def keep_living(self, is_alive: Callable[[int], bool]) -> None:
        """Forget the senders whose process ended, and with them what was in flight there."""
        self._senders = {key: each for key, each in self._senders.items() if is_alive(key[0])}

    def has_sender(self, pid: int) -> bool:
        """Return whether the process, or a thread of it, has reported."""
        return any(pid == known for known, _ in self._senders)

    @property
    def senders(self) -> int:
        """The number of processes and threads that are added up."""
        return len(self._senders)

    def fields(self) -> Mapping[str, Number]:
        """Return the sums of the fields that were reported.

        ``oldest``: the age of the oldest request in flight of all senders.
        """
        sums = dict(self._counters)
        for name in GAUGES:
            if name in self.known:
                now = [each.fields[name] for each in self._senders.values() if name in each.fields]
                sums[name] = max(now, default=0.0) if name == "oldest" else min(sum(now), MAX_COUNT)
        return sums
