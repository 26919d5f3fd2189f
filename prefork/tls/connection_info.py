"""What is known of an encrypted connection, and of the client that showed a certificate."""

import ssl
import sys
from typing import Any

from prefork.tls.credentials import ServerContext
from prefork.tls.distinguished_name import format_distinguished_name

VERSION_NUMBERS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
"""As they are numbered on the wire."""


class TlsConnectionInfo:
    """Read off a connection whose handshake is done."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self.version = tls.version() or ""
        """``TLSv1.3``"""
        name, _, bits = tls.cipher() or ("", "", 0)
        self.cipher = name
        self.cipher_bits = bits
        context = tls.context
        self._context = context if isinstance(context, ServerContext) else None
        self._client: dict[str, Any] = tls.getpeercert() or {}
        self.client_chain = _client_chain(tls)
        """In PEM, the client's own first; empty: it showed none."""

    @property
    def cipher_number(self) -> int | None:
        """As it is numbered on the wire."""
        return self._context.cipher_numbers.get(self.cipher) if self._context else None

    @property
    def server_certificate(self) -> str:
        """In PEM, the one that this client was shown."""
        return self._context.certificate.pem if self._context else ""

    @property
    def client_subject(self) -> str | None:
        """Whose certificate it is."""
        return format_distinguished_name(self._client["subject"]) if self._client else None

    @property
    def client_issuer(self) -> str | None:
        """Who signed it."""
        return format_distinguished_name(self._client["issuer"]) if self._client else None

    def client_certificate_field(self, name: str) -> str:
        """Another field of the certificate, as the ssl module calls it."""
        return str(self._client.get(name, ""))


def _client_chain(tls: ssl.SSLObject) -> list[str]:
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return []
    if sys.version_info >= (3, 13):
        sent = [ssl.DER_cert_to_PEM_cert(der) for der in tls.get_unverified_chain()]
    else:
        # It is there since Python 3.10, but was not public at first.
        inner: Any = tls._sslobj  # type: ignore[attr-defined]
        sent = [each.public_bytes() for each in inner.get_unverified_chain() or ()]
    # A resumed session remembers the client's own certificate only.
    return sent or [ssl.DER_cert_to_PEM_cert(own)]
