"""Read version, cipher and certificates from an encrypted connection."""

import ssl
import sys
from typing import Any

from prefork.tls.credentials import ServerContext
from prefork.tls.distinguished_name import format_distinguished_name

VERSION_NUMBERS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
"""The numbers of the TLS versions in TLS messages, by OpenSSL's names."""


class TlsConnectionInfo:
    """The TLS parameters of a connection whose handshake has ended.

    ``version``: OpenSSL's name, such as ``TLSv1.3``; ``cipher`` and ``cipher_bits``: the suite and
    the strength of its key; ``client_chain``: the certificates of the client in PEM, its own first,
    empty without one.
    """

    def __init__(self, tls: ssl.SSLObject) -> None:
        self.version = tls.version() or ""
        name, _, bits = tls.cipher() or ("", "", 0)
        self.cipher = name
        self.cipher_bits = bits
        context = tls.context
        self._context = context if isinstance(context, ServerContext) else None
        self._client: dict[str, Any] = tls.getpeercert() or {}
        self.client_chain = _client_chain(tls)

    @property
    def cipher_number(self) -> int | None:
        """The number of the cipher suite in TLS messages; None: unknown."""
        return self._context.cipher_numbers.get(self.cipher) if self._context else None

    @property
    def server_certificate(self) -> str:
        """The certificate that the server presented to this client, in PEM; empty: unknown."""
        return self._context.certificate.pem if self._context else ""

    @property
    def client_subject(self) -> str | None:
        """The subject of the client's certificate (RFC 4514); None without a certificate."""
        return format_distinguished_name(self._client["subject"]) if self._client else None

    @property
    def client_issuer(self) -> str | None:
        """The issuer of the client's certificate (RFC 4514); None without a certificate."""
        return format_distinguished_name(self._client["issuer"]) if self._client else None

    def client_certificate_field(self, name: str) -> str:
        """Return a field of the client's certificate by its name in ``getpeercert()``; empty
        without it."""
        return str(self._client.get(name, ""))


def _client_chain(tls: ssl.SSLObject) -> list[str]:
    """Return the certificates that the client sent, in PEM, its own first."""
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return []
    if sys.version_info >= (3, 13):
        sent = [ssl.DER_cert_to_PEM_cert(der) for der in tls.get_unverified_chain()]
    else:
        # Private since Python 3.10, public since 3.13.
        inner: Any = tls._sslobj  # type: ignore[attr-defined]
        sent = [each.public_bytes() for each in inner.get_unverified_chain() or ()]
    # A resumed session has the client's own certificate only.
    return sent or [ssl.DER_cert_to_PEM_cert(own)]
