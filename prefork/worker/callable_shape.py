"""The shape of a callable: its arguments, and whether a call gives a coroutine.

The callable is only looked at, never called.

Design
------
- **The shape is read off the object that a call runs, not off the one that it wraps.**
  ``inspect.signature`` follows ``__wrapped__``, so an app that a decorator makes of a function of a
  request would look like ``main(listener)``.
"""

import inspect
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from prefork.errors import AppError

MAX_DECORATORS = 50
"""Decorators that are looked through."""


def is_async(app: Callable[..., Any]) -> bool:
    """Return whether a call of ``app`` gives a coroutine, as far as that can be seen."""
    shape = CallableShape(app)
    inner = shape.innermost()
    return shape.is_async or (inner is not None and inner.is_async)


class CallableShape:
    """The arguments of a callable, and how it is called. Raises AppError when they cannot be read.

    ``required``: how many positional arguments it requires. ``takes_anything``: it is a decorator
    that passes on all arguments. ``module`` and ``qualified_name``: of its code.
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
        self.qualified_name = str(getattr(code, "co_qualname", ""))

    def innermost(self) -> "CallableShape | None":
        """Return the callable behind a chain of decorators that take anything; None:
        there is none."""
        shape: CallableShape | None = self if self.takes_anything else None
        for _ in range(MAX_DECORATORS):
            if shape is None or not callable(shape._inner):
                return None
            shape = CallableShape(shape._inner)
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
