"""Read the names and the validity period from the server's own certificate.

Design
------
- **The certificate is parsed by 40 lines of DER** (X.509, RFC 5280 section 4.1). The selection by
  server name (SNI) needs its names, and the ssl module decodes only certificates of the peer.
  OpenSSL validates everything else, and the bytes come from the operator, not from clients.
"""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_PEM = re.compile(
    "-----BEGIN (X509 |)CERTIFICATE-----\r?\n.*?-----END \\1CERTIFICATE-----", re.DOTALL
)

_OPTIONAL_VERSION, _EXTENSIONS = 0xA0, 0xA3
_UTC_TIME = 0x17
_DNS_NAME = 0x82
_ALTERNATIVE_NAME = bytes.fromhex("551d11")
_COMMON_NAME = bytes.fromhex("550403")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate. ``names``: the DNS names in lower case, with ``*.`` for wildcards;
    ``not_before`` and ``not_after``: its validity period; ``pem``: the certificate in PEM."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    pem: str


def parse_first_certificate(text: str) -> Certificate:
    """Parse the first certificate of a PEM file, which is the one that the server presents.

    Raises ValueError when there is none or when it is malformed.
    """
    found = _PEM.search(text)
    if found is None:
        raise ValueError("it holds no certificate in PEM")
    pem = found[0].replace("X509 CERTIFICATE", "CERTIFICATE")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem)
        return _parse(ssl.PEM_cert_to_DER_cert(pem))
    except (ssl.SSLError, ValueError, IndexError):
        raise ValueError("its first certificate is garbled") from None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER element in ``data``."""
    position = 0
    while position < len(data):
        tag, size = data[position], data[position + 1]
        position += 2
        if size & 0x80:
            digits = size & 0x7F
            size = int.from_bytes(data[position : position + digits])
            position += digits
        if position + size > len(data):
            raise ValueError("an element is longer than what holds it")
        yield tag, data[position : position + size]
        position += size


def _parse(der: bytes) -> Certificate:
    """Parse a certificate (RFC 5280 section 4.1). Raises ValueError or IndexError."""
    ((_, whole),) = _elements(der)
    (_, signed), *_ = _elements(whole)
    fields = [field for field in _elements(signed) if field[0] != _OPTIONAL_VERSION]
    # Serial number, algorithm, issuer, validity, subject, key; then optional fields.
    # The optional version, before them, is filtered out.
    (_, validity), (_, subject) = fields[3:5]
    begin, end = (_parse_time(tag, text) for tag, text in _elements(validity))
    names = [name for tag, data in fields[6:] if tag == _EXTENSIONS for name in _dns_names(data)]
    return Certificate(
        tuple(names or _common_names(subject)), begin, end, ssl.DER_cert_to_PEM_cert(der)
    )


def _parse_time(tag: int, text: bytes) -> datetime:
    digits = text.decode("ascii")
    if tag == _UTC_TIME:  # two digits for the year (RFC 5280 section 4.1.2.5.1)
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _dns_names(data: bytes) -> Iterator[str]:
    """Yield the DNS names of the extension subjectAltName (RFC 5280 section 4.2.1.6)."""
    for _, extensions in _elements(data):
        for _, extension in _elements(extensions):
            (_, kind), *_, (_, value) = _elements(extension)
            if kind == _ALTERNATIVE_NAME:
                ((_, names),) = _elements(value)
                yield from (
                    name.decode("ascii").lower()
                    for tag, name in _elements(names)
                    if tag == _DNS_NAME
                )


def _common_names(subject: bytes) -> Iterator[str]:
    """Yield the common names of the subject, for certificates without subjectAltName."""
    for _, relative in _elements(subject):
        for _, attribute in _elements(relative):
            (_, kind), (_, value) = _elements(attribute)
            if kind == _COMMON_NAME:
                yield value.decode("utf-8", "replace").lower()
