"""Helpers: issue certificates for tests, signed by a test authority or self-signed.

``tests/conftest.py`` has fixtures with the certificates that most tests need.
"""

import ipaddress
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

SECRET = "Sesam öffne dich"
"""The password of encrypted keys."""

LONG_AGO = datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)
LONG_FROM_NOW = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)

_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Issued:
    """The PEM files of one certificate: its chain, its key, and both in one file."""

    chain: Path
    key: Path
    both: Path

    @property
    def pair(self) -> str:
        """Chain and key as the value of --tls-cert."""
        return f"{self.chain},key={self.key}"


class Authority:
    """A certificate authority; ``file`` has its own certificate, ``folder`` all that it issues."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"The {name}")])
        builder = self._builder(self._name, self._key.public_key(), 1)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = builder.add_extension(own, critical=False)
        self.file = folder / f"{name}.pem"
        self._pem = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        self.file.write_bytes(self._pem)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        end = now + timedelta(days=days)
        begin = min(now, end) - timedelta(days=1)
        serial = x509.random_serial_number()
        return x509.CertificateBuilder(self._name, subject, key, serial, begin, end)

    def issue(
        self, file: str, *hosts: str, subject: str = "", password: str = "", days: int = 1
    ) -> Issued:
        """Issue a certificate for these hosts, in ``file.pem``, ``file.key`` and ``file.both``.

        ``subject`` is its common name. ``password`` encrypts the key. It is valid for ``days`` from
        now; a negative number makes it an expired one.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests")]
        if subject:
            attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, subject))
        builder = self._builder(x509.Name(attributes), key.public_key(), days)
        # Python 3.13 verifies with X509_V_FLAG_X509_STRICT, which asks for it (RFC 5280, 4.2.1.1).
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_general(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        chain = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM) + self._pem
        lock: KeySerializationEncryption = (
            BestAvailableEncryption(password.encode()) if password else NoEncryption()
        )
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
        issued = Issued(*(self.folder / f"{file}.{end}" for end in ("pem", "key", "both")))
        issued.chain.write_bytes(chain)
        issued.key.write_bytes(secret)
        issued.both.write_bytes(secret + chain)
        return issued

    def trusting(self, client: Issued | None = None, **settings: object) -> ssl.SSLContext:
        """Return a client's context that trusts this authority only.

        ``client`` is the certificate that it presents when the server requests one. ``settings``
        are attributes of the context.
        """
        context = ssl.create_default_context(cafile=str(self.file))
        if client is not None:
            context.load_cert_chain(client.chain, client.key)
        for name, value in settings.items():
            setattr(context, name, value)
        return context


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@dataclass(frozen=True)
class Keyring:
    """An authority, the certificates of two servers, and those of two clients.

    ``stranger`` has the same subject as ``ann``, but another authority has issued it.
    """

    ca: Authority
    site: Issued
    wild: Issued
    ann: Issued
    stranger: Issued


def keyring(folder: Path) -> Keyring:
    """Create a keyring with its files in ``folder``."""
    ca = Authority(folder)
    return Keyring(
        ca,
        site=ca.issue("site", "site.test", "localhost", "127.0.0.1"),
        wild=ca.issue("wild", "*.wild.test"),
        ann=ca.issue("ann", subject="Ann, née Ü"),
        stranger=Authority(folder, "elsewhere").issue("stranger", subject="Ann, née Ü"),
    )


def self_signed(
    common: str | None = None,
    names: Collection[x509.GeneralName] = (),
    begin: datetime = LONG_AGO,
    end: datetime = LONG_FROM_NOW,
    others: int = 0,
) -> str:
    """Return a self-signed certificate in PEM.

    ``common`` is the common name of its subject, ``names`` are its alternative names. ``begin`` and
    ``end`` are its validity. ``others`` is a number of other extensions before the names.
    """
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]
    if common is not None:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common))
    name = x509.Name(attributes)
    builder = x509.CertificateBuilder(name, name, _KEY.public_key(), 7, begin, end)
    for _ in range(others):
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
