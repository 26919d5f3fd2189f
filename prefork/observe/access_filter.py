"""Leave requests out of the access log, by path, status and User-Agent.

Design
------
- **Without patterns the function that writes a line is used itself,** so that a log without them
  pays nothing.
"""

from collections.abc import Callable, Sequence

from prefork.config.access_skip import SkipPattern
from prefork.http.exchange import Exchange

LogRequest = Callable[[Exchange], None]


def filter_requests(write: LogRequest, skip: Sequence[SkipPattern]) -> LogRequest:
    """Return a function that passes a request on to ``write`` unless a pattern matches it."""
    if not skip:
        return write
    tests = [(each.path.encode(), each.statuses, each.agent.encode()) for each in skip]
    has_agents = any(agent for _, _, agent in tests)

    def write_unless_skipped(exchange: Exchange) -> None:
        request = exchange.request
        path, status, sent = request.path, exchange.status, b""
        if has_agents:
            sent = b" ".join(value for name, value in request.headers if name == b"user-agent")
        for prefix, statuses, agent in tests:
            if (
                path.startswith(prefix)
                and (not statuses or status in statuses)
                and (not agent or agent in sent.lower())
            ):
                return
        write(exchange)

    return write_unless_skipped
