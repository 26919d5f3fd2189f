"""The files and sockets that this process has open, and how many it may have (getrlimit(2))."""

import os
import resource
import socket
from collections.abc import Collection, Iterable
from socket import socket as Socket  # noqa: N812 - gevent's would set O_NONBLOCK on what it meets
from typing import Any

MAX_DESCRIPTORS = 1 << 20
"""Enough; some programs that an app may start go through all that they could have open."""


def raise_descriptor_limit() -> None:
    """As far as the hard limit allows: the soft one is made for programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def descriptor_limit() -> int:
    """How many it may be."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def replace_with_devnull(descriptors: Iterable[int]) -> None:
    """Put /dev/null in place of each; negative ones are closed already. The files and sockets live
    on in other processes, and an epoll that is shared with these goes on watching them (epoll(7),
    Q6)."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for fd in descriptors:
            if fd >= 0:
                os.dup2(null, fd, inheritable=False)
    finally:
        os.close(null)


def find_bound_sockets(names: Collection[Any], listening_only: bool = False) -> list[int]:
    """This process's sockets whose own address is one of ``names`` (getsockname(2)), or whose port
    is that of a wildcard address among them: listeners, and what they accepted."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            sock = Socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
        except OSError:
            continue  # it is no socket, or was the folder itself
        try:
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if (listens or not listening_only) and _is_among(sock.getsockname(), names):
                found.append(fd)
        except OSError:
            pass  # a kind of socket that has no such option
        finally:
            sock.detach()
    return found


def _is_among(own: Any, names: Collection[Any]) -> bool:
    if own in names:
        return bool(own)  # a client's unix socket has no name
    if not isinstance(own, tuple) or len(own) < 2:
        return False
    return any(
        isinstance(name, tuple) and name[0] in ("0.0.0.0", "::") and name[1] == own[1]
        for name in names
    )
