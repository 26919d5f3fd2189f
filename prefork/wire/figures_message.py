"""Decode the figures of requests that a program reports to its notify socket. PURE.

A program that answers requests may report its figures as variables of a notification (notify.py),
which is at most 4096 bytes of lines ``NAME=value``:

    X_PREFORK_REQUESTS      requests answered
    X_PREFORK_ACCEPTED      connections accepted
    X_PREFORK_ANSWERED_2XX  requests answered, by the class of their status: 1XX to 5XX
    X_PREFORK_UNANSWERED    requests whose client left before the response began
    X_PREFORK_SENT          bytes of response bodies
    X_PREFORK_TOOK          sum of the durations of all requests in seconds
    X_PREFORK_TIMES         durations by bucket, BUCKET:COUNT,BUCKET:COUNT … (histogram.py)
    X_PREFORK_IN_FLIGHT     requests being answered now
    X_PREFORK_CONNECTIONS   connections open now
    X_PREFORK_OLDEST        age of the oldest request in flight in seconds; 0: none
    X_PREFORK_THREAD        of threads that count apart, the number of the one that reports

All but the last four are counted from the start of the process, or of the thread. Each variable is
optional, and a message may have some of the buckets: the others keep their counts.

Design
------
- **Counts from the start, not since the last message,** as in Prometheus. A message that is lost
  (the queue of a unix datagram socket holds ten) makes a figure late and never wrong, and a sender
  may ignore every error. Rejected: differences, as in statsd; each lost one is missing for ever.
- **Datagrams, not a stream or an HTTP endpoint to scrape.** The program has the socket already, a
  message is written whole or not at all, and the kernel names the process that sent it, so several
  processes of one worker need no number of their own. An endpoint would need a port for each
  worker, and a master that waits for its answers.
- **The names begin with X_,** which sd_notify(3) leaves to others: systemd and every other receiver
  ignore them.
- **A malformed variable is ignored, the others of its message count.** It is named in the log once
  for each worker. It is no reason to replace a worker that serves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from prefork.wire.histogram import BUCKET_COUNT
from prefork.wire.notify import Notification
from prefork.wire.scoreboard import MAX_COUNT, MAX_TIME, TIMES

PREFIX = "X_PREFORK_"

CLASSES = tuple(f"answered_{digit}xx" for digit in "12345")
"""Counted all five as soon as one of them is reported."""

COUNTERS = ("requests", "accepted", *CLASSES, "unanswered", "sent", "took")
"""The fields that only grow while their process lives."""

GAUGES = ("in_flight", "connections", "oldest")
"""The fields that say what is now."""

MAX_THREAD = 9999

Number: TypeAlias = int | float

_THREAD = "thread"
_SECONDS_FIELDS = ("took", "oldest")
"""The fields that are no whole numbers."""

_VARIABLES = {PREFIX + name.upper(): name for name in (*COUNTERS, *GAUGES, TIMES, _THREAD)}
"""The field of the scoreboard that each variable is for."""

_DIGITS = re.compile(r"[0-9]{1,19}")
_DECIMAL = re.compile(r"[0-9]{1,13}(\.[0-9]{0,20})?")


@dataclass(frozen=True, slots=True)
class ReportedFigures:
    """The figures of one message: fields of the scoreboard by name, and counts by bucket.

    ``times``: empty before the first request; None: the message has no histogram. ``malformed``:
    the names of variables that could not be read.
    """

    thread: int = 0
    fields: Mapping[str, Number] = field(default_factory=dict)
    times: Mapping[int, int] | None = None
    malformed: tuple[str, ...] = ()


def decode_figures(said: Notification) -> ReportedFigures | None:
    """Return the figures in a notification; None: it has none."""
    found = {name: said[variable] for variable, name in _VARIABLES.items() if variable in said}
    thread = _parse_count(found.pop(_THREAD, "0"), MAX_THREAD)
    if thread is None:  # without it nothing says whose figures the others are
        return ReportedFigures(malformed=(PREFIX + _THREAD.upper(),))
    text = found.pop(TIMES, None)
    times = None if text is None else _parse_times(text)
    numbers = {name: _parse_number(name, value) for name, value in found.items()}
    wrong = [name for name, number in numbers.items() if number is None]
    if text is not None and times is None:
        wrong.append(TIMES)
    fields = {name: number for name, number in numbers.items() if number is not None}
    if not (fields or wrong) and times is None:
        return None
    malformed = tuple(PREFIX + name.upper() for name in wrong)
    return ReportedFigures(thread, fields, times, malformed)


def _parse_number(name: str, text: str) -> Number | None:
    return _parse_seconds(text) if name in _SECONDS_FIELDS else _parse_count(text, MAX_COUNT)


def _parse_count(text: str, largest: int) -> int | None:
    number = int(text) if _DIGITS.fullmatch(text) else None
    return number if number is not None and number <= largest else None


def _parse_seconds(text: str) -> float | None:
    seconds = float(text) if _DECIMAL.fullmatch(text) else None
    return seconds if seconds is not None and seconds <= MAX_TIME else None


def _parse_times(text: str) -> dict[int, int] | None:
    """Parse ``BUCKET:COUNT,BUCKET:COUNT``; an empty text has no buckets. None: it is malformed."""
    times: dict[int, int] = {}
    for pair in text.split(",") if text else ():
        place, _, number = pair.partition(":")
        bucket, count = _parse_count(place, BUCKET_COUNT - 1), _parse_count(number, MAX_COUNT)
        if bucket is None or count is None:
            return None
        times[bucket] = count
    return times
