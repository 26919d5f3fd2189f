"""Callables of every shape that an app may have; each answers with its name, where it can."""

import functools
import wsgiref.validate
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Any]


def _wsgi(name: str, start: Start) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [name.encode()]


async def _asgi(name: str, send: Callable[[Any], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": name.encode()})


# WSGI.


def wsgi_function(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return _wsgi("wsgi_function", start_response)


def wsgi_more(environ: Environ, start_response: Start, more: str = "more") -> Iterable[bytes]:
    return _wsgi(f"wsgi_{more}", start_response)


wsgi_lambda = lambda environ, start: _wsgi("wsgi_lambda", start)  # noqa: E731


class WsgiCallable:
    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        return _wsgi("wsgi_instance", start_response)

    def method(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        return _wsgi("wsgi_method", start_response)

    @staticmethod
    def static(environ: Environ, start_response: Start) -> Iterable[bytes]:
        return _wsgi("wsgi_static", start_response)


wsgi_instance = WsgiCallable()
wsgi_method = wsgi_instance.method
wsgi_static = WsgiCallable.static


class WsgiClass:
    """PEP 3333's own example: the call makes the iterable."""

    def __init__(self, environ: Environ, start_response: Start) -> None:
        self._pieces = _wsgi("wsgi_class", start_response)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


wsgi_class = WsgiClass


def _with_prefix(prefix: str, environ: Environ, start_response: Start) -> Iterable[bytes]:
    return _wsgi(f"{prefix}_partial", start_response)


wsgi_partial = functools.partial(_with_prefix, "wsgi")


def _decorate(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        return call(*arguments, **keywords)

    return wrapper


@_decorate
def wsgi_decorated(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return _wsgi("wsgi_decorated", start_response)


class WsgiWrapped:
    @_decorate
    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        return _wsgi("wsgi_wrapped", start_response)

    @_decorate
    def method(self, prefix: str, environ: Environ, start_response: Start) -> Iterable[bytes]:
        return _wsgi(f"{prefix}_wrapped_method", start_response)


wsgi_wrapped = WsgiWrapped()
wsgi_wrapped_method = functools.partial(WsgiWrapped().method, "wsgi")


def _responder(call: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a WSGI app of a function of a request."""

    @functools.wraps(call)
    def wrapper(environ: Environ, start_response: Start) -> Any:
        return _wsgi(call(environ), start_response)

    return wrapper


@_responder
def wsgi_responder(request: Any) -> str:
    return "wsgi_responder"


class WsgiDescriptor(WsgiCallable):
    """As webob's wsgify: an instance that is a descriptor as well."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        return _wsgi("wsgi_descriptor", start_response)


wsgi_descriptor = WsgiDescriptor()


def _valid(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return _wsgi("wsgi_validator", start_response)


wsgi_validator = wsgiref.validate.validator(_valid)


# ASGI.


def _view(call: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an ASGI app of a function of a request."""

    @functools.wraps(call)
    async def wrapper(scope: Any, receive: Any, send: Any) -> None:
        await _asgi(call(scope), send)

    return wrapper


@_view
def asgi_view(request: Any) -> str:
    return "asgi_view"


class AsgiSlots:
    """As Sentry's middleware: ``__call__`` is a slot that holds a method."""

    __slots__ = ("__call__",)

    def __init__(self) -> None:
        self.__call__ = self._run  # type: ignore[method-assign]

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        await _asgi("asgi_slots", send)


asgi_slots = AsgiSlots()


class Asgi2:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None:
        await _asgi("asgi_double_class", send)


asgi_double_class = Asgi2


def asgi_double(scope: Any) -> Callable[..., Awaitable[None]]:
    async def call(receive: Any, send: Any) -> None:
        await _asgi("asgi_double", send)

    return call


async def asgi_function(scope: Any, receive: Any, send: Any) -> None:
    await _asgi("asgi_function", send)


class AsgiCallable:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await _asgi("asgi_instance", send)

    async def method(self, scope: Any, receive: Any, send: Any) -> None:
        await _asgi("asgi_method", send)


asgi_instance = AsgiCallable()
asgi_method = asgi_instance.method


async def _asgi_with_prefix(prefix: str, scope: Any, receive: Any, send: Any) -> None:
    await _asgi(f"{prefix}_partial", send)


asgi_partial = functools.partial(_asgi_with_prefix, "asgi")
asgi_partial_instance = functools.partial(AsgiCallable())


@_decorate
async def asgi_decorated(scope: Any, receive: Any, send: Any) -> None:
    await _asgi("asgi_decorated", send)


def asgi_returns_coroutine(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    return _asgi("asgi_returns_coroutine", send)


class AsgiMiddleware:
    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


asgi_middleware = AsgiMiddleware(asgi_function)


# main(listener).


def socket_function(listener: Any) -> None: ...


async def socket_async(listener: Any) -> None: ...


def socket_star(*listeners: Any) -> None: ...


class SocketCallable:
    def __call__(self, listener: Any) -> None: ...


socket_instance = SocketCallable()
socket_partial = functools.partial(lambda prefix, listener: None, "prefix")


@_decorate
def socket_decorated(listener: Any) -> None: ...


# Nothing.


def _anyhow(call: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as werkzeug has one: its arguments do not show the interface."""

    @functools.wraps(call)
    def wrapper(*arguments: Any) -> Any:
        return _wsgi(call(arguments[-2]), arguments[-1])

    return wrapper


@_anyhow
def doubtful_responder(request: Any) -> str:
    return "doubtful"


@_decorate
def doubtful_view(request: Any, user: Any) -> str:
    return "doubtful"


def no_arguments() -> None: ...


def four_arguments(a: Any, b: Any, c: Any, d: Any) -> None: ...


def three_arguments(a: Any, b: Any, c: Any) -> None: ...


async def async_two_arguments(a: Any, b: Any) -> None: ...


def anything(*arguments: Any, **keywords: Any) -> Any:
    """An app behind a decorator without functools.wraps."""
    return wsgi_function(*arguments, **keywords)


number = 5


# Where to find them.

app = wsgi_lambda
holder = SimpleNamespace(inner=SimpleNamespace(app=wsgi_instance))


def make_app(name: str = "default", *, debug: bool = False) -> Callable[..., Any]:
    """A factory."""

    def made(environ: Environ, start_response: Start) -> Iterable[bytes]:
        return _wsgi(f"made {name!r} {debug}", start_response)

    return made


def make_nothing() -> None: ...


def make_trouble() -> None:
    raise LookupError("no parts left")
