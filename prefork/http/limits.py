"""How much and how long HTTP may take, and what else is settable about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """``ping_interval``, ``ping_timeout`` and ``max_size`` None: none."""

    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    close_timeout: float = 5.0
    max_size: int | None = 16 * 1024 * 1024
    max_queue: int = 32
    compression: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds; None: no limit, or no deadline.

    ``body_rate``: least bytes of a body a second, once it has been arriving for a while.
    ``requests``: most on one connection. ``concurrency``: most at work in a worker.
    ``underscores``: what becomes of field names with one: drop, refuse or allow. ``server``: the
    Server field of responses; empty: none.
    """

    line: int = 8192
    headers: int = 100
    header_size: int = 32768
    body: int | None = None
    body_memory: int = 12 * 1024 * 1024
    keepalive: float = 75.0
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    send_timeout: float = 60.0
    request: float | None = 30.0
    linger: float = 1.0
    websocket: WebSocketLimits = WebSocketLimits()
    body_rate: int | None = None
    requests: int | None = None
    concurrency: int | None = None
    underscores: str = "drop"
    server: str = ""
