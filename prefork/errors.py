"""Every error that prefork raises, in one tree sorted by who is at fault.

The class decides the exit code of the command, so that a script can tell "you typed it wrong"
from "the app is broken" from "the machine said no" from "prefork has a bug". The numbers follow
the habit of s6 (100 usage, 111 system, 101 software). This file never prints and never exits.
"""


class PreforkError(Exception):
    """Base of all. ``str(error)`` is complete: who is at fault, what happened, the next step."""

    exit_code = 101


class UsageError(PreforkError):
    """The caller is at fault: an unknown option, a wrong value, a file that does not parse."""

    exit_code = 100


class AppError(PreforkError):
    """The app is at fault: it does not import, is missing, or fails before it is ready.

    ``traceback`` is the app's own traceback as text, without prefork's frames; empty when there
    is none to show (a missing name, a wrong type).
    """

    exit_code = 102

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message}\n{self.traceback.rstrip()}" if self.traceback else message


class MachineError(PreforkError):
    """The machine said no: port in use, permission denied, no such user, disk full."""

    exit_code = 111


class ClientError(PreforkError):
    """The HTTP client is at fault; ``status`` is the answer it gets (RFC 9110 section 15)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ClientGoneError(PreforkError, ConnectionResetError):
    """The HTTP client left, or reads too slowly, while the app was still answering."""


INCOMPLETE_ENVIRONMENT = (
    "the Python environment that prefork runs in is incomplete, or was changed after the master "
    "had started: install prefork and what it depends on, then restart the master"
)
"""What to say and do when an import of our own fails."""
