"""Find the interface of an app by looking at the callable, never by calling it.

Design
------
- **Only a decorator that takes anything (``*args, **kwargs``) is looked through,** and then the
  names of the arguments have to be unambiguous. A decorator that makes an app of a function of a
  request takes anything as well, and calls the function with other arguments.
- **An interface may recognize callables of libraries that show nothing,** by their code.
- **Detectors are imported with this module,** so that a worker that has changed its user, and may
  not read the files any more, has them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from prefork.config import Config
from prefork.config.interfaces import APP_INTERFACES, COMMAND_INTERFACE
from prefork.errors import AppError
from prefork.worker.callable_shape import CallableShape
from prefork.worker.interface import AppService, CommandService, Detector, Fit

AUTO = "auto"
"""The value of ``--interface`` that has the interface detected."""


def load_class(path: str) -> Any:
    """Import the class that the table names as "module:class"."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


DETECTORS: dict[str, type[Detector]] = {
    name: load_class(entry.detector) for name, entry in APP_INTERFACES.items()
}
"""By the name of the interface, in the order of the table."""


@dataclass(frozen=True, slots=True)
class InterfaceChoice:
    """The interface of an app, and why it was chosen."""

    name: str
    fit: Fit

    def __str__(self) -> str:
        return f"{self.name} ({self.fit.reason})"

    def load_service(self) -> type[AppService]:
        """Import the class that serves such an app."""
        service: type[AppService] = load_class(APP_INTERFACES[self.name].service)
        return service

    def adapt(self, app: Callable[..., Any]) -> Callable[..., Any]:
        """Return the app as it has to be called."""
        return app if self.fit.adapt is None else self.fit.adapt(app)


def load_command_service(config: Config) -> type[CommandService] | None:
    """Import the class that serves the command in the settings; None: they name an app."""
    if not config.command:
        return None
    service: type[CommandService] = load_class(COMMAND_INTERFACE.service)
    return service


def import_app_services(wanted: str) -> None:
    """Import all services that an app may need; ``wanted``: the value of ``--interface``."""
    for name, entry in APP_INTERFACES.items():
        if wanted in (AUTO, name):
            load_class(entry.service).import_optional_modules()


def detect_interface(app: Callable[..., Any], wanted: str) -> InterfaceChoice:
    """Return the interface of ``app``; ``wanted``: the value of ``--interface``.

    Raises AppError when the callable fits no interface, or more than one.
    """
    if wanted != AUTO:
        return InterfaceChoice(wanted, DETECTORS[wanted].accept(app))
    shape = CallableShape(app)
    for name, detector in DETECTORS.items():
        if (fit := detector.recognize(shape)) is not None:
            return InterfaceChoice(name, fit)
    if shape.takes_anything:
        return _look_through_decorators(shape)
    found = _match(shape)
    if found is None:
        takes = ", ".join(detector.arguments for detector in DETECTORS.values())
        raise AppError(
            f"the app fits no interface: it has {shape}; {takes}. {_advice(shape.required)}"
        )
    return found


def _match(shape: CallableShape) -> InterfaceChoice | None:
    """Return the first interface that a callable of this shape fits; None: there is none."""
    for name, detector in DETECTORS.items():
        if (fit := detector.match(shape)) is not None:
            return InterfaceChoice(name, fit)
    return None


def _look_through_decorators(shape: CallableShape) -> InterfaceChoice:
    """Return the interface of the callable behind a decorator that takes any arguments. Raises
    AppError when it is ambiguous."""
    inner = shape.innermost()
    detectors = DETECTORS.values()
    if inner is None or not any(detector.names_match(shape, inner) for detector in detectors):
        raise _ambiguous_error(shape, inner)
    found = _match(inner)
    if found is None:
        raise _ambiguous_error(shape, inner)
    reason = f"{found.fit.reason}, behind a decorator"
    return replace(found, fit=replace(found.fit, reason=reason))


def _ambiguous_error(shape: CallableShape, inner: CallableShape | None) -> AppError:
    """Make the error for a decorator that takes any arguments and may change them."""
    wrapped = f" before it calls a function with {inner}" if inner is not None else ""
    return AppError(
        "the app's interface is ambiguous: its decorator takes any arguments, and may change them"
        f"{wrapped}. {_advice(shape.required)}"
    )


def _advice(required: int) -> str:
    """Tell the operator what to do about an app that fits no interface."""
    says = "Say which it is with --interface"
    if required == 0:
        return f"{says}; or, if it makes the app, call it, as in myapp:create_app()"
    return says
