"""Tell WSGI, ASGI and ``main(listener)`` apart by looking at the callable, never by calling it.

async with three required arguments   ASGI      app(scope, receive, send)
two required arguments                WSGI      app(environ, start_response)
one required argument, or *listeners  socket    main(listener)
one required argument called scope,
or a class with an async __call__     ASGI 2    app(scope)(receive, send)

Design
------
- **The interface is read off the object that a call runs, not off the one that it wraps.**
  ``inspect.signature`` follows ``__wrapped__``, so an app that a decorator makes of a function of a
  request would look like ``main(listener)``.
- **Only a decorator that takes anything (``*args, **kwargs``) is looked through,** and then the
  names of the arguments have to be unambiguous.
- **Three callables of libraries that show nothing** are recognized by their code (KNOWN_WSGI).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from prefork.errors import AppError

KNOWN_WSGI = {
    ("webob.dec", "wsgify.__call__"),
    ("werkzeug.wrappers.request", "Request.application.<locals>.application"),
    ("wsgiref.validate", "validator.<locals>.lint_app"),
}
"""WSGI callables whose arguments do not tell: the module and the qualified name of their code."""

MAX_DECORATORS = 50
"""Decorators that are looked through."""


class Interface(StrEnum):
    """How an app is called."""

    WSGI = "wsgi"
    ASGI = "asgi"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class InterfaceChoice:
    """The interface of an app, and why it was chosen."""

    interface: Interface
    reason: str
    is_asgi2: bool = False
    """An ASGI 2 app, called as ``app(scope)(receive, send)``; see ``adapt_asgi2``."""


def detect_interface(app: Callable[..., Any], wanted: str) -> InterfaceChoice:
    """Return the interface of ``app``; ``wanted``: the value of ``--interface``.

    Raises AppError when the callable fits no interface, or more than one.
    """
    if wanted != "auto":
        version_2 = wanted == "asgi" and is_asgi2(app)
        return InterfaceChoice(
            Interface(wanted), "as asked" + " (version 2)" * version_2, version_2
        )
    shape = _CallableShape(app)
    if shape.is_known_wsgi:
        return InterfaceChoice(Interface.WSGI, f"{shape.module} makes it")
    if shape.takes_anything:
        inner = shape.innermost()
        found = (
            _match_interface(inner) if inner is not None and _is_unambiguous(shape, inner) else None
        )
        if found is None:
            raise _ambiguous_error(shape, inner)
        return replace(found, reason=f"{found.reason}, behind a decorator")
    found = _match_interface(shape)
    if found is None:
        raise AppError(
            f"the app fits no interface: it has {shape}; WSGI takes two, ASGI is async and takes "
            f"three, main(listener) takes one. {_advice(shape.required)}"
        )
    return found


def adapt_asgi2(app: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an ASGI 2 app as one of ASGI 3 (asgi.readthedocs.io, "Legacy Applications")."""

    async def single(scope: Any, receive: Any, send: Any) -> None:
        await app(scope)(receive, send)

    return single


def is_async(app: Callable[..., Any]) -> bool:
    """Whether a call of ``app`` gives a coroutine, as far as that can be seen."""
    shape = _CallableShape(app)
    inner = shape.innermost()
    return shape.is_async or (inner is not None and inner.is_async)


def is_asgi2(app: Callable[..., Any]) -> bool:
    """Whether ``app`` is an ASGI 2 app."""
    shape = _CallableShape(app)
    if shape.required != 1 or shape.takes_anything or shape.is_async:
        return False
    if isinstance(app, type):
        return inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004
    return shape.names[:1] == ["scope"]


class _CallableShape:
    """The arguments of a callable, and how it is called. Raises AppError when they cannot be read.

    ``required``: how many positional arguments it requires. ``takes_anything``: it is a decorator
    that passes on all arguments. ``module``: where its code was defined.
    """

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app
        called = _called_object(app)
        try:
            parameters = inspect.signature(called, follow_wrapped=False).parameters.values()
        except (TypeError, ValueError):
            raise AppError(
                "the app's arguments cannot be read; say what it is with --interface"
            ) from None
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        needed = [p for p in parameters if p.kind in positional and p.default is p.empty]
        kinds = {p.kind for p in parameters}
        self.names = [p.name for p in parameters]
        self.required = len(needed)
        self.has_star = inspect.Parameter.VAR_POSITIONAL in kinds
        self._inner = _unwrapped(called) or getattr(app, "__wrapped__", None)
        # A star alone is main(*listeners), unless the callable wraps another one.
        self.takes_anything = self.has_star and (
            inspect.Parameter.VAR_KEYWORD in kinds or callable(self._inner)
        )
        while isinstance(called, partial):
            called = _called_object(called.func)
        self.is_async = inspect.iscoroutinefunction(called)
        function = getattr(called, "__func__", called)
        self.module = str(getattr(function, "__globals__", {}).get("__name__", ""))
        code = getattr(function, "__code__", None)
        self.is_known_wsgi = (self.module, getattr(code, "co_qualname", "")) in KNOWN_WSGI

    def innermost(self) -> "_CallableShape | None":
        """Return the callable behind a chain of decorators that take anything; None:
        there is none."""
        shape: _CallableShape | None = self if self.takes_anything else None
        for _ in range(MAX_DECORATORS):
            if shape is None or not callable(shape._inner):
                return None
            shape = _CallableShape(shape._inner)
            if not shape.takes_anything:
                return shape
        return None

    def __str__(self) -> str:
        kind = "async, " if self.is_async else ""
        return f"{kind}{self.required} required argument{'' if self.required == 1 else 's'}"


def _called_object(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function or method that a call of ``app`` runs.

    ``__call__`` is looked up in the type, as Python does. There it may also be a slot that holds
    another method for each instance.
    """
    kinds = (type, partial, FunctionType, MethodType, BuiltinFunctionType)
    if isinstance(app, kinds):
        return app
    call: Any = inspect.getattr_static(type(app), "__call__", app)
    try:
        bound: Callable[..., Any] = call.__get__(app, type(app))
    except AttributeError:  # an empty slot, or a callable without a class of its own
        return app
    return bound


def _unwrapped(called: Any) -> Any:
    """Return the callable that functools.wraps says is wrapped, with its bound arguments; None:
    none."""
    if isinstance(called, partial):
        inner = _unwrapped(_called_object(called.func))
        return None if inner is None else partial(inner, *called.args, **called.keywords)
    if inspect.ismethod(called):
        inner = _unwrapped(called.__func__)
        return None if inner is None else inner.__get__(called.__self__)
    return getattr(called, "__wrapped__", None)


def _is_unambiguous(outer: _CallableShape, inner: _CallableShape) -> bool:
    """Whether the names of the arguments show that the decorator ``outer`` calls ``inner`` as the
    server would.

    A decorator that makes an app of a function of a request takes anything as well, and calls the
    function with other arguments.
    """
    names = [name.lower() for name in inner.names]
    if inner.required == 2:
        return not outer.is_async and ("env" in names[0] or "start" in names[1])
    if inner.required == 1:
        return any(word in names[0] for word in ("listen", "sock", "scope"))
    return True


def _match_interface(shape: _CallableShape) -> InterfaceChoice | None:
    """Return the interface with such arguments; None: there is none."""
    required, found = shape.required, str(shape)
    if required == 3 and (shape.is_async or shape.names[:3] == ["scope", "receive", "send"]):
        return InterfaceChoice(Interface.ASGI, found)
    if required == 2 and not shape.is_async:
        return InterfaceChoice(Interface.WSGI, found)
    if is_asgi2(shape.app):
        return InterfaceChoice(Interface.ASGI, f"{found}, version 2", is_asgi2=True)
    if required == 1 or (required == 0 and shape.has_star):
        return InterfaceChoice(Interface.SOCKET, found)
    return None


def _ambiguous_error(shape: _CallableShape, inner: _CallableShape | None) -> AppError:
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
