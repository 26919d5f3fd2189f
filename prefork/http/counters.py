"""Counters of a worker's requests, from which its statistics are made.

Design
------
- **The accounting of a request is two stores of its load, two looks at the clock and one append**
  (0.3 µs). All other figures are computed by the tick from these (worker/monitor/stats.py): a
  histogram or a rate that is kept for each request would cost each request what one tick can do for
  all of them.
"""

from collections import defaultdict


class Counters:
    """Counts of the requests of one worker.

    ``oldest_started_at`` and ``oldest_app_call_at`` are as of the last tick.
    """

    def __init__(self) -> None:
        self.requests = 0
        """Requests that ended, with or without a complete response."""
        self.body_bytes_sent = 0
        self.response_times: defaultdict[int, list[float]] = defaultdict(list)
        """Durations of the latest requests in seconds, by the status of their responses; status 0:
        there was no response. The reader of the statistics clears it; otherwise it grows."""
        self.oldest_started_at = 0.0
        """When the longest of the requests in flight began, by the exact clock; 0: none is in
        flight."""
        self.oldest_app_call_at = 0.0
        """Since when the app has owed a response for the longest time, by the coarse clock; the
        time of the tick: it owes none."""
