"""prefork: bind once, fork workers that share the socket, reload without losing a request.

What an app may use:

    prefork.worker()     slot, generation and name of the worker that runs this code
    prefork.ready()      say that main(listener) accepts now (with --ready manual)
    prefork.stopping()   whether, and when, this worker is to leave; for main(listener)
    prefork.busy()       with it: work that recycling and scaling wait for
    prefork.run(...)     serve from Python instead of from the command line
    prefork.Client()     all apps of this user: list them, ask their masters

The layers, low to high; nothing imports upwards, siblings do not import each other:

    errors, version                 who is at fault, and the exit codes
    pool | config | http | wire     the mind of the master, settings, HTTP, private protocols
    unix | tls                      the seams to the kernel and to OpenSSL
    worker | observe                what runs in children; logs and happenings
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
    """Client is imported when somebody asks for it (PEP 562): apps rarely do."""
    if name == "Client":
        from prefork.cli.registry.client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module 'prefork' has no attribute {name!r}")


def run(app: str, **options: Any) -> int:
    """Serve ``app`` (``"module:callable"``) until stopped; returns the exit code of the command.

    ``options`` are the command's, by their names with underscores and with the values that a
    file may hold: ``prefork.run("myapp:main", workers=0, bind=["127.0.0.1:8000"])``. They win
    over environment and defaults. Only a name is accepted, no callable: workers import the app
    themselves, so that a reload can bring new code.
    """
    from prefork.cli.command import run_from_python  # noqa: PLC0415 - apps rarely need it

    return run_from_python(app, options)
