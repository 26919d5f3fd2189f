"""Which store this process uses: that of its worker, of a named app, of PREFORK_STORE, or none."""

import os
from _thread import allocate_lock
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from prefork.config.store_kind import is_server, parse_store
from prefork.errors import StoreUnavailable, UsageError
from prefork.store.store_api import DEFAULT_TIMEOUT, Backend, SharedStore, check_timeout
from prefork.unix.home import check_app_name, registry_path
from prefork.unix.registry_entry import RegistryEntry
from prefork.unix.store_place import DEFAULT_SIZE, StorePlace, store_place

MOST_STORES = 100
"""Stores that a process keeps, at most: an app may have a namespace for each of its users."""


class _Opened:
    """The backends of this process, by place."""

    lock = allocate_lock()
    backends: ClassVar[dict[StorePlace, Backend]] = {}
    stores: ClassVar[dict[tuple[str, float], tuple[StorePlace, SharedStore]]] = {}
    """By namespace and timeout, each with the place that it was opened at."""
    is_warned = False


def open_store(
    app: str | None = None, *, namespace: str = "", timeout: float = DEFAULT_TIMEOUT
) -> SharedStore:
    """Return the store that all workers of the app share.

    ``app``: the name of an app of this user, for management commands and scripts. Without it, a
    worker gets the store of its own app. A process that is no worker gets the store that
    PREFORK_STORE names, or one in its own memory. ``timeout``: seconds that a write waits for other
    writers, and each call for a process that opens the store. Raises StoreUnavailable and
    UsageError.
    """
    place = find_place(app)
    known = _Opened.stores.get((namespace, timeout))
    if known is not None and known[0] is place:  # as at each call of an adapter in a worker
        return known[1]
    backend = open_backend(place, check_timeout(timeout))
    store = SharedStore(backend, namespace, timeout, waits_in_loop=not is_server(place.kind))
    if len(_Opened.stores) < MOST_STORES:
        _Opened.stores[namespace, timeout] = place, store
    return store


def find_place(app: str | None = None) -> StorePlace:
    """Return where the store is that ``open_store`` opens. Its kind is ``process`` for one in the
    memory of this process."""
    if app is not None:
        return place_of_app(app, os.environ)
    if (place := store_place()) is not None:
        return place
    kind = _kind_in_environment()
    name = os.environ.get("PREFORK_NAME", "")
    if is_server(kind) or kind == "off":
        return StorePlace(kind, app=name)
    if kind.startswith("/"):
        return StorePlace(kind, app=name, folder=kind)
    if name and (registry_path(os.environ) / name).is_dir():
        return place_of_app(name, os.environ)  # a program that a worker has started
    return StorePlace("process")


def _kind_in_environment() -> str:
    """Return what PREFORK_STORE says; empty: it is not set. Raises UsageError."""
    kind = os.environ.get("PREFORK_STORE", "")
    try:
        return kind and parse_store(kind)
    except ValueError as error:  # the value may have a password
        raise UsageError(f"the value of PREFORK_STORE is not {error}") from None


def place_of_app(app: str, environ: Mapping[str, str]) -> StorePlace:
    """Return where the store of an app in the list is. Raises UsageError."""
    entry = RegistryEntry(registry_path(environ) / check_app_name(app))
    if not entry.path.is_dir():
        raise UsageError(f"no app of this user is called {app}; see `prefork list`")
    return place_in_state(entry)


def place_in_state(entry: RegistryEntry) -> StorePlace:
    """Return the store that the state of an app names."""
    said: Any = entry.state.get("store")
    kind, size = said if isinstance(said, list) and len(said) == 2 else ("embedded", DEFAULT_SIZE)
    if not isinstance(kind, str) or not isinstance(size, int):
        raise StoreUnavailable(f"the state of {entry.name} does not say where its store is")
    if kind.startswith("/"):
        return StorePlace(kind, size, entry.name, kind)
    folder = entry.path / "store"
    try:
        # A master makes this folder for workers of another user, also for a store in memory.
        owner = os.lstat(folder).st_uid
    except OSError:
        owner = entry.owner
    return StorePlace(kind, size, entry.name, str(folder), owner=owner)


def open_backend(place: StorePlace, timeout: float = DEFAULT_TIMEOUT) -> Backend:
    """Return the backend at a place; a process opens each place once. ``timeout``: seconds to wait
    for a process that makes its files just now. Raises StoreError."""
    with _Opened.lock:
        found = _Opened.backends.get(place)
        if found is None:
            found = _Opened.backends[place] = _make_backend(place, timeout)
        return found


def _make_backend(place: StorePlace, timeout: float) -> Backend:
    make = _MAKERS.get(place.kind)
    if make is not None:
        return make(place)
    if is_server(place.kind):
        from prefork.store.redis_backend import RedisBackend  # noqa: PLC0415 - an extra

        return RedisBackend(place)
    from prefork.store.embedded import EmbeddedBackend  # noqa: PLC0415 - not for a server

    return EmbeddedBackend(place, timeout)


def _make_process_memory(_place: StorePlace) -> Backend:
    from prefork.store.process_memory import ProcessMemoryBackend  # noqa: PLC0415 - rare

    warn_of_process_memory()
    return ProcessMemoryBackend()


def warn_of_process_memory() -> None:
    """Log once that nothing here is shared. In ``prefork --check`` nothing has to be."""
    import logging  # noqa: PLC0415 - only outside of prefork

    if not _Opened.is_warned and store_place() is None:
        _Opened.is_warned = True
        kind = _kind_in_environment()
        said = f"PREFORK_STORE={kind} is only for workers" if kind else "PREFORK_STORE is not set"
        logging.getLogger("prefork.store").warning(
            "this process is no worker of prefork and %s, so its store, locks and secrets are in "
            "its own memory, and no other process sees them; PREFORK_STORE may name a folder or a "
            "server, and prefork.store(app=NAME) is the store of an app",
            said,
        )


def _refuse(_place: StorePlace) -> Backend:
    raise StoreUnavailable("the store is switched off by --store off (or PREFORK_STORE=off)")


_MAKERS: dict[str, Callable[[StorePlace], Backend]] = {
    "off": _refuse,
    "process": _make_process_memory,
}


def _renew_lock() -> None:
    _Opened.lock = allocate_lock()


os.register_at_fork(after_in_child=_renew_lock)
