"""All exceptions that prefork raises, in one tree that is sorted by who has to act.

The class decides the exit code of the command, so that a script can tell a typing mistake (100)
from a broken app (102), a machine that refused something (111) and a bug in prefork (101). The
numbers follow the convention of s6: 100 for wrong usage, 111 for a failed system call, 101 for a
software error.

This module never prints and never exits.
"""


class PreforkError(Exception):
    """The base class of all exceptions of prefork.

    ``str(error)`` is a complete message: it names what happened, what caused it and the next step.
    """

    exit_code = 101


class UsageError(PreforkError):
    """The caller made a mistake: an unknown option, a wrong value, a file that does not parse."""

    exit_code = 100


class AppError(PreforkError):
    """The app does not import, is missing, or fails before it is ready.

    ``traceback`` is the app's own traceback as text, without prefork's frames. It is empty when
    there is none to show, as for a missing name or a wrong type.
    """

    exit_code = 102

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message}\n{self.traceback.rstrip()}" if self.traceback else message


class MachineError(PreforkError):
    """The operating system refused something: a port in use, missing permission, a full disk."""

    exit_code = 111


class ClientError(PreforkError):
    """The HTTP client sent a request that is refused.

    ``status`` is the status code of the response that the client gets (RFC 9110 section 15).
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ClientGoneError(PreforkError, ConnectionResetError):
    """The HTTP client disconnected, or read too slowly, while the app was still answering."""


class StoreError(PreforkError):
    """The store, a lock or a secret that workers share cannot do what the app asks for."""

    exit_code = 111


class StoreBusy(StoreError):  # noqa: N818 - the public name
    """Another process holds the store, or the named lock, for longer than the timeout."""


class StoreUnavailable(StoreError):  # noqa: N818 - the public name
    """The store cannot be used: it is off, its folder is refused, the disk is full, or its server
    does not answer."""


class StoreValueError(StoreError, ValueError):
    """A key, a value or a time to live is not one that the store can take."""

    exit_code = 100


INCOMPLETE_ENVIRONMENT = (
    "the Python environment that prefork runs in is incomplete, or was changed after the master "
    "had started: install prefork and what it depends on, then restart the master"
)
"""The message for an import of prefork's own modules or dependencies that fails.

Modules that a worker may need are imported before the fork (``import_serving_modules`` in
worker/boot.py), because a master may live for months while its Python environment is upgraded or
moved.
"""
