"""What the settings say about certificates, before any file is read. No OpenSSL: who has no
certificates needs none."""

import os
from dataclasses import dataclass

from prefork.config import Config
from prefork.config.certificate_options import PasswordSource
from prefork.errors import UsageError


@dataclass(frozen=True, slots=True)
class CertificatePaths:
    """Paths of a certificate chain and of its key."""

    chain: str
    key: str


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """The settings, with paths that mean the same in any folder."""

    pairs: tuple[CertificatePaths, ...]
    password: PasswordSource | None
    ca: str
    ciphers: str
    minimum: str
    client: str

    def file_paths(self) -> list[str]:
        """All that is read."""
        paths = [path for pair in self.pairs for path in (pair.chain, pair.key)]
        paths += [self.ca, self.password.path if self.password else ""]
        return [path for path in dict.fromkeys(paths) if path]


def make_tls_plan(config: Config, folder: str) -> TlsPlan | None:
    """What the settings say; None: no TLS. Relative paths start ``here``. Raises UsageError."""
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
            "the one says whether to ask for certificates, the other by which to check them"
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
