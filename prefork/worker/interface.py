"""The base classes of app interfaces: all that the rest of the worker knows of one.

The table of interfaces is config/interfaces.py. A new interface is an entry there, a detector and a
service.

Design
------
- **Two classes know one interface whole.** Rejected: questions of the form "is it ASGI?" where a
  worker is built, because each new interface would have to answer them in five files.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prefork.worker.callable_shape import CallableShape
from prefork.worker.companions import Companions
from prefork.worker.master_channel import MasterChannel
from prefork.worker.shutdown import Shutdown
from prefork.worker.worker_context import WorkerContext

if TYPE_CHECKING:  # a master of programs does not import it
    from prefork.worker.accept.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Fit:
    """Why an app fits an interface. ``adapt``: makes an older form of app one of today's; None:
    the app is called as it is."""

    reason: str
    adapt: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None


class Detector(ABC):
    """Tells whether an app has an interface, by looking at the callable."""

    arguments: ClassVar[str]
    """The parameters of such an app, in the error for an app that fits no interface."""

    @staticmethod
    @abstractmethod
    def match(shape: CallableShape) -> Fit | None:
        """Return why a callable of this shape fits the interface; None: it does not."""

    @staticmethod
    @abstractmethod
    def names_match(outer: CallableShape, inner: CallableShape) -> bool:
        """Return whether the names of its arguments show that ``inner`` is called as this interface
        calls an app. ``outer`` is a decorator around it that takes any arguments."""

    @staticmethod
    def recognize(shape: CallableShape) -> Fit | None:  # noqa: ARG004
        """Return why a callable fits whose arguments do not tell; None: it is not known."""
        return None

    @staticmethod
    def accept(app: Callable[..., Any]) -> Fit:  # noqa: ARG004
        """Return how to call an app for which the operator named this interface. Raises AppError
        when the app cannot be looked at."""
        return Fit("as asked")


class AppService(ABC):
    """Serves the app of one worker."""

    def __init__(
        self, app: Callable[..., Any], context: WorkerContext, channel: MasterChannel
    ) -> None:
        self.app = app
        self.context = context
        self.channel = channel

    @staticmethod  # noqa: B027 - most interfaces have none
    def import_optional_modules() -> None:
        """Import what only some apps need, in the master before it forks. A missing module is
        reported by the first worker that needs it."""

    @abstractmethod
    def serve(
        self, endpoints: "Sequence[Endpoint]", shutdown: Shutdown, companions: Companions
    ) -> None:
        """Start the app, serve it until the worker is asked to stop, and stop it. Raises
        PreforkError."""


class CommandService(ABC):
    """Serves a command, which replaces the Python of its worker."""

    @staticmethod
    @abstractmethod
    def run(context: WorkerContext) -> int:
        """Prepare the process and execute the command. Returns an exit code only if that fails."""

    @staticmethod
    @abstractmethod
    def check(context: WorkerContext) -> str:
        """Return what would be executed. Raises PreforkError."""
