"""The facts of a TLS connection for apps: variables of mod_ssl in WSGI, the TLS extension in ASGI.

They are made once per connection. Facts that do not exist are left out.
"""

import ssl
from typing import Any

from prefork.tls.connection_info import VERSION_NUMBERS, TlsConnectionInfo


def tls_environ(tls: ssl.SSLObject) -> dict[str, Any]:
    """Return the variables by the names of Apache's mod_ssl, which frameworks and apps know."""
    info = TlsConnectionInfo(tls)
    environ = {
        "HTTPS": "on",
        "SSL_PROTOCOL": info.version,
        "SSL_CIPHER": info.cipher,
        "SSL_CIPHER_USEKEYSIZE": str(info.cipher_bits),
        "SSL_SERVER_CERT": info.server_certificate,
        "SSL_CLIENT_VERIFY": "SUCCESS" if info.client_chain else "NONE",
    }
    if info.client_chain:
        leaf, *others = info.client_chain
        environ |= {
            "SSL_CLIENT_CERT": leaf,
            "SSL_CLIENT_S_DN": _native_string(info.client_subject),
            "SSL_CLIENT_I_DN": _native_string(info.client_issuer),
            "SSL_CLIENT_M_SERIAL": info.client_certificate_field("serialNumber"),
            "SSL_CLIENT_V_START": info.client_certificate_field("notBefore"),
            "SSL_CLIENT_V_END": info.client_certificate_field("notAfter"),
        }
        environ |= {f"SSL_CLIENT_CERT_CHAIN_{at}": pem for at, pem in enumerate(others)}
    return environ


def _native_string(text: str | None) -> str:
    """Return the text as a native string of WSGI (PEP 3333): UTF-8 bytes, decoded as latin-1."""
    return (text or "").encode().decode("latin-1")


def tls_extension(tls: ssl.SSLObject) -> dict[str, Any]:
    """Return the value of the ``tls`` extension (asgi.readthedocs.io, TLS 0.2).

    A certificate that does not verify ends the handshake, so ``client_cert_error`` is always None.
    """
    info = TlsConnectionInfo(tls)
    return {
        "server_cert": info.server_certificate or None,
        "client_cert_chain": info.client_chain,
        "client_cert_name": info.client_subject,
        "client_cert_error": None,
        "tls_version": VERSION_NUMBERS.get(info.version),
        "cipher_suite": info.cipher_number,
    }
