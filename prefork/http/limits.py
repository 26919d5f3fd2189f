"""The limits on size and time of HTTP and WebSocket connections, and their other settings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """Settings of WebSockets. Times in seconds.

    ``ping_interval``: time between two pings; ``ping_timeout``: how long a ping may stay
    unanswered; None: no pings, no timeout. ``close_timeout``: how long the closing handshake may
    take. ``max_size``: bytes of a message, None: no limit. ``max_queue``: messages that may wait
    for the app. ``compression``: accept permessage-deflate (RFC 7692).
    """

    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    close_timeout: float = 5.0
    max_size: int | None = 16 * 1024 * 1024
    max_queue: int = 32
    compression: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of HTTP. Sizes in bytes, times in seconds; None: no limit, or no deadline.

    ``line``: size of a request line. ``headers``: number of header fields; ``header_size``: their
    size together. ``body``: size of a request body. ``body_memory``: memory of a worker for spooled
    bodies. ``keepalive``: how long an idle connection stays open, 0: not at all.
    ``header_timeout``: for a request head to arrive. ``body_timeout``: between two pieces of a
    body. ``send_timeout``: for the client to take any of its response. ``request``: for the app to
    answer. ``linger``: how long an idle connection stays open when the worker drains.
    ``body_rate``: minimum bytes of a body per second, once it has been arriving for a while.
    ``requests``: maximum number on one connection. ``concurrency``: maximum number in progress in
    a worker. ``underscores``: treatment of field names with an underscore: drop, refuse or allow.
    ``server``: value of the Server field of responses; empty: none.
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
