"""Find the sockets that listen, and the connections that were accepted there (proc(5)).

Design
------
- **/proc is read; no connection is made** (``--ready connect``). During a reload the old program
  may be the one that accepts. With a socket that both share a connect would prove nothing, and
  unix/accept_check.py looks instead.
- **The tables are those of the master's network namespace.** What a program does in one of its own
  is not seen.
"""

import ipaddress
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from prefork.config.addresses import Address, TcpAddress, UnixAddress
from prefork.unix.process_sockets import SocketReader

MAX_ROWS = 50_000
"""Rows of a table that are read: some 100 ms of the master's time. The kernel lists TCP sockets
that listen before connections, so of a larger table only connections are missed."""

_LISTEN = "0A"
"""The state TCP_LISTEN, as /proc/net/tcp writes it."""
_SO_ACCEPTCON = "00010000"
"""The flag of a listening socket, as /proc/net/unix writes it."""

_NAME_COLUMN = 7
"""The number of columns before the name of a unix socket, which may contain spaces."""


@dataclass(frozen=True, slots=True)
class SocketRow:
    """A row of the tables of TCP and unix sockets. ``address``: its local one."""

    address: TcpAddress | UnixAddress
    inode: int
    is_listening: bool


class SocketTables:
    """The TCP and unix sockets of this network namespace at one moment, read when needed."""

    @cached_property
    def rows(self) -> list[SocketRow]:
        """All sockets with an address."""
        return [*_tcp_rows("tcp"), *_tcp_rows("tcp6"), *_unix_rows()]

    def listening(self, inodes: Collection[int]) -> list[SocketRow]:
        """Return those of the sockets with these inodes that listen."""
        return [row for row in self.rows if row.is_listening and row.inode in inodes]

    def connections_at(self, listeners: Collection[int]) -> set[int]:
        """Return the inodes of all connections at the addresses of these listening sockets.

        ``listeners``: their inodes.
        """
        ends = {_end(row.address) for row in self.listening(listeners)}
        return {
            row.inode for row in self.rows if not row.is_listening and _end(row.address) in ends
        }


def _end(address: TcpAddress | UnixAddress) -> int | str:
    """Return the port or the path.

    The host of a connection differs from that of a listener at every address (0.0.0.0).
    """
    return address.port if isinstance(address, TcpAddress) else address.path


def own_listeners(pids: Iterable[int], tables: SocketTables) -> list[SocketRow]:
    """Return the listening sockets that the processes have open."""
    reader = SocketReader()
    inodes = {inode for pid in pids for inode in reader.read(pid).inodes.values()}
    return tables.listening(inodes) if inodes else []


def is_listening_at(address: Address, pids: Iterable[int], tables: SocketTables) -> bool:
    """Return whether one of the processes has a socket that listens at this port or path.

    False for an inherited socket address, which has no port or path to look for.
    """
    if not isinstance(address, TcpAddress | UnixAddress):
        return False
    wanted = _end(address)
    at_address = {r.inode for r in tables.rows if r.is_listening and _end(r.address) == wanted}
    reader = SocketReader()
    return bool(at_address) and any(
        at_address.intersection(reader.read(pid).inodes.values()) for pid in pids
    )


def _tcp_rows(table: str) -> Iterator[SocketRow]:
    for words in _rows(table):
        host, _, port = words[1].rpartition(":")
        address = TcpAddress(_decode_host(host), int(port, 16))
        yield SocketRow(address, int(words[9]), words[3] == _LISTEN)


def _unix_rows() -> Iterator[SocketRow]:
    for words in _rows("unix"):
        # A line end in the name of another socket makes rows of any content.
        if len(words) > _NAME_COLUMN and words[6].isdecimal():
            # /proc writes the NUL of an abstract name as @, as addresses do.
            address = UnixAddress(words[_NAME_COLUMN])
            yield SocketRow(address, int(words[6]), words[3] == _SO_ACCEPTCON)


def _decode_host(text: str) -> str:
    """Return the host that a table writes as words of 32 bits in the order of the machine."""
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return str(ipaddress.ip_address(packed))


def _rows(table: str) -> Iterator[list[str]]:
    """Yield the rows of a table of /proc/net, split into columns."""
    try:
        # Any process may have a socket whose name is not UTF-8 or contains a CR.
        with open(f"/proc/net/{table}", errors="surrogateescape", newline="\n") as file:
            next(file)
            for line in islice(file, MAX_ROWS):
                yield line.removesuffix("\n").split(
                    maxsplit=_NAME_COLUMN if table == "unix" else -1
                )
    except OSError:
        return
