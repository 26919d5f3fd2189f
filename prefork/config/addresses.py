"""Addresses to listen on: how people write them, and the three kinds that there are. PURE.

8000                                    TCP port on 127.0.0.1
host:8000   [::1]:8000   *:8000         TCP; ``*`` is every IPv4 address
unix:/run/app.sock,mode=660,owner=www-data:www-data
fd://3                                  a listening socket that was inherited
"""

import ipaddress
import re
from dataclasses import dataclass

EXPECTED = "host:port, [v6]:port, unix:path[,mode=660][,owner=user[:group]] or fd://number"


@dataclass(frozen=True, slots=True)
class Tcp:
    """``host`` is a name or a literal without brackets; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    """``mode``: permission bits (None: what the umask leaves); ``owner``: ``user[:group]``."""

    path: str
    mode: int | None = None
    owner: str = ""

    def __str__(self) -> str:
        mode = f",mode={self.mode:03o}" if self.mode is not None else ""
        owner = f",owner={self.owner}" if self.owner else ""
        return f"unix:{self.path}{mode}{owner}"


@dataclass(frozen=True, slots=True)
class Inherited:
    """A file descriptor that the parent opened, as systemd does from number 3 on."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


Address = Tcp | Unix | Inherited


def parse_address(text: str) -> Address:
    """Read one address; ValueError says what was expected."""
    if text.startswith("unix:"):
        return _parse_unix(text.removeprefix("unix:"))
    if text.startswith("fd://"):
        return Inherited(_number(text.removeprefix("fd://"), "a file descriptor", 65535))
    host, colon, port = text.rpartition(":")
    if not colon:
        return Tcp("127.0.0.1", _port(text))
    return Tcp(_host(host), _port(port))


def _host(text: str) -> str:
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


def _parse_unix(text: str) -> Unix:
    path, *extras = text.split(",")
    # Two slashes may stand for nothing, as in a URL; more than one at the start mean one.
    path = re.sub("^/+", "/", re.sub("^//", "", path))
    if not path or re.search("[\0\n]", path):
        raise ValueError("a path after unix:, as in unix:/run/app.sock")
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
    return Unix(path, mode, owner)


def _port(text: str) -> int:
    return _number(text, "a port", 65535)


def _number(text: str, what: str, highest: int) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > highest:
        raise ValueError(f"{what} from 0 to {highest}, not {text!r}")
    return int(text)
