"""Check whether a program listens at an address with a socket of its own (proc(5)).

Design
------
- **/proc is read; no connection is made** (``--ready connect``). During a reload the old program
  may be the one that accepts. With a socket that both share a connect would prove nothing, so that
  combination is refused.
"""

import os
from collections.abc import Iterator

from prefork.config.addresses import Address, TcpAddress, UnixAddress
from prefork.unix import process_tree

_TCP_LISTEN = "0A"
"""The state TCP_LISTEN, as /proc/net/tcp writes it."""
_SO_ACCEPTCON = "00010000"
"""The flag of a listening socket, as /proc/net/unix writes it."""

_NAME_COLUMN = 7
"""The number of columns before the name of a unix socket, which may contain spaces."""


def is_program_listening(address: Address, leader: int) -> bool:
    """Return whether a program listens at ``address`` with a socket of its own.

    ``leader``: the pid that leads the program's session; its descendants count as well. False for
    an inherited socket address, which has no port or path to look for.
    """
    inodes = set(_listening_inodes(address))
    if not inodes:
        return False
    own = [
        e.pid
        for e in process_tree.iter_processes()
        if process_tree.is_in_session_or_descendant(e.pid, leader)
    ]
    return any(inodes & set(_socket_inodes(pid)) for pid in own)


def _listening_inodes(address: Address) -> Iterator[str]:
    """Yield the inodes of all sockets that listen at this port or path."""
    if isinstance(address, TcpAddress):
        for table in ("tcp", "tcp6"):
            for words in _rows(table):
                if words[3] == _TCP_LISTEN and int(words[1].rpartition(":")[2], 16) == address.port:
                    yield words[9]
    elif isinstance(address, UnixAddress):
        for words in _rows("unix"):
            # /proc writes the NUL of an abstract name as @, as addresses do.
            if words[_NAME_COLUMN:] == [address.path] and words[3] == _SO_ACCEPTCON:
                yield words[6]


def _rows(table: str) -> Iterator[list[str]]:
    """Yield the rows of a table of /proc/net, split into columns."""
    try:
        # Any process may have a socket whose name is not UTF-8 or contains a CR.
        with open(f"/proc/net/{table}", errors="surrogateescape", newline="\n") as file:
            next(file)
            for line in file:
                yield line.removesuffix("\n").split(
                    maxsplit=_NAME_COLUMN if table == "unix" else -1
                )
    except OSError:
        return


def _socket_inodes(pid: int) -> Iterator[str]:
    """Yield the inodes of the sockets that a process has open."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return  # the process has ended, or belongs to another user
    for name in names:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]
