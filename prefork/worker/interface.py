"""Tell WSGI, ASGI and ``main(listener)`` apart by looking at the callable, never by calling it.

async with three required arguments   ASGI      app(scope, receive, send)
two required arguments                WSGI      app(environ, start_response)
one required argument, or *listeners  socket    main(listener)
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from prefork.errors import AppError


class Interface(StrEnum):
    """How an app is called."""

    WSGI = "wsgi"
    ASGI = "asgi"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class Choice:
    """The interface, and why it was chosen."""

    interface: Interface
    reason: str


def choose(app: Callable[..., Any], wanted: str) -> Choice:
    """``wanted`` is the option's word. Raises AppError when the callable fits nothing."""
    if wanted != "auto":
        return Choice(Interface(wanted), "as asked")
    asynchronous = is_async(app)
    required, star = _required(app)
    kind = "async, " if asynchronous else ""
    found = f"{kind}{required} required argument{'' if required == 1 else 's'}"
    if required == 3 and asynchronous:
        return Choice(Interface.ASGI, found)
    if required == 3 and _returns_awaitable(app):
        return Choice(Interface.ASGI, found)
    if required == 2 and not asynchronous:
        return Choice(Interface.WSGI, found)
    if required == 1 or (required == 0 and star):
        return Choice(Interface.SOCKET, found)
    raise AppError(
        f"the app fits no interface: it has {found}; WSGI takes two, ASGI is async and takes "
        f"three, main(listener) takes one. {_next_step(required)}"
    )


def _next_step(required: int) -> str:
    says = "Say which it is with --interface"
    if required == 0:
        return f"{says}; or, if it makes the app, call it, as in myapp:create_app()"
    return says


def is_async(app: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    while isinstance(app, functools.partial):
        app = app.func
    call = type(app).__call__ if not isinstance(app, type) else None
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call)


def _returns_awaitable(app: Callable[..., Any]) -> bool:
    """A plain function that wraps an ASGI app: told by its argument names."""
    names = list(inspect.signature(app).parameters)
    return names[:3] == ["scope", "receive", "send"]


def _required(app: Callable[..., Any]) -> tuple[int, bool]:
    """How many positional arguments it needs, and whether it takes any number."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        raise AppError(
            "the app's arguments cannot be read; say what it is with --interface"
        ) from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is p.empty]
    kinds = {p.kind for p in parameters}
    # With ** as well it is a decorator without functools.wraps, which may hide anything.
    star = inspect.Parameter.VAR_POSITIONAL in kinds
    return len(needed), star and inspect.Parameter.VAR_KEYWORD not in kinds
