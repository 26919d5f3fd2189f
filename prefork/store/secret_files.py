"""``prefork.secret(name)``: a random text, made once for the app.

A secret is a file of the store's folder with mode 0600. It is written under another name, synced,
and then linked to its own name, which fails if another worker was first. No message, verb or log
shows it, and ``prefork store APP clear`` keeps it.
"""

import os
import re
from contextlib import suppress
from secrets import token_hex
from typing import Any

from prefork.config.store_kind import is_server
from prefork.errors import StoreUnavailable, StoreValueError
from prefork.store.current_store import find_place, warn_of_process_memory
from prefork.store.store_folder import open_store_directory
from prefork.unix.directory import Directory
from prefork.unix.store_place import StorePlace

NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_BYTES = 32
_SECRET = re.compile(r"[0-9a-f]{64}")

_in_process: dict[str, str] = {}


def secret(name: str = "default") -> str:
    """Return a random text of 64 hexadecimal digits, the same in all workers, after each reload and
    each restart. It is made at the first call. For ``SECRET_KEY`` and the like.

    Raises StoreUnavailable, and StoreValueError for a name with other characters than
    ``A-Z a-z 0-9 _ . -``.
    """
    if not NAME.fullmatch(name):
        raise StoreValueError(f"the secret cannot be called {name[:100]!r}: use A-Z a-z 0-9 _ . -")
    place = find_place()
    if place.kind == "process":
        warn_of_process_memory()
        return _in_process.setdefault(name, token_hex(_BYTES))
    if is_server(place.kind):
        return _secret_on_server(place, name)
    try:
        return _secret_in(open_store_directory(place), f"secret.{name}")
    except OSError as error:
        raise StoreUnavailable(f"cannot keep the secret {name}: {error.strerror}") from error


def _secret_in(directory: Directory, name: str) -> str:
    """Return the secret in a file, which is made if there is none. Raises OSError."""
    with directory:
        with suppress(FileNotFoundError):
            return _read(directory, name)
        own = f"{name}.new.{os.getpid()}.{token_hex(4)}"
        fd = directory.create(own, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(token_hex(_BYTES).encode())
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(own, name, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
        finally:
            directory.remove(own)
        directory.sync()
        return _read(directory, name)


def _read(directory: Directory, name: str) -> str:
    text = directory.read(name, 2 * _BYTES).decode("ascii", "replace")
    if not _SECRET.fullmatch(text):
        raise StoreUnavailable(
            f"{directory.path / name} is not what prefork wrote; remove it to get a new secret"
        )
    return text


def _secret_on_server(place: StorePlace, name: str) -> str:
    """Return the secret that the server keeps, which is made if there is none. Verbs of the store
    do not know its key."""
    from prefork.store.redis_backend import key_on_server  # noqa: PLC0415 - an extra
    from prefork.store.redis_client import open_client  # noqa: PLC0415

    key, new = key_on_server("prefork-secret", place, name), token_hex(_BYTES)

    def act(client: Any) -> bytes:
        client.set(key, new, nx=True)
        found: bytes | None = client.get(key)
        return found or b""

    text = open_client(place.kind).call(act).decode("ascii", "replace")
    if not _SECRET.fullmatch(text):
        raise StoreUnavailable(f"the server of the store did not keep the secret {name}")
    return text
