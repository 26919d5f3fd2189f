"""Who may ask the status server for what.

A page of somebody else's in the user's browser can send requests here, and by giving its own name
our address (DNS rebinding) even read the answers. So what shows or changes something goes only to
requests whose Host no other page can have: a bare address, localhost, or the name that we were told
to listen on. An Origin, if there is one, must be the same. Changes want the token, too.
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping

from prefork.errors import ClientError

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::\d*)?")


class AccessControl:
    """``name``: the host that we listen on; None: a unix socket, where no browser comes by itself.
    ``token`` empty: there is none."""

    def __init__(self, name: str | None, token: bytes) -> None:
        self._host = name
        self._token = token

    @property
    def has_token(self) -> bool:
        """Whether anything may be changed at all."""
        return bool(self._token)

    def check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises ClientError (403) for a request that another page may have made."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self._host is not None and not self._is_own_host(host):
            why = f"not known here by the name {host!r}: ask by the address, or name it in --status"
            raise ClientError(403, why)
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").partition("://")[2] != host:
            raise ClientError(403, "this is not for pages of somebody else's")

    def has_valid_token(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether it brings the token; where there is none it does not."""
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        right = hmac.compare_digest(token.strip(), self._token)
        return self.has_token and kind.lower() == b"bearer" and right

    def _is_own_host(self, host: str) -> bool:
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
