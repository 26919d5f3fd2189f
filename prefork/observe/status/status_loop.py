"""Run the event loop of the status server: accept connections, take samples, end with the master.

Design
------
- **HTTP is prefork's own (http/), with a small handler (routes.py).** There is no timer while no
  client is connected and the page has not asked for data for three minutes, so that an unused
  status server costs no CPU. Slow readings (PSS, the ends of logs) are made in a thread.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import uvloop

from prefork.config.networks import Networks
from prefork.http.forwarded import TrustedProxies
from prefork.http.limits import Limits
from prefork.http.load import CONNECTION, Load
from prefork.http.served_protocols import ServedProtocols
from prefork.http.server_state import ServerState
from prefork.http.tick import TICK_PERIOD as TICK
from prefork.observe.status.access_control import AccessControl
from prefork.observe.status.connection_slots import ConnectionSlots
from prefork.observe.status.history import PERIOD
from prefork.observe.status.master_client import MasterClient
from prefork.observe.status.routes import StatusSite
from prefork.observe.status.scoreboard_view import ScoreboardView
from prefork.observe.status.store_health import StoreHealth
from prefork.unix.descriptor_channel import DescriptorChannel
from prefork.unix.identity import Identity
from prefork.unix.privileges import forbid_new_privileges
from prefork.unix.process import set_parent_death_signal
from prefork.unix.scoreboard import Rows
from prefork.unix.store_place import close_stores

MAX_CONNECTIONS = 128
"""Maximum number of connections.

One more replaces another (connection_slots.py), or waits while the responses of all are being made.
"""

DRAIN_TIMEOUT = 30.0
"""Seconds for the responses to requests that arrived before the end."""

# Requests are small: the largest body is that of /scale.
_LIMITS = Limits(body=4096, body_memory=65536 * 4, keepalive=20.0, request=None, linger=0.2)


@dataclass(frozen=True, slots=True)
class StatusServerContext:
    """The arguments of a status server, from its master.

    ``app`` is the app's name, ``sockets`` are the listening sockets, ``rows`` is the scoreboard,
    and ``channel`` leads to the master, whose pid is ``master``. ``host`` is the name or address
    that clients use; None for a unix socket. ``has_control``: the master answers requests.
    ``min_ready`` is the option of this name. The process runs as ``identity``. ``check_store``:
    raises PreforkError if the store cannot be used; None: the store is not required.
    """

    app: str
    sockets: Sequence[socket.socket]
    host: str | None
    rows: Rows
    channel: DescriptorChannel
    has_control: bool
    identity: Identity
    master: int
    min_ready: int
    token: bytes
    log: logging.Logger
    check_store: Callable[[], None] | None = None


def run_status_server(context: StatusServerContext) -> int:
    """Run the status server until its master closes the channel or ends; returns the exit code."""
    context.identity.assume()
    forbid_new_privileges()  # The status server executes no programs.
    if not set_parent_death_signal(signal.SIGKILL, context.master):
        return 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # The default handler of asyncio writes to stderr, where it may block.
        runner.get_loop().set_exception_handler(lambda _loop, what: _log_error(context.log, what))
        runner.run(_Server(context, runner.get_loop()).run())
    return 0


def _log_error(log: logging.Logger, what: dict[str, Any]) -> None:
    """Log the error of a callback, as asyncio reports it."""
    log.error("status server: %s", what.get("message"), exc_info=what.get("exception"))


class _Server:
    def __init__(self, context: StatusServerContext, loop: asyncio.AbstractEventLoop) -> None:
        self._sockets = context.sockets
        self._loop = loop
        self._log = context.log
        self._master = MasterClient(loop, context.channel, context.has_control)
        self._health = context.check_store and StoreHealth(context.check_store, loop, context.log)
        self._view = ScoreboardView(context.app, context.rows, context.min_ready, self._health)
        access = AccessControl(context.host, context.token)
        site = StatusSite(self._view, access, self._master, loop, context.log)
        site.on_view = self._on_view
        self._load = Load([0], 0)
        no_proxies = TrustedProxies(Networks(()), frozenset(), False)
        self._server_state = ServerState(loop, site, _LIMITS, no_proxies, self._load)
        self._server_state.on_connection_closed = self._start_listening
        self._protocols = ServedProtocols(self._server_state)
        self._slots = ConnectionSlots(MAX_CONNECTIONS)
        self._has_timer = False
        """True if the timer runs that advances the clock and the deadlines of connections."""
        self._sampling: asyncio.Task[None] | None = None
        self._is_listening = False
        self._is_draining = False

    async def run(self) -> None:
        self._start_listening()
        await self._master.closed
        self._is_draining = True
        self._stop_listening()
        self._server_state.drain(has_no_successor=True)
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT):
                await self._server_state.wait_until_empty()
        except TimeoutError:
            pass  # The end of the process closes the remaining connections.
        if self._health is not None and not self._health.is_checking:
            close_stores()  # Otherwise the thread of the check may hold them for long.

    # Connections.

    def _start_listening(self) -> None:
        if not self._is_listening and not self._is_draining:
            self._is_listening = True
            for listening in self._sockets:
                self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _stop_listening(self) -> None:
        self._is_listening = False
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())

    def _accept(self, listening: socket.socket) -> None:
        """Accept a connection, if there is a slot for it."""
        if not self._slots.make_room(self._server_state.connections):
            self._stop_listening()  # It starts again when a connection is closed.
            return
        try:
            accepted, _ = listening.accept()
        except OSError:
            return  # The client is gone, or the previous status server took the connection.
        if not self._has_timer:
            self._has_timer = True
            self._server_state.clock.advance(self._loop.time())
            self._loop.call_later(TICK, self._tick)
        self._load.add_connection()
        self._loop.create_task(self._connect(accepted))

    async def _connect(self, accepted: socket.socket) -> None:
        connection = self._protocols.default.connect()
        self._slots.add(connection, self._server_state.connections)

        def connect() -> asyncio.Protocol:
            return cast(asyncio.Protocol, connection)

        await self._loop.connect_accepted_socket(connect, accepted)

    def _tick(self) -> None:
        """Advance the clock and the deadlines, as long as there are connections."""
        wait = self._server_state.tick()
        self._server_state.counters.response_times.clear()
        if self._load.word >= CONNECTION:
            self._loop.call_later(wait, self._tick)
        else:
            self._has_timer = False

    # Samples.

    def _on_view(self) -> None:
        self._view.note_viewer()
        if self._sampling is None or self._sampling.done():
            self._sampling = self._loop.create_task(self._take_samples())

    async def _take_samples(self) -> None:
        """Add a sample each second while the page is open."""
        while self._view.is_watched:
            await asyncio.sleep(PERIOD)
            await self._view.refresh_memory()
            self._view.sample()
