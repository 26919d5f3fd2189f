"""Find out whether programs own their ports, so that no second one of them can run beside them.

Design
------
- **A reload of such an app is refused before an heir is started.** The heir would fail because the
  address is in use, or, worse, listen on another port without a word, as many development servers
  do. The refusal proposes ``prefork restart``, and changes nothing.
- **A port with SO_REUSEPORT can have two owners,** so such a program is rolled. The option is read
  from a copy of the socket (pidfd_getfd(2)); where that is not allowed, it counts as not set.
- **Whether a port is fixed or was chosen by the kernel cannot be seen.** A program with a port of
  the second kind could be rolled, and is refused as well.
"""

from collections.abc import Iterable, Set

from prefork.unix.accept_check import find_accepting
from prefork.unix.listen_check import SocketRow, SocketTables, own_listeners
from prefork.unix.process_sockets import SocketReader, has_reuse_port
from prefork.unix.process_tree import iter_processes, program_processes


def owned_addresses(leaders: Iterable[int], shared: Set[int]) -> list[str]:
    """Return the addresses that only these programs can listen at.

    ``leaders``: the pids of the programs. ``shared``: the inodes of the sockets of ``--bind``. A
    program that accepts on one of them has nothing to lose but what it opened beside it, and none
    of its addresses counts.
    """
    processes = {each.pid: each for each in iter_processes()}
    pids = [each.pid for leader in leaders for each in program_processes(leader, processes)]
    if shared and find_accepting(pids, shared, frozenset).accepted:
        return []
    own = [row for row in own_listeners(pids, SocketTables()) if row.inode not in shared]
    return sorted({str(row.address) for row in own if not _is_reusable(row, pids)})


def _is_reusable(row: SocketRow, pids: Iterable[int]) -> bool:
    """Return whether a second program can listen at the address of this socket."""
    reader = SocketReader()
    holders = ((pid, fd, inode) for pid in pids for fd, inode in reader.read(pid).inodes.items())
    return any(has_reuse_port(pid, fd) for pid, fd, inode in holders if inode == row.inode)
