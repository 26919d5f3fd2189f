"""The store, the locks and the secrets that all workers of an app share.

``prefork.store()`` returns the store; ``prefork.store.get(key)`` and the like use it without a
namespace. This package is imported at the first use.

current_store.py       which store this process uses
damage_check.py        read a whole store file, in a process of its own
embedded.py            the embedded store (LMDB)
entry_format.py        keys, entries and indexes as bytes
leader_lease.py        the lease of a leader over several machines
lease_state.py         what a candidate knows of that lease
named_lock.py          prefork.lock()
open_backends.py       the embedded stores of this process, around a fork and at its end
process_memory.py      a store in the memory of one process
redis_backend.py       the store on a Redis or Valkey server
redis_client.py        the connections to such a server
redis_deadline.py      a limit for the whole answer of such a server
redis_lock.py          named locks on such a server
restore.py             fill a new store with the entries of a snapshot
secret_files.py        prefork.secret()
snapshot_timer.py      when a snapshot is due
store_api.py           SharedStore: the operations as an app calls them
store_change.py        one change of the embedded store
store_folder.py        the files of an embedded store
store_snapshot.py      all entries in a synced file

Design
------
- **This module can be called.** ``prefork.store`` is this package and the function that opens the
  store. Python sets the attribute ``store`` of ``prefork`` to the package at its import, so a
  function of this name would vanish then. The class of a module may be exchanged for that
  (https://docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access).
"""

import sys
from types import ModuleType
from typing import Any

from prefork.store.current_store import open_store
from prefork.store.store_api import DEFAULT_TIMEOUT, SharedStore

__all__ = ["SharedStore", "open_store"]

_METHODS = frozenset(name for name in vars(SharedStore) if not name.startswith("_")) - {"namespace"}


class _CallableModule(ModuleType):
    """This module, which opens a store when it is called."""

    def __call__(
        self, app: str | None = None, *, namespace: str = "", timeout: float = DEFAULT_TIMEOUT
    ) -> SharedStore:
        return open_store(app, namespace=namespace, timeout=timeout)

    def __getattr__(self, name: str) -> Any:
        """Return a method of the store of this process: ``prefork.store.get``."""
        if name in _METHODS:
            return getattr(open_store(), name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _CallableModule
