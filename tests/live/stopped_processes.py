"""Processes that a test stops, to choose the order in which they see events."""

import re
import signal
from pathlib import Path

import psutil

from tests.live.harness import wait_for


def stop_process(process: psutil.Process) -> None:
    """Stop a process, and wait until it is stopped: of two signals that arrive together, the one
    with the lower number comes first, and SIGTERM is lower than SIGSTOP."""
    process.suspend()
    wait_for(lambda: process.status() == psutil.STATUS_STOPPED, "the process is stopped")


def has_pending(process: psutil.Process, signum: signal.Signals) -> bool:
    """Return whether this signal waits for a stopped process (proc_pid_status(5))."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (pending,) = re.findall(r"^ShdPnd:\s*(\w+)", status, re.MULTILINE)
    return bool(int(pending, 16) >> (signum - 1) & 1)
