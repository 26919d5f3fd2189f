"""When a worker that drains ends the calls of an ASGI app. PURE.

Design
------
- **The kill timeout is the whole time, to SIGKILL,** because service managers and containers are
  told a time for the whole stop. The end of it belongs to cancelled calls, whose ``finally`` blocks
  run, and to the lifespan shutdown. Rejected: a drain that lasts for the kill timeout with the
  shutdown after it, because a stop would take longer than the operator allows.
- **uvicorn, hypercorn and gunicorn give requests the whole of their graceful timeout.** Their flags
  are taken for a kill timeout that leaves requests alone for that long (``kill_timeout_for``).
"""

from dataclasses import dataclass

LIFESPAN_SHUTDOWN_TIME = 5.0
"""Seconds of the kill timeout that are kept for the lifespan shutdown; at most a quarter of it."""

CANCELLATION_GRACE = 2.0
"""Seconds from the disconnect to the cancellation; at most an eighth of the kill timeout."""


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """The schedule of a drain, in seconds from the stop signal.

    ``stream``: how long a response may stream before its app gets the disconnect. ``disconnect``:
    when all other calls get it. ``cancel``: when all calls that still run are cancelled. ``grace``:
    seconds from a disconnect to a cancellation that comes before ``cancel``.
    """

    stream: float
    disconnect: float
    cancel: float
    grace: float


def drain_times(kill_timeout: float, stream_timeout: float) -> DrainTimes:
    """Compute the schedule from two options, in seconds. Their defaults, 30 and 10, make 10, 23,
    25, 2."""
    cancel = kill_timeout - min(LIFESPAN_SHUTDOWN_TIME, kill_timeout / 4)
    grace = min(CANCELLATION_GRACE, kill_timeout / 8)
    disconnect = cancel - grace
    return DrainTimes(min(stream_timeout, disconnect), disconnect, cancel, grace)


def kill_timeout_for(seconds: float) -> float:
    """Return the kill timeout that gives calls this many seconds before the disconnect."""
    # Each of the two pauses is either fixed or a share, and the shorter one of these counts.
    return min(
        seconds + LIFESPAN_SHUTDOWN_TIME + CANCELLATION_GRACE,
        (seconds + LIFESPAN_SHUTDOWN_TIME) / (1 - 1 / 8),
        (seconds + CANCELLATION_GRACE) / (1 - 1 / 4),
        seconds / (1 - 1 / 4 - 1 / 8),
    )
