"""From settings and files to a context that can shake hands.

The master loads once for a generation, before the fork: it may read keys that its workers may not,
and all workers of a generation share the keys of session tickets, so a client may resume with any
of them. With --tls-watch a worker loads anew by itself when the files changed.
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
from prefork.tls.alerts import AlertingSSLObject
from prefork.tls.certificate import Certificate, parse_first_certificate
from prefork.tls.certificate_matching import HostnameMap
from prefork.tls.certificate_plan import CertificatePaths, TlsPlan
from prefork.tls.secret_variables import secret_value
from prefork.unix.regular_file import NotRegularFileError, read_regular

ALPN_PROTOCOLS = ("http/1.1",)
"""What we offer by ALPN, the best first. Who speaks another one adds it here, and looks at
``selected_alpn_protocol()`` of the peer's ``tls`` when the connection is made."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class ServerContext(ssl.SSLContext):
    """Knows the certificate that it shows."""

    certificate: Certificate

    def __new__(cls) -> "ServerContext":
        """A server's, with Python's idea of good ciphers and options."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    @cached_property
    def cipher_numbers(self) -> dict[str, int]:
        """As they go over the wire, by OpenSSL's names; OpenSSL has a mark of its own above."""
        return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in self.get_ciphers()}


FileStamp = tuple[int, int, int]


MAX_CONTEXT_AGE = 24 * 3600.0
"""Seconds for which a context outlives reloads. The keys of its session tickets are as old as it,
and with them one can read what was sent early and what TLS 1.2 resumed (RFC 8446 appendix F.1)."""


@dataclass(slots=True)
class Credentials:
    """``context`` is for the next handshake; ``certificates`` by the paths of their files."""

    plan: TlsPlan
    context: ServerContext
    certificates: list[tuple[str, Certificate]]
    file_stamps: list[FileStamp | None]
    """Of the files, from before they were read."""
    loaded_at: float
    """Monotonic time."""

    @property
    def warnings(self) -> list[str]:
        """What the operator should know of the certificates now."""
        now = datetime.now(UTC)
        return [
            f"tls-cert: {path} is not valid {problem}"
            for path, certificate in self.certificates
            if (problem := _validity_problem(certificate, now))
        ]

    def reload(self) -> None:
        """Read the files again; on an error all stays as it is. Raises PreforkError."""
        fresh = read_credentials(self.plan)
        self.context, self.certificates = fresh.context, fresh.certificates

    def is_current_for(self, plan: TlsPlan) -> bool:
        """Whether a reload with this plan can go on with them: its settings and files are the same,
        and the context is not too old. Python has no call for the keys of session tickets, so only
        the same context resumes the sessions of clients."""
        same = plan == self.plan and read_file_stamps(plan.file_paths()) == self.file_stamps
        return same and monotonic() - self.loaded_at < MAX_CONTEXT_AGE


def read_file_stamps(files: list[str]) -> list[FileStamp | None]:
    """What changes when a file does; None: it is not there, or hidden."""
    return [_stamp(path) for path in files]


def _stamp(path: str) -> FileStamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_credentials(plan: TlsPlan) -> Credentials:
    """Read and check all of it. Raises PreforkError with one line that names the file."""
    stamps = read_file_stamps(plan.file_paths())
    contexts = [_load_context(plan, pair) for pair in plan.pairs]
    first = contexts[0]
    if len(contexts) > 1:
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
    context = ServerContext()
    context.sslobject_class = AlertingSSLObject
    _disable_cbc(context)
    context.minimum_version = _VERSIONS[plan.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN_PROTOCOLS)
    chain = _read_file(pair.chain, "tls-cert")
    try:
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
    """A path for OpenSSL to what was read: the file itself may be another one by now, and a fifo
    would block."""
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
    """Python's default has two suites of TLS 1.2 in CBC mode, which no client of today needs and
    whose padding was attacked over and over (Lucky Thirteen); RFC 9325 section 4.2 wants AEAD."""
    names = [
        cipher["name"]
        for cipher in context.get_ciphers()
        if cipher["aead"] and cipher["protocol"] != "TLSv1.3"
    ]
    if names:
        context.set_ciphers(":".join(names))  # without TLS 1.3's, which stay as they are


def _load_chain(
    context: ServerContext,
    pair: CertificatePaths,
    contents: CertificatePaths,
    password: PasswordSource | None,
) -> None:
    """``pair``: the files by the names that the operator knows; ``contents``: what was read."""
    password_requests: list[bool] = []

    def unlock() -> bytes:
        # OpenSSL calls this for an encrypted key only; without it, it would ask the terminal.
        password_requests.append(True)
        if password is None:
            raise UsageError(f"tls-key: {pair.key} is encrypted; say with tls-password by what")
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
"""Bytes of certificates; the bundle of all public authorities has 0.2 MB."""

MAX_SECRET_SIZE = 64 * 1024


def _read_file(path: str, option: str, limit: int = MAX_FILE_SIZE) -> bytes:
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
    """A password, or what else is no setting itself. Raises UsageError or MachineError."""
    if source.path:
        return _read_file(source.path, option, MAX_SECRET_SIZE).rstrip(b"\r\n")
    value = secret_value(source.variable)
    if value is None:
        raise UsageError(f"{option}: there is no variable {source.variable}")
    return value
