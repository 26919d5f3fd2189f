"""Write the figures that a program reports into its row of the scoreboard.

The program sends them to its notify socket (wire/figures_message.py). All that shows figures reads
the rows, so those of a program are found where those of a Python app are.
"""

import math
from array import array
from collections.abc import Sequence

from prefork.unix.process_tree import read_process
from prefork.unix.scoreboard import BEAT, DUE, SEQUENCE, UNCOUNTED, Row
from prefork.wire.figure_totals import MAX_SENDERS, FigureTotals
from prefork.wire.figures_message import ReportedFigures
from prefork.wire.row_formulas import IDLE_BEAT_INTERVAL, RATE_TIME_CONSTANT
from prefork.wire.scoreboard import (
    ALIVE_FIELDS,
    CONNECTION_FIELDS,
    FIELD_INDEX,
    HISTOGRAM_INDEX,
    NOTHING_COUNTED,
    REQUEST_FIELDS,
    uncounted_bits,
)

CHECK_INTERVAL = 5.0
"""Seconds between two looks at which processes of a program have ended."""

_FLOATS = ("took", "oldest")
_RATE = FIELD_INDEX["rate"]
_OLDEST = FIELD_INDEX["oldest"]


class FiguresWriter:
    """The figures of one program. ``row``: its row, in which it reports nothing yet."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._totals = FigureTotals()
        self._requests = 0
        """The requests that the rate was computed with."""
        self._reported_at: float | None = None
        self._next_check_at = 0.0
        self._complaints: set[str] = set()
        """The kinds of complaints that were made; there is one for each variable, and one more."""
        row.counts[UNCOUNTED] = NOTHING_COUNTED

    def knows_sender(self, pid: int) -> bool:
        """Return whether a process has reported, and did not end since as far as is known."""
        return self._totals.has_sender(pid)

    def add(self, pid: int, figures: ReportedFigures, now: float) -> str:
        """Add what the process ``pid`` reported; return a complaint for the log, or "".

        Each kind of complaint is returned once. ``now``: monotonic, in seconds.
        """
        totals = self._totals
        if totals.senders and now >= self._next_check_at:
            self._next_check_at = now + CHECK_INTERVAL
            totals.keep_living(_is_alive)
        if not totals.add(pid, figures):
            return self._complain_once(
                f"more than {MAX_SENDERS} of its processes and threads report figures; those of "
                "the others are not counted"
            )
        self._write(now)
        if figures.malformed:
            names = ", ".join(figures.malformed)
            return self._complain_once(f"its process {pid} reports a malformed {names}")
        return ""

    def _complain_once(self, text: str) -> str:
        kind = text.rpartition(" ")[2]
        if kind in self._complaints:
            return ""
        self._complaints.add(kind)
        return text

    def _write(self, now: float) -> None:
        counts, floats, totals = self._row.counts, self._row.floats, self._totals
        fields = totals.fields()
        counts[SEQUENCE] += 1
        for name, number in fields.items():
            if name in _FLOATS:
                floats[FIELD_INDEX[name]] = number
            else:
                counts[FIELD_INDEX[name]] = int(number)
        if "oldest" in fields:
            # The row has the moment when it began.
            floats[_OLDEST] = now - fields["oldest"] if fields["oldest"] else 0.0
        counts[HISTOGRAM_INDEX : HISTOGRAM_INDEX + len(totals.times)] = _as_words(totals.times)
        self._write_rate(int(fields.get("requests", 0)), now)
        # A report is due each second while a figure changes; without one the rate is outdated.
        floats[BEAT], floats[DUE] = now, now + IDLE_BEAT_INTERVAL
        counts[UNCOUNTED] = self._uncounted()
        counts[SEQUENCE] += 1

    def _write_rate(self, requests: int, now: float) -> None:
        """Write requests a second, as a Python worker does (worker/monitor/stats.py)."""
        floats = self._row.floats
        if self._reported_at is None:
            self._reported_at, self._requests = now, requests
        elif now > self._reported_at:
            passed, new = now - self._reported_at, requests - self._requests
            share = 1 - math.exp(-passed / RATE_TIME_CONSTANT)
            floats[_RATE] += (new / passed - floats[_RATE]) * share
            self._reported_at, self._requests = now, requests

    def _uncounted(self) -> int:
        known = self._totals.known | ({"rate"} if "requests" in self._totals.known else set())
        measured = {*CONNECTION_FIELDS, *REQUEST_FIELDS, *ALIVE_FIELDS}
        return uncounted_bits(measured - known)


def _as_words(counts: Sequence[int]) -> memoryview:
    return memoryview(array("Q", counts))


def _is_alive(pid: int) -> bool:
    found = read_process(pid)
    return found is not None and not found.is_dead
