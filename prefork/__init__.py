"""prefork: bind once, fork workers that share the socket, reload without losing a request.

The public API:

    prefork.worker()     slot, generation and name of the worker that runs this code
    prefork.ready()      report that main(listener) accepts connections (with --ready manual)
    prefork.stopping()   whether, and when, this worker has to stop; for main(listener)
    prefork.busy()       a context manager for work that recycling and scaling wait for
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
    worker | observe                what runs in children; logs and events
    master                          wait, gather facts, carry out orders
    cli                             the command
"""

from typing import TYPE_CHECKING, Any

from prefork.version import __version__
from prefork.worker.app_api import Stopping, WorkerInfo, busy, ready, stopping, worker

if TYPE_CHECKING:
    from prefork.cli.registry.client import Client

__all__ = [
    "Client",
    "Stopping",
    "WorkerInfo",
    "__version__",
    "busy",
    "ready",
    "run",
    "stopping",
    "worker",
]


def __getattr__(name: str) -> Any:
    """Import ``Client`` on first access (PEP 562), because apps rarely use it."""
    if name == "Client":
        from prefork.cli.registry.client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module 'prefork' has no attribute {name!r}")


def run(app: str, **options: Any) -> int:
    """Serve ``app`` (``"module:callable"``) until stopped; return the exit code of the command.

    ``options`` are those of the command, by their names with underscores and with the values that a
    settings file may hold: ``prefork.run("myapp:main", workers=0, bind=["127.0.0.1:8000"])``. They
    win over environment and defaults. ``app`` is a name and never a callable: workers import the
    app themselves, so that a reload can load new code.
    """
    from prefork.cli.command import run_from_python  # noqa: PLC0415 - apps rarely need it

    return run_from_python(app, options)
