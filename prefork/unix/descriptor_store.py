"""The descriptor store of systemd: listening sockets that stay open when the master crashes.

systemd keeps a copy of each stored socket (FDSTORE=1, sd_pid_notify_with_fds(3)), and passes it to
the next master of the service as it passes those of socket activation, with the name under which it
was stored. Connections that wait in the queue of a socket are then accepted by the next master.
Requests in flight are lost with the workers, which systemd ends together with a crashed master.

Design
------
- **Only where systemd says that it has a store** ($FDSTORE): each message to a service without one
  would be a warning in its journal. Versions before 254 do not set the variable, so the shipped
  unit does.
- **The name says for which address a socket was opened,** as that of a listener that one master
  hands to the next (``listener_handover.py``): ``localhost:8000`` must be found again, and the
  address of the socket itself is 127.0.0.1. Names of socket units do not begin like this one.
- **FDPOLL=0:** systemd would otherwise drop a socket on which it sees a hang-up.
- **Sockets of socket activation are not stored,** because systemd has them anyway.
- **A socket leaves the store when the master closes it,** at a reload that changes ``bind``. A
  client is to be refused then, not to wait in a queue that no process reads.
"""

import os
import re
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from urllib.parse import quote, unquote

from prefork.config.addresses import InheritedSocket, parse_address
from prefork.unix.listeners import Listener
from prefork.unix.systemd import SystemdNotifier

_PREFIX = "prefork-"
_NAME = re.compile(r"prefork-(?:(\d+)-(\d+))?-(.+)")
_MAX_NAME = 255
"""The length of a name that systemd accepts (FDNAME= in sd_notify(3))."""


def stored_name(listener: Listener) -> str:
    """Return the name of a listener in the store: the file of its socket, and its address."""
    inode = "-".join(map(str, listener.inode or ()))
    return f"{_PREFIX}{inode}-{quote(str(listener.address), safe='')}"


def is_stored_name(name: str) -> bool:
    """Return whether a passed descriptor comes from the store of a master."""
    return name.startswith(_PREFIX) and _NAME.fullmatch(name) is not None


def _take_listeners(passed: Mapping[int, str]) -> list[Listener]:
    """Return the listeners that the master before stored; other descriptors are closed."""
    found = [_rebuild(fd, name) for fd, name in passed.items()]
    return [listener for listener in found if listener is not None]


def _rebuild(fd: int, name: str) -> Listener | None:
    """Return the listener that a stored descriptor is; None, and it is closed, if it is none."""
    match = _NAME.fullmatch(name)
    assert match is not None, "is_stored_name was asked"
    device, inode, address = match.groups()
    try:
        opened = socket.socket(fileno=fd)
    except OSError:
        with suppress(OSError):
            os.close(fd)  # it is no socket
        return None
    try:
        if not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError("it does not listen")
        wanted = parse_address(unquote(address))
    except (OSError, ValueError):
        opened.close()
        return None
    os.set_inheritable(fd, False)
    return Listener(opened, wanted, (int(device), int(inode)) if device else None)


class DescriptorStore:
    """The listeners that this master keeps in the store of systemd.

    The variable FDSTORE is removed from ``environ``. ``passed``: the names of the descriptors that
    systemd passed from its store. ``taken_over``: the listeners that they are. ``notifier``: sends
    them, and the other notifications of this master.
    """

    def __init__(
        self,
        environ: MutableMapping[str, str],
        notifier: SystemdNotifier,
        passed: Mapping[int, str],
    ) -> None:
        limit = environ.pop("FDSTORE", "")
        self._limit = int(limit) if re.fullmatch("[0-9]{1,6}", limit) else 0
        self.notifier = notifier
        self.taken_over = _take_listeners(passed)
        self._names = set(passed.values())
        self._known: list[Listener] = []

    @property
    def is_available(self) -> bool:
        """Return whether systemd keeps descriptors for this service (FileDescriptorStoreMax=)."""
        return self._limit > 0

    def update(self, listeners: list[Listener]) -> None:
        """Store the listeners that are new, and remove those that are not among them any more."""
        if not self._limit or listeners == self._known:
            return
        self._known = listeners
        wanted: dict[str, list[Listener]] = {}
        for listener in listeners:
            name = stored_name(listener)
            if not isinstance(listener.address, InheritedSocket) and len(name) <= _MAX_NAME:
                wanted.setdefault(name, []).append(listener)
        for name in self._names - wanted.keys():
            self.notifier.remove_stored(name)
        for name in wanted.keys() - self._names:
            for listener in wanted[name]:
                self.notifier.store(name, listener.socket.fileno())
        self._names = set(wanted)
