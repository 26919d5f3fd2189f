"""The life of the status server: take connections, keep the clock, leave with the master.

HTTP is our own (http/). While nobody is connected and nobody has looked for a while there is no
timer at all, so that it costs nothing to have it.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from prefork.config.networks import Networks
from prefork.http.connection import Connection
from prefork.http.forwarded import TrustedProxies
from prefork.http.limits import Limits
from prefork.http.load import CONNECTION, Load
from prefork.http.server_state import ServerState
from prefork.http.tick import TICK_PERIOD as TICK
from prefork.observe.status.access_control import Access
from prefork.observe.status.connection_slots import Places
from prefork.observe.status.history import PERIOD
from prefork.observe.status.master_client import MasterClient
from prefork.observe.status.routes import StatusSite
from prefork.observe.status.scoreboard_view import ScoreboardView
from prefork.unix.descriptor_channel import DescriptorChannel
from prefork.unix.identity import Identity
from prefork.unix.memory_footprint import proportional_size
from prefork.unix.privileges import forbid_new_privileges
from prefork.unix.process import set_parent_death_signal
from prefork.unix.scoreboard import Rows

MOST_CONNECTIONS = 128
"""One more ends another, see connection_slots.py; where the answers of all are being made it
waits."""

LAST_ANSWERS = 30.0
"""Seconds for what was asked before we were to leave."""

_LIMITS = Limits(body=4096, body_memory=65536 * 4, keepalive=20.0, request=None, linger=0.2)


@dataclass(frozen=True, slots=True)
class StatusServerContext:
    """All that it is given at its fork. ``name``: the host to be asked by; None: a unix socket.
    ``talks``: the master answers questions."""

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


def run_status_server(birth: StatusServerContext) -> int:
    """The whole life; the exit code."""
    birth.identity.assume()
    forbid_new_privileges()  # it executes nothing
    if not set_parent_death_signal(signal.SIGKILL, birth.master):
        return 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # Else asyncio writes on stderr, and would wait for its reader.
        runner.get_loop().set_exception_handler(lambda _loop, what: _tell(birth.log, what))
        runner.run(_Server(birth, runner.get_loop()).run())
    return 0


def _tell(log: logging.Logger, what: dict[str, Any]) -> None:
    """What asyncio says of a callback that failed."""
    log.error("status server: %s", what.get("message"), exc_info=what.get("exception"))


class _Server:
    def __init__(self, birth: StatusServerContext, loop: asyncio.AbstractEventLoop) -> None:
        self._sockets = birth.sockets
        self._loop = loop
        self._log = birth.log
        self._master = MasterClient(loop, birth.channel, birth.has_control)
        self._view = ScoreboardView(birth.app, birth.rows, birth.min_ready)
        access = Access(birth.host, birth.token)
        site = StatusSite(self._view, access, self._master, loop, birth.log)
        site.on_look = self._look
        self._load = Load([0], 0)
        nobody = TrustedProxies(Networks(()), frozenset(), False)
        self._service = ServerState(loop, site, _LIMITS, nobody, self._load)
        self._service.on_connection_closed = self._make_room
        self._places = Places(MOST_CONNECTIONS)
        self._ticks = False
        """There is a timer for the clock; without one it stands still."""
        self._sampling: asyncio.Task[None] | None = None
        self._listening = False
        self._leaving = False

    async def run(self) -> None:
        self._make_room()
        await self._master.gone
        self._leaving = True
        self._stop_listening()
        self._service.drain(has_no_successor=True)
        try:
            async with asyncio.timeout(LAST_ANSWERS):
                await self._service.wait_until_empty()
        except TimeoutError:
            pass  # the process ends, and with it whoever does not

    # Connections.

    def _make_room(self) -> None:
        if not self._listening and not self._leaving:
            self._listening = True
            for listening in self._sockets:
                self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _stop_listening(self) -> None:
        self._listening = False
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())

    def _accept(self, listening: socket.socket) -> None:
        if not self._places.make_room(self._service.connections):
            self._stop_listening()  # until one of them is gone
            return
        try:
            taken, _ = listening.accept()
        except OSError:
            return  # it left already, or a process before us took it
        if not self._ticks:
            self._ticks = True
            self._service.clock.advance(self._loop.time())
            self._loop.call_later(TICK, self._tick)
        self._load.add(+CONNECTION)
        self._load.add_expected_requests(+1)
        self._loop.create_task(self._admit(taken))

    async def _admit(self, taken: socket.socket) -> None:
        connection = Connection(self._service)
        self._places.enter(connection, self._service.connections)
        await self._loop.connect_accepted_socket(lambda: connection, taken)

    def _tick(self) -> None:
        """As long as anybody is connected."""
        wait = self._service.tick()
        self._service.counters.response_times.clear()
        if self._load.word >= CONNECTION:
            self._loop.call_later(wait, self._tick)
        else:
            self._ticks = False

    # Samples.

    def _look(self) -> None:
        self._view.note_viewer()
        if self._sampling is None or self._sampling.done():
            self._sampling = self._loop.create_task(self._take_samples())

    async def _take_samples(self) -> None:
        """While somebody looks. What takes long is read in a thread, so that no answer waits."""
        while self._view.is_watched:
            await asyncio.sleep(PERIOD)
            if pids := self._view.shares_wanted():
                self._view.learn(await asyncio.to_thread(_shares, pids))
            self._view.sample()


def _shares(pids: list[int]) -> dict[int, int | None]:
    return {pid: proportional_size(pid) for pid in pids}
