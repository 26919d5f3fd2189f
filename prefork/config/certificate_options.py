"""Where certificates, keys and their password are: how people write it. PURE.

/etc/ssl/site.pem                       a chain in PEM, with its key in the same file or in tls-key
/etc/ssl/site.pem,key=/etc/ssl/site.key a chain and its own key
file:/run/secrets/tls   env:TLS_WORD    where the password of an encrypted key is

The password itself is no setting: it would stand in process lists and in what --print-config
prints.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

EXPECTED_CERTIFICATE = "a path, as in site.pem or site.pem,key=site.key"
EXPECTED_PASSWORD = "file:PATH or env:NAME; the password itself is no setting"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """``key`` empty: where tls-key says, else in the certificate's own file."""

    chain: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.chain},key={self.key}" if self.key else self.chain

    def resolve_paths(self, resolve: Callable[[str], str]) -> "CertificateFiles":
        """With paths that do not depend on the folder any more."""
        return CertificateFiles(resolve(self.chain), resolve(self.key) if self.key else "")


@dataclass(frozen=True, slots=True)
class PasswordSource:
    """``path`` or ``variable`` is set, the other is empty."""

    path: str = ""
    variable: str = ""

    def __str__(self) -> str:
        return f"file:{self.path}" if self.path else f"env:{self.variable}"

    def resolve_paths(self, resolve: Callable[[str], str]) -> "PasswordSource":
        """With a path that does not depend on the folder any more."""
        return replace(self, path=resolve(self.path)) if self.path else self


def parse_certificate(text: str) -> CertificateFiles:
    """Read one; ValueError says what was expected."""
    chain, comma, key = text.partition(",key=")
    if not chain or bool(comma) != bool(key) or re.search("[\0\n,]", chain + key):
        raise ValueError(EXPECTED_CERTIFICATE)
    return CertificateFiles(chain, key)


def parse_password(text: str) -> PasswordSource | None:
    """Read it; empty: there is none. ValueError says what was expected."""
    kind, _, rest = text.partition(":")
    if not text:
        return None
    if kind == "file" and rest and not re.search("[\0\n]", rest):
        return PasswordSource(path=rest)
    if kind == "env" and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", rest):
        return PasswordSource(variable=rest)
    raise ValueError(EXPECTED_PASSWORD)
