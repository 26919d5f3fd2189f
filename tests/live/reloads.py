"""Helpers: reload a server, and check the report of the clients that asked it meanwhile."""

import re
import signal

from tests.live.client_load import Report
from tests.live.harness import Server

MAX_PAUSE = 1.0
"""Seconds that the slowest request may take longer than in the phase "quiet". This is generous,
because other tests run beside it; a server that stops serving during a reload takes longer."""


def assert_nothing_lost(report: Report) -> None:
    """Assert that no request failed, and none took much longer than in the phase "quiet"."""
    print(report)
    assert not report.failures, report
    slowest = max(phase.slowest for phase in report.phases)
    assert slowest < report.phase("quiet").slowest + MAX_PAUSE, report


def reload(server: Server, generation: int) -> None:
    """Reload, and wait until no worker of the generation before ``generation`` is left."""
    server.send(signal.SIGHUP)
    server.wait_log(rf"reloaded to gen {generation} ")
    # A client may keep its old worker for one more request, so old workers may end later.
    gone = re.compile(rf"worker \d+ \(pid \d+, gen {generation - 1}\) gone: reload")
    started = server.count(rf"worker \d+ \(pid \d+, gen {generation - 1}\) ready")
    server.wait_log(gone.pattern, started)
