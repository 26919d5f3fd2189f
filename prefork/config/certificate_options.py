"""Parse the options that name certificate files and the source of their password. PURE.

/etc/ssl/site.pem                       a chain in PEM, with its key in the same file or in tls-key
/etc/ssl/site.pem,key=/etc/ssl/site.key a chain and its own key
file:/run/secrets/tls   env:TLS_WORD    the source of the password of an encrypted key

The password itself cannot be a setting, because it would be visible in process lists and in the
output of --print-config.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

EXPECTED_CERTIFICATE = "a path, as in site.pem or site.pem,key=site.key"
EXPECTED_PASSWORD = "file:PATH or env:NAME; the password itself is no setting"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The files of one certificate.

    ``chain`` is the path of the certificate chain and ``key`` that of its private key. If ``key``
    is empty, the key is in the file of the option tls-key, else in the chain's own file.
    """

    chain: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.chain},key={self.key}" if self.key else self.chain

    def resolve_paths(self, resolve: Callable[[str], str]) -> "CertificateFiles":
        """Return a copy with each path replaced by ``resolve(path)``."""
        return CertificateFiles(resolve(self.chain), resolve(self.key) if self.key else "")


@dataclass(frozen=True, slots=True)
class PasswordSource:
    """The source of a secret: the file ``path`` or the environment variable ``variable``.

    One of the two is set, the other is empty.
    """

    path: str = ""
    variable: str = ""

    def __str__(self) -> str:
        return f"file:{self.path}" if self.path else f"env:{self.variable}"

    def resolve_paths(self, resolve: Callable[[str], str]) -> "PasswordSource":
        """Return a copy with the path replaced by ``resolve(path)``."""
        return replace(self, path=resolve(self.path)) if self.path else self


def parse_certificate(text: str) -> CertificateFiles:
    """Parse ``path[,key=path]``. Raises ValueError, which says what was expected."""
    chain, comma, key = text.partition(",key=")
    if not chain or bool(comma) != bool(key) or re.search("[\0\n,]", chain + key):
        raise ValueError(EXPECTED_CERTIFICATE)
    return CertificateFiles(chain, key)


def parse_password(text: str) -> PasswordSource | None:
    """Parse ``file:PATH`` or ``env:NAME``; an empty text gives None.

    Raises ValueError, which says what was expected.
    """
    kind, _, rest = text.partition(":")
    if not text:
        return None
    if kind == "file" and rest and not re.search("[\0\n]", rest):
        return PasswordSource(path=rest)
    if kind == "env" and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", rest):
        return PasswordSource(variable=rest)
    raise ValueError(EXPECTED_PASSWORD)
