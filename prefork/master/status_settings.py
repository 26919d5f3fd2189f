"""The settings of a status server that a reload may change: read, and checked."""

import posixpath
from dataclasses import dataclass

from prefork.config import Config
from prefork.errors import UsageError
from prefork.unix.identity import Identity, resolve_identity


@dataclass(frozen=True, slots=True)
class StatusSettings:
    """The settings of a status server that a reload may change.

    ``identity``: user and group. ``min_ready``: ready workers below which the app counts as not
    ready. ``token``: empty: there is none. ``required_store``: where the store is and its size, if
    the app is not ready without it; None: it may be.
    """

    identity: Identity
    min_ready: int
    token: bytes
    required_store: tuple[str, int] | None = None


def read_status_settings(config: Config, start_dir: str) -> StatusSettings:
    """Read and check these settings. Raises PreforkError."""
    token = b""
    if config.status_token is not None:
        from prefork.tls.credentials import read_secret  # noqa: PLC0415 - imports OpenSSL

        source = config.status_token.resolve_paths(lambda path: posixpath.join(start_dir, path))
        token = read_secret(source, "status-token")
        if not token.isascii() or not token.decode().isprintable() or b" " in token or not token:
            raise UsageError(
                f"status-token: {source} holds no token: one word of ASCII is expected"
            )
    store = None
    if config.store_required:
        # Before the fork, as all that a child may need.
        import prefork.store.current_store  # noqa: F401, PLC0415 - few apps require their store

        store = (config.store, config.store_size)
    identity = resolve_identity(config.user, config.group)
    return StatusSettings(identity, config.min_ready, token, store)
