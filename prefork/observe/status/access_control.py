"""Decide which requests the status server allows: by Host, Origin and the token.

A page of another website in the operator's browser can send requests to the status server. If that
website points its own name to the server's address (DNS rebinding), it can even read the responses.
So the page and its data are served only to requests whose Host no other website can have: an IP
address, localhost, or the name in --status. An Origin header, if there is one, must match the Host.
Changes also need the token.

Design
------
- **Host and Origin protect against other websites, not cookies.** A rebound name cannot be an IP
  address or localhost, and the token is in the page's session storage, which other origins cannot
  read. Health and metrics are served under any name, because scrapers use names and the numbers are
  no secret.
- **Reading needs no token, changing does; the log needs it if there is one.** Most operators begin
  with a page without a token on a loopback address. Where the log may contain secrets, operators
  set a token anyway. On any other address prefork logs a warning.
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping

from prefork.errors import ClientError

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::\d*)?")


class AccessControl:
    """The rules of one status server.

    ``host`` is the host that it listens on; None for a unix socket, which a browser cannot reach.
    ``token`` is empty if there is none.
    """

    def __init__(self, host: str | None, token: bytes) -> None:
        self._host = host
        self._token = token

    @property
    def has_token(self) -> bool:
        """Return whether there is a token, without which no change is possible."""
        return bool(self._token)

    def check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise ClientError (403) for a request that a page of another website may have sent."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self._host is not None and not self._is_own_host(host):
            why = f"the host {host!r} is not allowed: use the IP address, or set it in --status"
            raise ClientError(403, why)
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").partition("://")[2] != host:
            raise ClientError(403, "requests from pages of other websites are not allowed")

    def has_valid_token(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether the request has the token (``Authorization: Bearer``), if there is one."""
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        right = hmac.compare_digest(token.strip(), self._token)
        return self.has_token and kind.lower() == b"bearer" and right

    def _is_own_host(self, host: str) -> bool:
        """Return whether a Host header has an IP address, localhost, or the configured host."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1] or found[2]
        return name.lower() in ("localhost", str(self._host).lower()) or _is_address(name)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
