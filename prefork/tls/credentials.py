"""Load certificates, keys and authorities into the TLS context of a generation.

``read_credentials`` makes ``Credentials`` of a ``TlsPlan``. With --tls-watch a worker reloads them
when their files change.

Design
------
- **The master loads certificates once per generation, before the fork.** It may read keys that its
  workers may not, and a reload with wrong files is refused before anything changes. All workers of
  a generation share the context and with it the keys of session tickets, so a client may resume
  its session with any of them. After a worker reloaded by --tls-watch it has tickets of its own,
  and a client may need a full handshake.
- **A reload keeps the context of the last generation while plan and files are the same,** for one
  day at most (``Credentials.is_current_for``), so that clients resume their sessions. Python has
  no call for the keys of session tickets; only the same context keeps them.
- **TLS 1.2 without AEAD is off** (RFC 9325 section 4.2). Of the suites that Python enables by
  default, this removes two.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from time import monotonic

from prefork.config.certificate_options import PasswordSource
from prefork.errors import MachineError, PreforkError, UsageError
from prefork.http.protocols import ALPN_NAMES
from prefork.tls.alerts import AlertingSSLObject
from prefork.tls.certificate import Certificate, parse_first_certificate
from prefork.tls.certificate_matching import HostnameMap
from prefork.tls.certificate_plan import CertificatePaths, TlsPlan
from prefork.tls.secret_variables import secret_value
from prefork.unix.regular_file import NotRegularFileError, read_regular

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class ServerContext(ssl.SSLContext):
    """The TLS context of a server, with the certificate that it presents."""

    certificate: Certificate

    def __new__(cls) -> "ServerContext":
        """Create a server context with Python's default ciphers and options."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    @cached_property
    def cipher_numbers(self) -> dict[str, int]:
        """The numbers of the cipher suites in TLS messages, by their OpenSSL names."""
        # OpenSSL sets bits of its own above the 16 of the protocol.
        return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in self.get_ciphers()}


FileStamp = tuple[int, int, int]
"""Inode, modification time in ns and size of a file."""


MAX_CONTEXT_AGE = 24 * 3600.0
"""Seconds for which reloads keep a context. The keys of its session tickets are as old as the
context; an attacker with these keys can decrypt early data and resumed sessions of TLS 1.2
(RFC 8446 appendix F.1)."""


@dataclass(slots=True)
class Credentials:
    """The loaded certificates and keys of a plan.

    ``context``: for the next handshake; ``certificates``: pairs of the chain's path and its first
    certificate.
    """

    plan: TlsPlan
    context: ServerContext
    certificates: list[tuple[str, Certificate]]
    file_stamps: list[FileStamp | None]
    """The stamps of ``plan.file_paths()``, taken before the files were read."""
    loaded_at: float
    """Monotonic time of the load."""

    @property
    def warnings(self) -> list[str]:
        """One line for each certificate that is expired or not valid yet, for the log."""
        now = datetime.now(UTC)
        return [
            f"tls-cert: {path} is not valid {problem}"
            for path, certificate in self.certificates
            if (problem := _validity_problem(certificate, now))
        ]

    def reload(self) -> None:
        """Read the files again. Raises PreforkError, and then changes nothing."""
        fresh = read_credentials(self.plan)
        self.context, self.certificates = fresh.context, fresh.certificates

    def is_current_for(self, plan: TlsPlan) -> bool:
        """Return whether a reload with ``plan`` may keep these credentials: settings and files are
        the same, and the context is younger than MAX_CONTEXT_AGE."""
        same = plan == self.plan and read_file_stamps(plan.file_paths()) == self.file_stamps
        return same and monotonic() - self.loaded_at < MAX_CONTEXT_AGE


def read_file_stamps(files: list[str]) -> list[FileStamp | None]:
    """Return a stamp for each file, which changes when the file does; None: the file does not exist
    or cannot be accessed."""
    return [_stamp(path) for path in files]


def _stamp(path: str) -> FileStamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_credentials(plan: TlsPlan) -> Credentials:
    """Load all files of a plan and check them.

    Raises UsageError or MachineError with one line that names the option and the file.
    """
    # Before the files are read: a change during the read is then noticed at the next check.
    stamps = read_file_stamps(plan.file_paths())
    contexts = [_load_context(plan, pair) for pair in plan.pairs]
    first = contexts[0]
    if len(contexts) > 1:  # otherwise there is no choice, and no callback for each handshake
        by_name = HostnameMap((context.certificate.names, context) for context in contexts)

        def choose(tls: ssl.SSLObject, server_name: str | None, _context: ssl.SSLContext) -> None:
            tls.context = by_name.select(server_name)

        first.sni_callback = choose
    certificates = [
        (pair.chain, context.certificate)
        for pair, context in zip(plan.pairs, contexts, strict=True)
    ]
    return Credentials(plan, first, certificates, stamps, monotonic())


def _validity_problem(certificate: Certificate, now: datetime) -> str:
    if now > certificate.not_after:
        return f"any more: it expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if now < certificate.not_before:
        return f"before {certificate.not_before:%Y-%m-%d %H:%M} UTC"
    return ""


def _load_context(plan: TlsPlan, pair: CertificatePaths) -> ServerContext:
    """Make the context for one certificate, with all settings of the plan.

    Raises UsageError or MachineError.
    """
    context = ServerContext()
    context.sslobject_class = AlertingSSLObject
    _disable_cbc(context)
    context.minimum_version = _VERSIONS[plan.minimum]
    # With renegotiation a client could demand one costly handshake after the other; nginx does not
    # allow it either. TLS 1.3 has none.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN_NAMES)
    chain = _read_file(pair.chain, "tls-cert")
    try:
        # A PEM file may have comments in any encoding around its certificates.
        context.certificate = parse_first_certificate(chain.decode("latin-1"))
    except ValueError as error:
        raise UsageError(f"tls-cert: {pair.chain}: {error}") from None
    with _memfd_path(chain) as chain_path, _memfd_path(_read_file(pair.key, "tls-key")) as key_path:
        _load_chain(context, pair, CertificatePaths(chain_path, key_path), plan.password)
    if plan.ciphers:
        try:
            context.set_ciphers(plan.ciphers)
        except ssl.SSLError:
            raise UsageError(
                f"tls-ciphers: OpenSSL knows no cipher called {plan.ciphers!r}; "
                "see openssl ciphers -v"
            ) from None
    if plan.ca:
        with _memfd_path(_read_file(plan.ca, "tls-ca")) as path:
            try:
                context.load_verify_locations(path)
            except ssl.SSLError:
                raise UsageError(f"tls-ca: {plan.ca} holds no certificates in PEM") from None
    context.verify_mode = _VERIFY_MODES[plan.client]
    return context


@contextmanager
def _memfd_path(data: bytes) -> Iterator[str]:
    """Provide a path for OpenSSL to bytes that were read and checked.

    OpenSSL would open the file again: it may have been replaced meanwhile, and a fifo would block.
    """
    try:
        file = open(os.memfd_create("prefork-tls"), "wb", buffering=0)  # noqa: SIM115 - below
    except OSError as error:
        raise MachineError(f"cannot copy a certificate: {error.strerror}") from error
    with file:
        try:
            file.write(data)
        except OSError as error:  # ulimit -f bounds files in memory as well
            raise MachineError(f"cannot copy a certificate: {error.strerror}") from error
        yield f"/proc/self/fd/{file.fileno()}"


def _disable_cbc(context: ServerContext) -> None:
    """Disable the suites of TLS 1.2 without AEAD (RFC 9325 section 4.2).

    Python's default has two in CBC mode. No current client needs them, and their padding was
    attacked repeatedly (Lucky Thirteen).
    """
    names = [
        cipher["name"]
        for cipher in context.get_ciphers()
        if cipher["aead"] and cipher["protocol"] != "TLSv1.3"
    ]
    if names:
        context.set_ciphers(":".join(names))  # the suites of TLS 1.3 are not affected


def _load_chain(
    context: ServerContext,
    pair: CertificatePaths,
    contents: CertificatePaths,
    password: PasswordSource | None,
) -> None:
    """Load a certificate chain and its key. ``pair``: the operator's paths, for messages;
    ``contents``: the paths of the checked copies."""
    password_requests: list[bool] = []

    def unlock() -> bytes:
        # OpenSSL calls this for an encrypted key only. Without it OpenSSL prompts on the terminal.
        password_requests.append(True)
        if password is None:
            raise UsageError(f"tls-key: {pair.key} is encrypted: set tls-password")
        return read_secret(password, "tls-password")

    try:
        context.load_cert_chain(contents.chain, contents.key, unlock)
    except PreforkError:
        raise
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        if reason == "KEY_VALUES_MISMATCH":
            problem = f"tls-key: {pair.key} is not the key of the certificate {pair.chain}"
        elif reason in _WEAK_KEY_REASONS:
            problem = f"tls-cert: OpenSSL finds {pair.chain} too weak ({reason})"
        elif password_requests:
            problem = f"tls-password: {password} is not the password of {pair.key}"
        else:
            problem = f"tls-key: {pair.key} holds no private key in PEM ({reason})"
        raise UsageError(problem) from None


_WEAK_KEY_REASONS = ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK")


MAX_FILE_SIZE = 16 * 1024 * 1024
"""Bytes of a file of certificates. A bundle of all public authorities has 0.2 MB."""

MAX_SECRET_SIZE = 64 * 1024
"""Bytes of a file with a secret."""


def _read_file(path: str, option: str, limit: int = MAX_FILE_SIZE) -> bytes:
    """Read a regular file of at most ``limit`` bytes.

    Raises UsageError for a wrong path, MachineError for any other failure.
    """
    try:
        return read_regular(path, limit)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, NotRegularFileError) as error:
        reason = (error.strerror or "").lower()
        raise UsageError(f"{option}: cannot read {path}: {reason}") from None
    except OSError as error:
        raise MachineError(
            f"{option}: cannot read {path}: {(error.strerror or '').lower()}"
        ) from None


def read_secret(source: PasswordSource, option: str) -> bytes:
    """Read a password or token from its file or environment variable.

    ``option``: its name, for messages. Raises UsageError or MachineError.
    """
    if source.path:
        return _read_file(source.path, option, MAX_SECRET_SIZE).rstrip(b"\r\n")
    value = secret_value(source.variable)
    if value is None:
        raise UsageError(f"{option}: there is no variable {source.variable}")
    return value
