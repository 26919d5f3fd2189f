"""The interfaces of systemd for a service: sd_notify(3) and socket activation (sd_listen_fds(3)).

Design
------
- **STATUS says "reload failed" without the reason,** and so do process titles: every user may read
  them (proc(5)), and the last line of an exception may contain a password. The registry (mode
  0700), the log and the control socket have the reason.
"""

import os
import re
import socket
import time
from collections.abc import MutableMapping, Sequence

from prefork.printable import printable_line

LISTEN_FDS_START = 3
"""The first descriptor that systemd passes (SD_LISTEN_FDS_START)."""
STOP_SLACK = 5.0
"""Seconds that a stop may take beyond the stop delay and the kill timeout."""

_NOTIFY_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_LISTEN_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class SystemdNotifier:
    """Send notifications to the service manager; without one all methods do nothing.

    The variables are removed from ``environ``, because workers must not notify for the service.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        found = {name: environ.pop(name, "") for name in _NOTIFY_VARIABLES}
        path = found["NOTIFY_SOCKET"]
        # A leading @ stands for the NUL of an abstract address.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_interval = _watchdog_interval(found)
        self.watchdog_due_at = None if self.watchdog_interval is None else time.monotonic()

    @property
    def is_used(self) -> bool:
        """Return whether a service manager started this process and waits for notifications."""
        return bool(self._address)

    def notify_ready(self) -> None:
        """Send READY=1: the service accepts requests."""
        self._send("READY=1")

    def notify_reloading(self) -> None:
        """Send RELOADING=1; Type=notify-reload compares the time with that of its own signal."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def notify_stopping(self, seconds: float) -> None:
        """Send STOPPING=1: the service is going down, which may take this long.

        EXTEND_TIMEOUT_USEC counts only beyond TimeoutStopSec=, which it never shortens.
        """
        self._send("STOPPING=1")
        self._send(f"EXTEND_TIMEOUT_USEC={int((seconds + STOP_SLACK) * 1_000_000)}")

    def notify_status(self, text: str) -> None:
        """Send one line for ``systemctl status``.

        Line ends are escaped: the next line would be another variable of sd_notify(3), such as
        MAINPID.
        """
        self._send("STATUS=" + printable_line(text))

    def watchdog(self) -> None:
        """Send WATCHDOG=1: the master is alive."""
        self._send("WATCHDOG=1")

    def feed_watchdog(self) -> None:
        """Send WATCHDOG=1 if the service manager asked for it and the interval is over."""
        now = time.monotonic()
        if self.watchdog_interval is not None and now >= (self.watchdog_due_at or 0.0):
            self.watchdog_due_at = now + self.watchdog_interval
            self.watchdog()

    def notify_main_pid(self, pid: int) -> None:
        """Send MAINPID: the pid of the main process after it went to the background."""
        self._send(f"MAINPID={pid}")

    def store(self, name: str, fd: int) -> None:
        """Store a copy of a descriptor under a name, see ``descriptor_store.py``."""
        self._send(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", [fd])

    def remove_stored(self, name: str) -> None:
        """Remove the descriptors of this name from the store."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def _send(self, message: str, fds: Sequence[int] = ()) -> None:
        """Send one datagram to the service manager, without waiting."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                data = message.encode("utf-8", "replace")
                sock.connect(self._address)
                if fds:
                    socket.send_fds(sock, [data], fds)
                else:
                    sock.send(data)
            except OSError:
                # A service manager that restarts or lags must not take the service down with it.
                pass


def _watchdog_interval(found: MutableMapping[str, str]) -> float | None:
    """Return half of the interval that systemd allows, in seconds; None if it has no watchdog.

    The half is recommended by sd_watchdog_enabled(3).
    """
    usec, pid = found["WATCHDOG_USEC"], found["WATCHDOG_PID"]
    # WATCHDOG_PID names the process that is meant; a child inherits the variables.
    if not usec.isdigit() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2_000_000


def inherited_descriptors(environ: MutableMapping[str, str]) -> dict[int, str]:
    """Return the name of each descriptor that systemd passes to this process, by its number.

    A name is that of the socket unit, or the one under which the process before stored it. The
    variables leave ``environ``.
    """
    found = {name: environ.pop(name, "") for name in _LISTEN_VARIABLES}
    is_ours = found["LISTEN_PID"] == str(os.getpid())
    if not is_ours or not re.fullmatch("[0-9]{1,5}", found["LISTEN_FDS"]):
        return {}
    names = found["LISTEN_FDNAMES"].split(":")
    numbers = range(LISTEN_FDS_START, LISTEN_FDS_START + int(found["LISTEN_FDS"]))
    return {fd: names[at] if at < len(names) else "" for at, fd in enumerate(numbers)}
