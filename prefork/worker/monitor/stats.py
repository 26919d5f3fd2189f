"""The statistics that a worker publishes in its scoreboard row, at each heartbeat.

A request leaves only its time behind (http/server_state.py); all other figures are made of that
here, a few times a second.

Design
------
- **A request costs the scoreboard two stores of its load, two looks at the clock and one append**
  (0.3 µs). The heartbeat makes all other figures from what the requests left behind. The bucket of
  a time is in the upper bits of the double, and C code counts the buckets (wire/histogram.py).
"""

import math
from time import monotonic, process_time

from prefork.http.server_state import ServerState
from prefork.http.tick import TICK_PERIOD
from prefork.unix.scoreboard import Row
from prefork.unix.tcp_info import time_in_queue
from prefork.wire import histogram
from prefork.wire.row_formulas import RATE_TIME_CONSTANT
from prefork.wire.scoreboard import FIELD_INDEX, HISTOGRAM_INDEX

LAG_MEMORY = 1.0
"""Seconds for which the worst lag is published."""

MAX_COUNTED = 2048
"""Times of one heartbeat that are counted one by one. Of more, every second or third … stands for
its neighbours: counting all of them would cost one per cent at a hundred thousand requests a
second."""

QUEUE_TIME_INTERVAL = 0.01
"""Seconds between two questions to the kernel how long a connection has waited."""

_SEQUENCE = FIELD_INDEX["sequence"]
_BEAT = FIELD_INDEX["beat"]
_DUE = FIELD_INDEX["due"]
_REQUESTS = FIELD_INDEX["requests"]
_IN_FLIGHT = FIELD_INDEX["in_flight"]
_CONNECTIONS = FIELD_INDEX["connections"]
_OLDEST = FIELD_INDEX["oldest"]
_UNANSWERED = FIELD_INDEX["unanswered"]
_ACCEPTED = FIELD_INDEX["accepted"]
_ACCEPT_ASKED = FIELD_INDEX["accept_asked"]
_ACCEPT_WAIT = FIELD_INDEX["accept_wait"]
_CLASSES = [_UNANSWERED, *(FIELD_INDEX[f"answered_{digit}xx"] for digit in "12345")]
"""By the first digit of the status; 0: not answered."""
_SENT = FIELD_INDEX["sent"]
_BUSY = FIELD_INDEX["busy"]
_LAG = FIELD_INDEX["lag"]
_TOOK = FIELD_INDEX["took"]
_RATE = FIELD_INDEX["rate"]


class WorkerStats:
    """The statistics of one worker. ``calls_at_once``: calls that its app can run at once; 0: any
    number."""

    def __init__(self, row: Row, calls_at_once: int, now: float) -> None:
        self._counts, self._floats = row.counts, row.floats
        self._calls_at_once = calls_at_once
        self._published_at = self._due_at = self._woken_at = now
        self._was_idle = False
        """True if the worker was idle until the last heartbeat, and the one before had planned with
        that."""
        self._cpu = process_time()
        self._requests = 0
        self._lag = 0.0
        self._lag_until = 0.0
        self._next_queue_time_at = 0.0
        self.busy_share = 0.0
        """Share of the time between the last two heartbeats in which the worker was busy."""
        self.mean_time = 0.0
        """Mean seconds of a request between them; unchanged when none was answered."""
        self.answer_interval = 0.0
        """Seconds from one answer to the next, when some were last given."""
        self.lateness = 0.0
        """Seconds by which the loop was late for the last heartbeat."""

    def count_accepted(self, fd: int) -> None:
        """Count an accepted connection. The kernel is asked how long it had waited, a hundred times
        a second at most."""
        counts = self._counts
        counts[_ACCEPTED] += 1
        now = monotonic()
        if now >= self._next_queue_time_at:
            self._next_queue_time_at = now + QUEUE_TIME_INTERVAL
            waited = time_in_queue(fd)
            if waited is not None:
                counts[_ACCEPT_ASKED] += 1
                self._floats[_ACCEPT_WAIT] += waited

    def publish(self, server: ServerState, now: float, wait: float) -> None:
        """Write all statistics to the scoreboard row. ``now``: time of the loop; the next call
        comes in ``wait`` seconds."""
        counts, floats = self._counts, self._floats
        late = max(0.0, now - self._due_at)
        # A late heartbeat of an idle worker shows when the machine had time for it; no request
        # waited for it.
        self.lateness = 0.0 if self._was_idle else late
        # Odd while the row changes, so that a reader notices a torn row (a seqlock).
        counts[_SEQUENCE] += 1
        took = self._count_times(server)
        floats[_BEAT], floats[_DUE] = now, now + wait
        answered = server.counters.requests - counts[_REQUESTS]
        counts[_REQUESTS] = server.counters.requests
        counts[_IN_FLIGHT] = server.load.requests_in_flight
        counts[_CONNECTIONS] = len(server.connections)
        floats[_OLDEST] = server.counters.oldest_started_at
        counts[_SENT] = server.counters.body_bytes_sent
        floats[_BUSY] += self._busy(now, late, took)
        if answered:
            self.answer_interval = (now - max(self._published_at, self._woken_at)) / answered
        # A lag that is not updated for longer than that would not be recent.
        floats[_LAG] = self._worst_lag(now, late) if wait <= LAG_MEMORY else 0.0
        floats[_RATE] = self._rate(server.counters.requests, now)
        counts[_SEQUENCE] += 1
        self._published_at, self._due_at = now, now + wait
        self._was_idle = wait > TICK_PERIOD

    def resume_after_idle(self, now: float, wait: float) -> None:
        """Note that an idle worker was woken; the next ``publish`` comes in ``wait`` seconds."""
        self._woken_at, self._due_at, self._was_idle = now, now + wait, False

    def _count_times(self, server: ServerState) -> float:
        """Count the times that requests took, empty the server's lists of them, and return their
        sum."""
        if not server.counters.response_times:
            return 0.0
        counts = self._counts
        latest: list[float] = []
        for status, times in server.counters.response_times.items():
            counts[_CLASSES[status // 100]] += len(times)
            latest += times
        server.counters.response_times.clear()
        # Each counted time stands for ``step`` times. The last group may be smaller, for which the
        # first bucket makes up.
        step = len(latest) // MAX_COUNTED + 1
        too_many = -len(latest) % step
        for bucket, count in histogram.count_by_bucket(latest[::step]):
            counts[HISTOGRAM_INDEX + bucket] += count * step - too_many
            too_many = 0
        took = math.fsum(latest)
        self.mean_time = took / len(latest)
        self._floats[_TOOK] += took
        return took

    def _busy(self, now: float, late: float, took: float) -> float:
        """Return the busy seconds since the last heartbeat: the largest of CPU time, the delay of
        the loop, and the time of calls that block."""
        cpu = process_time()
        used, self._cpu = cpu - self._cpu, cpu
        calls = took / self._calls_at_once if self._calls_at_once else 0.0
        passed = now - self._published_at
        busy = min(passed, max(used, late, calls))
        self.busy_share = busy / passed if passed > 0 else 0.0
        return busy

    def _worst_lag(self, now: float, late: float) -> float:
        if late >= self._lag or now > self._lag_until:
            self._lag, self._lag_until = late, now + LAG_MEMORY
        return self._lag

    def _rate(self, requests: int, now: float) -> float:
        passed = now - self._published_at
        if passed <= 0:
            return float(self._floats[_RATE])
        new, self._requests = requests - self._requests, requests
        share = 1 - math.exp(-passed / RATE_TIME_CONSTANT)
        return float(self._floats[_RATE] + (new / passed - self._floats[_RATE]) * share)
