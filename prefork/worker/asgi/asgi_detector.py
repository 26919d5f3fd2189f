"""Detect ASGI apps.

async with three required arguments   ASGI 3    app(scope, receive, send)
one required argument called scope,
or a class with an async __call__     ASGI 2    app(scope)(receive, send)
"""

import inspect
from collections.abc import Callable
from typing import Any

from prefork.worker.callable_shape import CallableShape
from prefork.worker.interface import Detector, Fit


class AsgiDetector(Detector):
    """Detects ASGI apps. Those of version 2 get an adapter."""

    arguments = "ASGI is async and takes three"

    @staticmethod
    def match(shape: CallableShape) -> Fit | None:
        """Return why an app of version 3 or 2 fits."""
        if shape.required == 3 and (
            shape.is_async or shape.names[:3] == ["scope", "receive", "send"]
        ):
            return Fit(str(shape))
        return Fit(f"{shape}, version 2", adapt_asgi2) if _is_asgi2(shape) else None

    @staticmethod
    def names_match(outer: CallableShape, inner: CallableShape) -> bool:  # noqa: ARG004
        """Return whether there are three arguments, or one that is called a scope."""
        return inner.required == 3 or (inner.required == 1 and "scope" in inner.names[0].lower())

    @staticmethod
    def accept(app: Callable[..., Any]) -> Fit:
        """Return how to call an app that the operator says is one of ASGI: version 2 by an
        adapter."""
        is_asgi2 = _is_asgi2(CallableShape(app))
        return Fit("as asked (version 2)", adapt_asgi2) if is_asgi2 else Fit("as asked")


def adapt_asgi2(app: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an ASGI 2 app as one of ASGI 3 (asgi.readthedocs.io, "Legacy Applications")."""

    async def single(scope: Any, receive: Any, send: Any) -> None:
        await app(scope)(receive, send)

    return single


def _is_asgi2(shape: CallableShape) -> bool:
    """Return whether a callable of this shape is an ASGI 2 app."""
    if shape.required != 1 or shape.takes_anything or shape.is_async:
        return False
    if isinstance(shape.app, type):
        return inspect.iscoroutinefunction(getattr(shape.app, "__call__", None))  # noqa: B004
    return shape.names[:1] == ["scope"]
