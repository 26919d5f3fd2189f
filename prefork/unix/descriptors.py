"""The open descriptors of this process: their limit (getrlimit(2)), and the sockets among them.

Design
------
- **A worker raises its soft limit to the hard one** and keeps the last 64 descriptors for the app:
  the app would be the first to fail without any. At its limit a worker stops accepting, and further
  connections wait in the queue (worker/http_worker.py).
"""

import os
import resource
import socket
from collections.abc import Collection, Iterable
from socket import socket as Socket  # noqa: N812 - gevent's would set O_NONBLOCK on what it meets
from typing import Any

MAX_DESCRIPTORS = 1 << 20
"""The soft limit that prefork sets at most: some programs that an app may start loop over all
descriptors that they could have open."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one, at most to 2**20.

    The default soft limit of 1024 exists for programs that use select(2); prefork uses epoll.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def replace_with_devnull(descriptors: Iterable[int]) -> None:
    """Put /dev/null in place of each descriptor; negative ones are skipped.

    The files and sockets stay open in other processes. An epoll instance that is shared with these
    processes goes on watching them (epoll(7), Q6).
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for fd in descriptors:
            if fd >= 0:
                os.dup2(null, fd, inheritable=False)
    finally:
        os.close(null)


def find_bound_sockets(names: Collection[Any], listening_only: bool = False) -> list[int]:
    """Return this process's sockets that are bound to one of ``names`` (getsockname(2)).

    These are listeners and the connections that they accepted; a wildcard address among ``names``
    matches every address with its port. ``listening_only`` leaves the connections out.
    """
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            sock = Socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
        except OSError:
            continue  # no socket, or the descriptor of /proc/self/fd itself
        try:
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if (listens or not listening_only) and _is_among(sock.getsockname(), names):
                found.append(fd)
        except OSError:
            pass  # a kind of socket without this option
        finally:
            sock.detach()
    return found


def _is_among(own: Any, names: Collection[Any]) -> bool:
    """Return whether the socket address ``own`` is among ``names``, or matches a wildcard there."""
    if own in names:
        return bool(own)  # the empty name is that of every client's unix socket
    if not isinstance(own, tuple) or len(own) < 2:
        return False
    return any(
        isinstance(name, tuple) and name[0] in ("0.0.0.0", "::") and name[1] == own[1]
        for name in names
    )
