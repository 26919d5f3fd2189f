"""Servers of event loops on an AppListener, so that a ``main`` in asyncio accepts in its turn.

In a worker that runs a main, the loops' own methods (``create_server``, ``create_unix_server``,
``sock_accept``, of asyncio's loop and of uvloop's) recognize an AppListener. A server of this
module then takes one connection at a time, when the accept policy admits it.

Design
------
- **Event loops accept in their turn, too.** uvloop's own server accepts in C all that wait: of 200
  connections four idle workers got 100, 70, 25 and 5.
- **The methods are patched** instead of using a loop class of our own, which would reach only the
  loop that prefork makes. So ``asyncio.run`` and ``uvloop.run`` in a plain main,
  ``asyncio.start_server`` and the servers of frameworks are reached as well.
- **The listener is watched level-triggered,** and a connection that is left to a sibling is looked
  at again after a millisecond.
- **A plain main with a loop of its own leaves between two connections:** at the stop its server
  accepts no more, and SystemExit comes when the last connection is closed.
"""

import asyncio
import functools
import os
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import uvloop

from prefork.http.server_state import DRAIN_TICK_PERIOD
from prefork.worker.accept.acceptor import EXHAUSTION_ERRORS, EXHAUSTION_PAUSE
from prefork.worker.main.app_listener import AppListener
from prefork.worker.main.counted_listener import RETRY_DELAY, CountedConnection

_TLS_OPTIONS = ("ssl", "ssl_handshake_timeout", "ssl_shutdown_timeout")


class ListenerServer(asyncio.AbstractServer):
    """The server that ``create_server`` returns for an AppListener.

    As with uvloop's servers, ``wait_closed`` does not wait for connections that are open.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: AppListener,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        tls: dict[str, Any],
    ) -> None:
        """``tls``: the options ``ssl…`` of ``connect_accepted_socket``."""
        self._loop = loop
        self._listener = listener
        self._make_protocol = make_protocol
        self._tls = tls
        self._is_serving = False
        self._is_watching = False
        self._closed: asyncio.Future[None] = loop.create_future()
        self._serve_forever_waiter: asyncio.Future[None] | None = None
        self._stop_fd = -1
        self._connecting: set[asyncio.Task[None]] = set()

    # The interface of asyncio.AbstractServer.

    @property
    def sockets(self) -> Sequence[Any]:
        """The listener, until the server is closed."""
        return () if self._closed.done() else (self._listener,)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that the server was made for."""
        return self._loop

    def is_serving(self) -> bool:
        """Return whether the server accepts connections."""
        return self._is_serving

    async def start_serving(self) -> None:
        """Accept connections from now on. Raises RuntimeError when the server is closed."""
        if self._closed.done():
            raise RuntimeError(f"server {self!r} is closed")
        if not self._is_serving:
            self._is_serving = True
            self._listener.counted.add_listener(self._listener)
            self._listener.start_heartbeat(self._loop)
            self._watch_stop()
            self._watch_listener()

    async def serve_forever(self) -> None:
        """Accept connections until cancelled or closed. Raises RuntimeError when the server is
        closed."""
        if self._serve_forever_waiter is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        await self.start_serving()
        self._serve_forever_waiter = self._loop.create_future()
        try:
            await self._serve_forever_waiter
        finally:
            self._serve_forever_waiter = None
            self.close()

    def close(self) -> None:
        """Accept no more, and close the listener. Open connections go on."""
        if self._closed.done():
            return
        self._is_serving = False
        self._stop_watching()
        if self._stop_fd >= 0:
            self._loop.remove_reader(self._stop_fd)
            os.close(self._stop_fd)
        self._listener.close()
        self._closed.set_result(None)
        if self._serve_forever_waiter is not None:
            self._serve_forever_waiter.cancel()

    async def wait_closed(self) -> None:
        """Wait until ``close`` was called."""
        await asyncio.shield(self._closed)

    # Accepting.

    def _watch_stop(self) -> None:
        """Watch for the stop, in a loop that the app runs itself: nothing else would end it."""
        if not self._listener.in_loop:
            self._stop_fd = os.dup(self._listener.stopping.fileno())
            self._loop.add_reader(self._stop_fd, self._on_stop)

    def _on_stop(self) -> None:
        """Accept no more, and end the app when its last connection is closed."""
        self._loop.remove_reader(self._stop_fd)
        if self._listener.is_leaving:
            self._stop_watching()
            self._listener.counted.stop_accepting()
            self._end_app_when_idle()

    def _end_app_when_idle(self) -> None:
        """End the app between two connections, as ``accept`` does in a plain main."""
        if self._listener.counted.is_busy:
            self._loop.call_later(DRAIN_TICK_PERIOD, self._end_app_when_idle)
        else:
            self._listener.stop_accepting()

    def _watch_listener(self) -> None:
        """Watch the listener for connections, unless it is watched already."""
        if self._is_serving and not self._is_watching:
            self._is_watching = True
            self._loop.add_reader(self._listener.fileno(), self._accept_one)

    def _stop_watching(self, seconds: float | None = None) -> None:
        """Do not watch the listener for so many seconds; None: never again."""
        if self._is_watching:
            self._is_watching = False
            self._loop.remove_reader(self._listener.fileno())
        if seconds is not None:
            self._loop.call_later(seconds, self._resume_watching)

    def _resume_watching(self) -> None:
        """Watch again after a pause."""
        self._watch_listener()
        if self._is_serving:
            # Look at once, so that the wait is reset if a sibling took the connection.
            self._accept_one()

    def _accept_one(self) -> None:
        """Accept one connection, if this worker may take it. The loop calls again while others
        wait."""
        try:
            accepted = self._listener.accept_admitted()
        except BlockingIOError:
            if self._listener.is_leaving:
                self._stop_watching()
        except OSError as error:
            if error.errno in EXHAUSTION_ERRORS:
                self._report_error(error, "prefork: cannot accept; trying again in 100 ms")
                self._stop_watching(EXHAUSTION_PAUSE)
        else:
            if accepted is None:
                self._stop_watching(RETRY_DELAY)
            else:
                connecting = self._loop.create_task(self._connect(accepted[0]))
                self._connecting.add(connecting)
                connecting.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: CountedConnection) -> None:
        """Give the connection to a protocol of the app's, after the TLS handshake if
        there is one."""
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, accepted, **self._tls)
        except OSError:
            accepted.close()  # the client left, or its TLS handshake failed
        except Exception as error:
            accepted.close()
            self._report_error(error, "prefork: cannot serve a connection")
        except BaseException:
            accepted.close()
            raise

    def _report_error(self, error: Exception, message: str) -> None:
        """Give the error to the loop's exception handler, which logs it."""
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "socket": self._listener}
        )


async def create_server(
    loop: asyncio.AbstractEventLoop,
    listener: AppListener,
    make_protocol: Callable[[], asyncio.BaseProtocol],
    options: dict[str, Any],
) -> ListenerServer:
    """As ``loop.create_server``. Raises TypeError when ``ssl`` is no SSLContext."""
    tls = {name: options[name] for name in _TLS_OPTIONS if options.get(name) is not None}
    if tls and not isinstance(tls.get("ssl"), ssl.SSLContext):
        raise TypeError("ssl argument must be an SSLContext or None")
    server = ListenerServer(loop, listener, make_protocol, tls)
    if options.get("start_serving", True):
        await server.start_serving()
    return server


async def sock_accept(
    loop: asyncio.AbstractEventLoop, listener: AppListener
) -> tuple[CountedConnection, Any]:
    """As ``loop.sock_accept``."""
    listener.counted.add_listener(listener)
    listener.start_heartbeat(loop)
    while True:
        try:
            accepted = listener.accept_admitted()
        except BlockingIOError:
            if listener.is_leaving:
                await loop.create_future()  # main is about to be cancelled
            await _wait_readable(loop, listener)
        else:
            if accepted is not None:
                accepted[0].setblocking(False)
                return accepted
            await asyncio.sleep(RETRY_DELAY)


async def _wait_readable(loop: asyncio.AbstractEventLoop, listener: AppListener) -> None:
    """Wait until a connection waits; in a loop that the app runs itself, also for the stop."""
    readable = loop.create_future()

    def set_readable() -> None:
        if not readable.done():
            readable.set_result(None)

    stop = os.dup(listener.stopping.fileno())
    stop_is_noticed = listener.in_loop or listener.stopping
    fds = (listener.fileno(),) if stop_is_noticed else (listener.fileno(), stop)
    for fd in fds:
        loop.add_reader(fd, set_readable)
    try:
        await readable
    finally:
        for fd in fds:
            loop.remove_reader(fd)
        os.close(stop)


def patch_event_loops() -> None:
    """Make asyncio's loop and uvloop's recognize an AppListener.

    It cannot be undone, and need not be: the process serves nothing but its main.
    """
    for kind in (asyncio.SelectorEventLoop, uvloop.Loop):
        for name in ("create_server", "create_unix_server"):
            setattr(kind, name, _wrap_create_server(getattr(kind, name)))
        setattr(kind, "sock_accept", _wrap_sock_accept(kind.sock_accept))  # noqa: B010


Method = Callable[..., Coroutine[Any, Any, Any]]


def _wrap_create_server(method: Method) -> Method:
    """Wrap ``create_server`` or ``create_unix_server``: an AppListener as ``sock`` is
    served here."""

    @functools.wraps(method)
    async def create(loop: Any, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        listener = options.get("sock")
        if isinstance(listener, AppListener) and all(arg is None for arg in args):
            return await create_server(loop, listener, protocol_factory, options)
        return await method(loop, protocol_factory, *args, **options)

    return create


def _wrap_sock_accept(method: Method) -> Method:
    """Wrap ``sock_accept``: connections of an AppListener are accepted here."""

    @functools.wraps(method)
    async def accept(loop: Any, sock: Any) -> Any:
        if isinstance(sock, AppListener):
            return await sock_accept(loop, sock)
        return await method(loop, sock)

    return accept
