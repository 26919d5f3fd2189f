"""Leave requests out of the access log, by path, status and User-Agent."""

from collections.abc import Callable, Sequence

from prefork.config.access_skip import SkipPattern
from prefork.http.request import RequestHead

IsSkipped = Callable[[RequestHead, int], bool]


def compile_skip_patterns(skip: Sequence[SkipPattern]) -> IsSkipped | None:
    """Return a function that tells of a request and the status of its response whether a pattern
    matches; None: there are no patterns, so that a log without them pays nothing."""
    if not skip:
        return None
    tests = [(each.path.encode(), each.statuses, each.agent.encode()) for each in skip]
    has_agents = any(agent for _, _, agent in tests)

    def is_skipped(request: RequestHead, status: int) -> bool:
        path, sent = request.path, b""
        if has_agents:
            sent = b" ".join(value for name, value in request.headers if name == b"user-agent")
        for prefix, statuses, agent in tests:
            if (
                path.startswith(prefix)
                and (not statuses or status in statuses)
                and (not agent or agent in sent.lower())
            ):
                return True
        return False

    return is_skipped
