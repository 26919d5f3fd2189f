"""The interfaces of systemd for a service: sd_notify(3) and socket activation (sd_listen_fds(3)).

Design
------
- **STATUS says "reload failed" without the reason,** and so do process titles: every user may read
  them (proc(5)), and the last line of an exception may contain a password. The registry (mode
  0700), the log and the control socket have the reason.
"""

import os
import socket
import time
from collections.abc import MutableMapping

from prefork.printable import printable_line

LISTEN_FDS_START = 3
"""The first descriptor that systemd passes (SD_LISTEN_FDS_START)."""
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

    def notify_ready(self) -> None:
        """Send READY=1: the service accepts requests."""
        self._send("READY=1")

    def notify_reloading(self) -> None:
        """Send RELOADING=1; Type=notify-reload compares the time with that of its own signal."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def notify_stopping(self) -> None:
        """Send STOPPING=1: the service is going down."""
        self._send("STOPPING=1")

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

    def _send(self, message: str) -> None:
        """Send one datagram to the service manager, without waiting."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(message.encode("utf-8", "replace"), self._address)
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


def inherited_sockets(environ: MutableMapping[str, str]) -> list[int]:
    """Return the descriptors that systemd opened for this process; its variables leave
    ``environ``."""
    found = {name: environ.pop(name, "") for name in _LISTEN_VARIABLES}
    if found["LISTEN_PID"] != str(os.getpid()) or not found["LISTEN_FDS"].isdigit():
        return []
    return list(range(LISTEN_FDS_START, LISTEN_FDS_START + int(found["LISTEN_FDS"])))
