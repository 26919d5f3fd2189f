"""Parse and represent the addresses to listen on. PURE.

8000                                    TCP port on 127.0.0.1
host:8000   [::1]:8000   *:8000  :8000  TCP; ``*`` and nothing mean every IPv4 address
0.0.0.0   [::1]   localhost   *         TCP port 8000, as in gunicorn and hypercorn
https://host:8000   http://host:8000    TCP, with TLS or without; else as there are certificates
unix:/run/app.sock,mode=660,owner=www-data:www-data
unix:@app                               an abstract name (unix(7)); a file ``@app`` is unix:./@app
fd://3   fd://3,scheme=http             an inherited listening socket

Design
------
- **Mode and owner of an abstract unix socket are refused.** ``unix:@name,mode=600`` is an error
  instead of being ignored, because an abstract socket has neither mode nor owner: every process in
  the same network namespace may connect, as to a TCP port on loopback. prefork neither looks for a
  file, nor creates or removes one; the kernel frees the name when the last copy of the socket is
  closed (unix(7)).
"""

import ipaddress
import re
from dataclasses import dataclass, replace

EXPECTED = (
    "host:port, [v6]:port, either with http:// or https:// before it, "
    "unix:path[,mode=660][,owner=user[:group]], unix:@name or fd://number[,scheme=https]"
)

SCHEMES = ("http", "https")

DEFAULT_PORT = 8000
"""The port of an address that is a host alone."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP address.

    ``host`` is a name or an IP literal without brackets. ``port`` 0 lets the kernel choose a port.
    ``scheme`` is http or https; empty means https when there are certificates, else http.
    """

    host: str
    port: int
    scheme: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" if self.scheme else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The address of a unix socket: a path, or an abstract name.

    ``mode`` holds the permission bits of the file; None leaves them to the umask. ``owner`` is
    ``user[:group]``; empty leaves the file to the master's user. A path that begins with @ is an
    abstract name (unix(7)), which has neither mode nor owner.
    """

    path: str
    mode: int | None = None
    owner: str = ""

    @property
    def is_abstract(self) -> bool:
        """Return whether this is an abstract name, which has no file."""
        return self.path.startswith("@")

    @property
    def bind_name(self) -> str:
        """The address in the form that bind(2) takes: an abstract name begins with NUL."""
        return f"\0{self.path[1:]}" if self.is_abstract else self.path

    def __str__(self) -> str:
        mode = f",mode={self.mode:03o}" if self.mode is not None else ""
        owner = f",owner={self.owner}" if self.owner else ""
        return f"unix:{self.path}{mode}{owner}"


@dataclass(frozen=True, slots=True)
class InheritedSocket:
    """A listening socket that the parent process opened, as systemd does from descriptor 3 on.

    ``fd`` is its number. ``scheme`` is http or https; empty means https when there are certificates
    and the socket is no unix socket, else http.
    """

    fd: int
    scheme: str = ""

    def __str__(self) -> str:
        return f"fd://{self.fd},scheme={self.scheme}" if self.scheme else f"fd://{self.fd}"


Address = TcpAddress | UnixAddress | InheritedSocket


def is_same_socket(one: Address, other: Address) -> bool:
    """Return whether both addresses mean the same socket. Scheme, mode and owner do not count."""
    match one, other:
        case TcpAddress(), TcpAddress():
            return (one.host, one.port) == (other.host, other.port)
        case UnixAddress(), UnixAddress():
            return one.path == other.path
        case InheritedSocket(), InheritedSocket():
            return one.fd == other.fd
    return False


def scheme_of(address: Address, has_certificates: bool, is_unix: bool) -> str:
    """Return the scheme of an address: its own, else https for TCP with certificates, else http.

    ``is_unix`` says whether the socket is a unix socket, because the address of an inherited socket
    does not tell.
    """
    if isinstance(address, UnixAddress):
        return "http"
    return address.scheme or ("https" if has_certificates and not is_unix else "http")


def parse_address(text: str) -> Address:
    """Parse one address. Raises ValueError, which says what was expected."""
    kind, separator, rest = text.partition("://")
    if separator and kind in SCHEMES:
        return replace(_parse_tcp(rest), scheme=kind)
    if separator and kind == "tcp":
        return _parse_tcp(rest)
    if separator and kind == "fd":
        return _parse_inherited(rest)
    if text.startswith("unix:"):
        return _parse_unix(text.removeprefix("unix:"))
    return _parse_tcp(text)


def _parse_tcp(text: str) -> TcpAddress:
    if _is_host_alone(text):
        return TcpAddress(_parse_host(text), DEFAULT_PORT)
    host, colon, port = text.rpartition(":")
    if not colon:
        return TcpAddress("127.0.0.1", _parse_port(text))
    return TcpAddress(_parse_host(host), _parse_port(port))


def _is_host_alone(text: str) -> bool:
    """Return whether the text is a host without a port, as in ``-b 0.0.0.0``.

    A word of letters is none, but for localhost: it is rather a misspelled port.
    """
    has_dot = "." in text and ":" not in text
    return has_dot or text in ("*", "localhost") or (text.startswith("[") and text.endswith("]"))


def _parse_inherited(text: str) -> InheritedSocket:
    """Parse the part after fd://, a number and perhaps a scheme."""
    number, comma, extra = text.partition(",")
    fd = _parse_number(number, "a file descriptor", 65535)
    key, _, scheme = extra.partition("=")
    if comma and (key != "scheme" or scheme not in SCHEMES):
        raise ValueError(f"scheme=http or scheme=https after the number, not {extra!r}")
    return InheritedSocket(fd, scheme)


def _parse_host(text: str) -> str:
    """Return a TCP host without its brackets; empty and ``*`` mean all IPv4 addresses."""
    if text in ("", "*"):
        return "0.0.0.0"
    if text.startswith("[") and text.endswith("]") and _is_ipv6(text[1:-1]):
        return text[1:-1]
    if not re.fullmatch(r"[\w.-]+", text):
        raise ValueError(f"{EXPECTED}, where [v6] is as in [::1]:8000")
    return text


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return text.isprintable()


def _parse_unix(text: str) -> UnixAddress:
    """Parse the part after unix:, a path or name and perhaps mode and owner."""
    path, *extras = text.split(",")
    # unix:///run/app.sock is accepted as a URL; several slashes at the start mean one.
    path = re.sub("^/+", "/", re.sub("^//", "", path))
    if path in ("", "@") or re.search("[\0\n]", path):
        raise ValueError("a path after unix:, as in unix:/run/app.sock, or a name, as in unix:@app")
    if path.startswith("@") and extras:
        raise ValueError(
            "an abstract name alone: unix:@app is no file, so it has neither mode nor owner"
        )
    mode: int | None = None
    owner = ""
    for extra in extras:
        key, _, value = extra.partition("=")
        if key == "mode" and re.fullmatch("0?[0-7]{3}", value):
            mode = int(value, 8)
        elif key == "owner" and re.fullmatch(r"[^\s\0:]+|[^\s\0:]*:[^\s\0:]+", value):
            owner = value
        else:
            raise ValueError(f"mode=660 or owner=user:group after the path, not {extra!r}")
    return UnixAddress(path, mode, owner)


def _parse_port(text: str) -> int:
    return _parse_number(text, "a port", 65535)


def _parse_number(text: str, what: str, highest: int) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > highest:
        raise ValueError(f"{what} from 0 to {highest}, not {text!r}")
    return int(text)
