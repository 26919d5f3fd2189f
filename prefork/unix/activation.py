"""Match the sockets of socket activation to the addresses of ``bind``, by the address of each.

Design
------
- **``bind`` and the socket unit name the same addresses,** as nginx and the units of Debian do for
  other servers, so that a settings file works with and without activation. Rejected: ``fd://3``
  alone. The number depends on the order of the lines in the socket unit, and the same file does not
  start without systemd. ``bind`` at its default takes all sockets.
- **A passed socket that ``bind`` does not name is an error,** with both lists. systemd listens
  there, so its clients would wait for an answer without end. An address of ``bind`` that systemd
  does not pass is opened by prefork itself, as at a reload that adds one.
- **``[::]:8000`` stands for ``*:8000`` as well when it accepts IPv4:** ``ListenStream=8000`` opens
  one socket for both, unless ``BindIPv6Only=ipv6-only`` is set.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prefork.config.addresses import Address, InheritedSocket, TcpAddress, UnixAddress
from prefork.errors import UsageError
from prefork.printable import printable_line

_WILDCARDS = {"0.0.0.0", "::"}


@dataclass(frozen=True, slots=True)
class _PassedSocket:
    """One passed socket.

    ``fd``: its number. ``address``: where it listens; None: it is no stream socket. ``is_dual``: it
    accepts IPv4 and IPv6.
    """

    fd: int
    address: TcpAddress | UnixAddress | None
    is_dual: bool = False

    def __str__(self) -> str:
        return f"{self.address or 'no stream socket'} (fd://{self.fd})"

    def is_meant_by(self, wanted: Address) -> bool:
        """Return whether an address of ``bind`` means this socket."""
        match wanted, self.address:
            case InheritedSocket(fd), _:
                return fd == self.fd
            case TcpAddress(), TcpAddress(host, port) if wanted.port == port:
                is_wildcard = self.is_dual and wanted.host in _WILDCARDS
                return is_wildcard or host in _resolve(wanted)
            case UnixAddress(), UnixAddress():
                return _is_same_place(wanted, self.address)
        return False


def match_activated(bind: Sequence[Address], fds: Iterable[int]) -> tuple[Address, ...]:
    """Return ``bind`` with the passed socket in place of each address that means one.

    ``fds``: the descriptors that the service manager passed. Raises UsageError, which lists both,
    if one of them is at an address that ``bind`` does not have.
    """
    passed = [_examine(fd) for fd in fds]
    matched: list[Address] = []
    used: set[int] = set()
    for address in bind:
        found = [each.fd for each in passed if each.is_meant_by(address)]
        scheme = "" if isinstance(address, UnixAddress) else address.scheme
        if not found:
            matched.append(address)
        matched += [InheritedSocket(fd, scheme) for fd in found if fd not in used]
        used.update(found)
    if unused := [each for each in passed if each.fd not in used]:
        raise UsageError(
            f"bind: systemd passes {', '.join(map(str, unused))}, and bind has "
            f"{', '.join(map(str, bind)) or 'no address'}; give the socket unit and bind the same "
            "addresses, or leave bind out to take all sockets"
        )
    return tuple(matched)


def _examine(fd: int) -> _PassedSocket:
    """Return what is open at a passed descriptor, which stays as it is."""
    try:
        copy = socket.socket(fileno=os.dup(fd))
    except OSError:
        return _PassedSocket(fd, None)
    with copy:
        if copy.type != socket.SOCK_STREAM:
            return _PassedSocket(fd, None)
        name = copy.getsockname()
        match copy.family:
            case socket.AF_INET:
                return _PassedSocket(fd, TcpAddress(name[0], name[1]))
            case socket.AF_INET6:
                v6_only = copy.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                is_dual = name[0] == "::" and not v6_only
                return _PassedSocket(fd, TcpAddress(name[0], name[1]), is_dual)
            case socket.AF_UNIX:
                # An abstract name is bytes that begin with NUL.
                path = name if isinstance(name, str) else "@" + os.fsdecode(name[1:])
                return _PassedSocket(fd, UnixAddress(printable_line(path)))
    return _PassedSocket(fd, None)


def _resolve(address: TcpAddress) -> set[str]:
    """Return the IP addresses that a host stands for; none if it cannot be looked up."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        return set()  # open_listeners says why
    return {str(name[0]) for _, _, _, _, name in found}


def _is_same_place(one: UnixAddress, other: UnixAddress) -> bool:
    """Return whether two addresses are one name, or two paths to one place."""
    if one.is_abstract or other.is_abstract:
        return one.path == other.path
    return os.path.realpath(one.path) == os.path.realpath(other.path)
