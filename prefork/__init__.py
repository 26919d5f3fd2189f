"""prefork: bind once, fork workers that share the socket, reload without losing a request.

The public API:

    prefork.worker()     slot, generation and name of the worker that runs this code
    prefork.ready()      report that main(listener) accepts connections (with --ready manual)
    prefork.stopping()   whether, and when, this worker has to stop; for main(listener)
    prefork.busy()       a context manager for work that recycling and scaling wait for
    prefork.store()      a store that all workers share: sessions, counters, caches
    prefork.lock(name)   a lock that all workers share
    prefork.secret(name) a random text that all workers share, made once
    prefork.leader()     whether this worker is the one that leads; leader_token() numbers the terms
    prefork.on_leader()  call a function in the worker that becomes the leader
    prefork.run(...)     serve from Python instead of from the command line
    prefork.Client()     the apps of this user: list them, send requests to their masters

The modules of this folder:

    __main__.py          python -m prefork
    demo.py              demo apps for each interface
    errors.py            all exceptions, and the exit code of each
    json_records.py      dataclasses as JSON, and back
    plural.py            a number together with its noun
    printable.py         escape characters that act on the display
    version.py           the version

The layers, from low to high. No module imports from a higher layer, and packages of one layer do
not import each other:

    errors, version, _speed         exceptions and exit codes; the compiled part, which is optional
    pool | config | http | wire     the master's decisions, settings, HTTP, private protocols
    unix | tls | node               interfaces to the kernel, to OpenSSL and to Node
    worker | observe | store        what runs in children; logs and events; what workers share
    adapters                        the store as frameworks want it; imported by their users only
    master | adapters               wait, gather facts, carry out orders
    cli                             the command
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prefork.version import __version__
from prefork.worker.app_api import (
    Stopping,
    WorkerInfo,
    busy,
    leader,
    leader_token,
    on_leader,
    ready,
    stopping,
    worker,
)
from prefork.worker.leadership import Leadership

if TYPE_CHECKING:
    from prefork.cli.registry.client import Client
    from prefork.store.current_store import open_store as store
    from prefork.store.named_lock import lock
    from prefork.store.secret_files import secret

__all__ = [
    "Client",
    "Leadership",
    "Stopping",
    "WorkerInfo",
    "__version__",
    "busy",
    "leader",
    "leader_token",
    "lock",
    "on_leader",
    "ready",
    "run",
    "secret",
    "stopping",
    "store",
    "worker",
]

_DECLARED_IN = {
    "Client": "prefork.cli.registry.client",
    "lock": "prefork.store.named_lock",
    "secret": "prefork.store.secret_files",
    "StoreError": "prefork.errors",
    "StoreBusy": "prefork.errors",
    "StoreUnavailable": "prefork.errors",
    "StoreValueError": "prefork.errors",
}


def __getattr__(name: str) -> Any:
    """Import what most apps do not use at its first access (PEP 562)."""
    if name == "store":
        return import_module("prefork.store")  # a module that can be called
    if name in _DECLARED_IN:
        return getattr(import_module(_DECLARED_IN[name]), name)
    raise AttributeError(f"module 'prefork' has no attribute {name!r}")


def run(app: str, **options: Any) -> int:
    """Serve ``app`` (``"module:callable"``) until stopped; return 0.

    Raises SystemExit, with the exit code of the command, where that would not be 0.

    ``options`` are those of the command, by their names with underscores and with the values that a
    settings file may hold: ``prefork.run("myapp:main", workers=0, bind=["127.0.0.1:8000"])``. They
    win over environment and defaults. ``app`` is a name and never a callable: workers import the
    app themselves, so that a reload can load new code.
    """
    from prefork.cli.command import run_from_python  # noqa: PLC0415 - apps rarely need it

    return run_from_python(app, options)
