"""Validate the TLS settings and make their paths absolute. No file is read.

This module does not import OpenSSL, so a master without TLS does not load it.
"""

import os
from dataclasses import dataclass

from prefork.config import Config
from prefork.config.certificate_options import PasswordSource
from prefork.errors import UsageError


@dataclass(frozen=True, slots=True)
class CertificatePaths:
    """The paths of a certificate chain and of its key."""

    chain: str
    key: str


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """The TLS settings with absolute paths.

    ``ca``: file of the authorities that sign client certificates, empty for none; ``ciphers``: of
    TLS 1.2 as OpenSSL names them, empty for the default; ``minimum``: ``1.2`` or ``1.3``;
    ``client``: whether clients need a certificate: ``none``, ``optional`` or ``required``.
    """

    pairs: tuple[CertificatePaths, ...]
    password: PasswordSource | None
    ca: str
    ciphers: str
    minimum: str
    client: str

    def file_paths(self) -> list[str]:
        """Return the paths of all files that the plan reads."""
        paths = [path for pair in self.pairs for path in (pair.chain, pair.key)]
        paths += [self.ca, self.password.path if self.password else ""]
        return [path for path in dict.fromkeys(paths) if path]


def make_tls_plan(config: Config, folder: str) -> TlsPlan | None:
    """Make the plan of a configuration; None: no TLS. ``folder``: the one of relative paths.

    Raises UsageError when settings contradict each other.
    """
    if not config.tls_cert:
        dependent = ("tls_key", "tls_password", "tls_ca", "tls_ciphers", "tls_watch")
        for name in dependent:
            if getattr(config, name):
                raise UsageError(f"{name.replace('_', '-')} means nothing without tls-cert")
        if config.tls_client != "none":
            raise UsageError("tls-client means nothing without tls-cert")
        return None
    if bool(config.tls_ca) != (config.tls_client != "none"):
        raise UsageError(
            "tls-client optional or required and tls-ca belong together: "
            "tls-client asks clients for certificates, tls-ca verifies them"
        )

    def absolute(path: str) -> str:
        return os.path.join(folder, path) if path else ""

    pairs = []
    for files in config.tls_cert:
        key = files.key or config.tls_key or files.chain
        pairs.append(CertificatePaths(absolute(files.chain), absolute(key)))
    return TlsPlan(
        tuple(pairs),
        config.tls_password.resolve_paths(absolute) if config.tls_password else None,
        absolute(config.tls_ca),
        config.tls_ciphers,
        config.tls_minimum,
        config.tls_client,
    )
