"""What systemd offers its services: sd_notify(3) and socket activation (sd_listen_fds(3))."""

import os
import socket
import time
from collections.abc import MutableMapping

from prefork.printable import printable_line

LISTEN_FDS_START = 3
_NOTIFY_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_LISTEN_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class SystemdNotifier:
    """The line to the service manager; silent when there is none.

    The variables are taken out of ``environ``: workers do not speak for the service.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        found = {name: environ.pop(name, "") for name in _NOTIFY_VARIABLES}
        path = found["NOTIFY_SOCKET"]
        # A leading @ stands for the NUL of an abstract address.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_interval = _watchdog_interval(found)
        self.watchdog_due_at = None if self.watchdog_interval is None else time.monotonic()

    def notify_ready(self) -> None:
        """The service answers."""
        self._send("READY=1")

    def notify_reloading(self) -> None:
        """A reload began; Type=notify-reload compares the time with its own signal."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def notify_stopping(self) -> None:
        """The service is going down."""
        self._send("STOPPING=1")

    def notify_status(self, text: str) -> None:
        """One line for ``systemctl status``. A line end in it would begin the next variable of
        sd_notify(3), such as MAINPID."""
        self._send("STATUS=" + printable_line(text))

    def watchdog(self) -> None:
        """Still alive."""
        self._send("WATCHDOG=1")

    def feed_watchdog(self) -> None:
        """The watchdog, if there is one and it is time."""
        now = time.monotonic()
        if self.watchdog_interval is not None and now >= (self.watchdog_due_at or 0.0):
            self.watchdog_due_at = now + self.watchdog_interval
            self.watchdog()

    def notify_main_pid(self, pid: int) -> None:
        """Who the main process is, after daemonizing."""
        self._send(f"MAINPID={pid}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(message.encode("utf-8", "replace"), self._address)
            except OSError:
                # A service manager that restarts or lags must not take the service down with it.
                pass


def _watchdog_interval(found: MutableMapping[str, str]) -> float | None:
    """Half of what systemd allows, in seconds, as sd_watchdog_enabled(3) recommends."""
    usec, pid = found["WATCHDOG_USEC"], found["WATCHDOG_PID"]
    if not usec.isdigit() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2_000_000


def inherited_sockets(environ: MutableMapping[str, str]) -> list[int]:
    """The descriptors that systemd opened for this process, taken out of ``environ``."""
    found = {name: environ.pop(name, "") for name in _LISTEN_VARIABLES}
    if found["LISTEN_PID"] != str(os.getpid()) or not found["LISTEN_FDS"].isdigit():
        return []
    return list(range(LISTEN_FDS_START, LISTEN_FDS_START + int(found["LISTEN_FDS"])))
