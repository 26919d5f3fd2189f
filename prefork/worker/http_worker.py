"""An HTTP worker: an event loop, the acceptor, the heartbeat, and the drain.

A drain closes the listeners, answers the requests in flight, lets the app shut down, and returns.
The master's kill timeout bounds all of that. A worker whose master died measures the kill timeout
itself (shutdown.py).

Design
------
- **The last 64 descriptors are never used for connections** (``RESERVED``). The worker raises its
  soft limit to the hard one and stops accepting at its limit; further clients wait in the queue.
  Otherwise the app would be the first to fail without descriptors.
- **An orphaned worker accepts all that waits, unless systemd keeps the listeners.** Without a copy
  elsewhere, closing the last one would reset these connections. Under the shipped unit the next
  master finds them in the queue, and systemd kills this worker at once: 3 of 60 were lost.
- **A worker near the limit of its connections hands none off** (``HANDOFF_FILL``), and each keeps
  places for what waits in the handoff queue (acceptor.py). Otherwise the place that it frees goes
  to a new connection, and the one that it handed off would find no place again.
"""

import asyncio
import math
import random
from collections.abc import Sequence

import uvloop

from prefork.config import Config
from prefork.config.networks import Networks
from prefork.http.forwarded import TrustedProxies
from prefork.http.limits import Limits, WebSocketLimits
from prefork.http.load import Load
from prefork.http.served_protocols import ServedProtocols
from prefork.http.server_state import RequestHandler, ServerState
from prefork.http.spool_disk import SpoolDisk, check_folder
from prefork.plural import pluralize
from prefork.tls.certificate_matching import silence_undecodable_server_names
from prefork.unix.descriptors import descriptor_limit
from prefork.worker.accept.accept_events import AcceptEvents
from prefork.worker.accept.accept_policy import AcceptPolicy, make_accept_policy
from prefork.worker.accept.acceptor import Acceptor
from prefork.worker.accept.connector import Connector
from prefork.worker.accept.endpoints import Endpoint
from prefork.worker.accept.handoff import ConnectionHandoff, HandoffQueue
from prefork.worker.accept.rebalance import Rebalancer
from prefork.worker.app_api import worker
from prefork.worker.background_work import BackgroundWork
from prefork.worker.certificate_reload import CertificateReloader
from prefork.worker.companions import Companions
from prefork.worker.http_app import HttpApp
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.heartbeat import LONGEST_IDLE_PAUSE, Heartbeat
from prefork.worker.monitor.slow_log import SlowLog
from prefork.worker.monitor.stats import WorkerStats
from prefork.worker.monitor.watchdog import Watchdog
from prefork.worker.request.request_id import assign_request_ids
from prefork.worker.shutdown import Shutdown
from prefork.worker.worker_context import WorkerContext

HANDOFF_FILL = 0.75
"""Share of the connection limit up to which a worker hands connections off; those in the handoff
queue count as its own."""

RESERVED = 64
"""Descriptors that are never used for connections."""


class HttpWorker:
    """Serves an app that answers HTTP requests, until the worker is asked to stop."""

    def __init__(
        self,
        context: WorkerContext,
        app: HttpApp,
        endpoints: Sequence[Endpoint],
        channel: MasterChannel,
        shutdown: Shutdown,
    ) -> None:
        self._app = app
        self._config = context.config
        self._endpoints = endpoints
        self._queue = context.handoff_queue
        self._spool_dir = context.spool_dir
        self._channel = channel
        self._shutdown = shutdown
        self._log = context.log
        self._log_access, self._log_plain = context.log_access, context.log_plain
        self._are_listeners_stored = context.are_listeners_stored

    def run(self, companions: Companions) -> None:
        """Serve, and return when the drain is complete. Raises AppError when the app cannot
        start."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            companions.hooks.run_loop(runner, self._serve(companions))

    async def _serve(self, companions: Companions) -> None:
        loop = asyncio.get_running_loop()
        handler = await self._app.start()
        server = self._make_server_state(loop, handler, companions.watchdog)
        companions.hooks.call_in_child(server.disown_requests)
        stats = WorkerStats(self._channel.row, self._app.calls_at_once, loop.time())
        policy = make_accept_policy(
            self._channel.row, server.load, self._config, self._app.calls_at_once
        )
        connector = Connector(loop, ServedProtocols(server))
        companions.hooks.call_in_child(connector.disown)
        acceptor = self._make_acceptor(server, connector, policy, stats)
        handoff = self._make_handoff(server, stats)
        self._stop_accepting_at_stop(acceptor, handoff)
        self._shutdown.call_at_announced_end(server.close_after_responses)
        self._shutdown.watch_life_pipe(loop)
        self._prepare_tls(loop)
        heartbeat = self._make_heartbeat(server, stats, policy, acceptor, handoff)
        self._channel.prepare_ready()
        acceptor.open(heartbeat.wake_for_listener)

        def begin() -> None:
            # It accepts and serves what waits already; until READY the boot timeout bounds that.
            heartbeat.beat()
            self._channel.report_ready(shares=True)

        # Not in this step of the task: the app's start may have left to the loop what comes before
        # requests (wsgi_app.py).
        loop.call_soon(begin)
        await self._shutdown.stopping
        await self._drain(server, acceptor, heartbeat)

        async def finish() -> None:
            await self._finish(server, acceptor, companions.background_work)
            self._channel.end_timeout()  # the shutdown of the app may take the kill timeout

        await self._app.stop(finish, self._shutdown.stopped_at)
        companions.watchdog.stop_checks()

    def _make_acceptor(
        self, server: ServerState, connector: Connector, policy: AcceptPolicy, stats: WorkerStats
    ) -> Acceptor:
        acceptor = Acceptor(
            server.loop,
            AcceptEvents(server.loop, self._endpoints, HandoffQueue(self._queue)),
            connector,
            self._log,
            policy,
            server,
            self._max_connections(),
            stats.count_accepted,
        )
        server.on_connection_closed = acceptor.resume_if_room
        return acceptor

    def _make_handoff(self, server: ServerState, stats: WorkerStats) -> ConnectionHandoff:
        room = self._max_connections() * HANDOFF_FILL

        def may_hand_off() -> bool:
            places = len(server.connections) + self._queue.length()
            return places < room and not self._channel.is_alone

        return ConnectionHandoff(server.loop, server, stats, self._queue, may_hand_off)

    def _stop_accepting_at_stop(self, acceptor: Acceptor, handoff: ConnectionHandoff) -> None:
        def stop_accepting() -> None:
            # In the signal handler itself: an app that blocks the loop must not delay it.
            acceptor.stop()
            handoff.stop()
            self._channel.report_draining()

        self._shutdown.call_at_stop(stop_accepting)

    def _make_heartbeat(
        self,
        server: ServerState,
        stats: WorkerStats,
        policy: AcceptPolicy,
        acceptor: Acceptor,
        handoff: ConnectionHandoff,
    ) -> Heartbeat:
        config = self._config
        also = [acceptor.check_queues]
        may_move = not (server.limits.requests or self._app.keeps_connections)
        if config.accept == "fair" and may_move:
            also.append(handoff.update)
        also.append(self._app.tick)
        if config.rebalance:
            also.append(Rebalancer(self._channel.row, server, stats).update)

        def refresh_policy() -> None:
            policy.refresh(stats.mean_time, handoff.is_active)

        longest = min(LONGEST_IDLE_PAUSE, config.timeout or math.inf)
        return Heartbeat(server.loop, server, self._channel, stats, refresh_policy, also, longest)

    async def _drain(self, server: ServerState, acceptor: Acceptor, heartbeat: Heartbeat) -> None:
        """Stop accepting and begin to drain. Take waiting connections only where no other process
        would."""
        server.drain(self._shutdown.is_orphaned or self._channel.is_service_ending)
        heartbeat.beat()
        if self._shutdown.is_orphaned or self._channel.is_service_ending or self._channel.is_alone:
            await acceptor.empty_handoff_queue()
        if self._shutdown.is_orphaned and not self._are_listeners_stored:
            acceptor.accept_all_waiting()
        acceptor.close()

    async def _finish(
        self, server: ServerState, acceptor: Acceptor, background_work: BackgroundWork
    ) -> None:
        """Wait until all connections, calls and busy work have ended."""
        await acceptor.wait_for_handshakes(self._config.linger)
        await server.wait_until_empty()
        await server.handler.wait_for_calls()
        await background_work.wait_for_busy_work(server.loop)

    def _make_server_state(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: RequestHandler,
        watchdog: Watchdog,
    ) -> ServerState:
        config, row = self._config, self._channel.row
        server = ServerState(
            loop,
            handler,
            http_limits(config, handler.streams_body),
            trusted_proxies(config),
            Load(row.loads, row.number, row.own_words),
            self._log_access,
            self._make_spool(handler),
        )
        self._monitor(server, watchdog)
        if not config.request_id_header:
            server.plain_calls = self._app.plain_calls
        server.handle = assign_request_ids(server.handle, config)
        server.upgrade = assign_request_ids(server.upgrade, config)
        self._limit_requests(server)
        return server

    def _make_spool(self, handler: RequestHandler) -> SpoolDisk:
        """Return the place of request bodies on disk. Raises MachineError if it cannot be used."""
        config = self._config
        if self._spool_dir and not handler.streams_body:
            check_folder(self._spool_dir)
        return SpoolDisk(self._spool_dir, config.body_spool, config.spool_min_free, self._log)

    def _prepare_tls(self, loop: asyncio.AbstractEventLoop) -> None:
        tls = next((endpoint.tls for endpoint in self._endpoints if endpoint.tls is not None), None)
        if tls is not None:
            silence_undecodable_server_names()
            if self._config.tls_watch:
                CertificateReloader(loop, tls, self._log).start()

    def _max_connections(self) -> float:
        """Return how many connections the worker may have open at once."""
        return max(
            1, min(self._config.limit_connections or math.inf, descriptor_limit() - RESERVED)
        )

    def _limit_requests(self, server: ServerState) -> None:
        if self._config.max_requests is not None:
            jitter = random.randint(0, self._config.max_requests_jitter)
            max_requests = self._config.max_requests + jitter

            def request_replacement() -> None:
                self._channel.request_replacement(pluralize(max_requests, "request"))

            server.call_after_requests(max_requests, request_replacement)

    def _monitor(self, server: ServerState, watchdog: Watchdog) -> None:
        watchdog.service = server
        if self._config.slow_log is None:
            server.log_plain = self._log_plain
        else:
            slow = SlowLog(
                self._config.slow_log,
                self._app.blocks_loop,
                worker(),
                watchdog,
                self._log,
                self._log_access,
            )
            server.log_access = slow.log_request_end
            slow.start(server)


def trusted_proxies(config: Config) -> TrustedProxies:
    """Return the proxies that may name the client of a request (``--forwarded-allow``)."""
    trusted = Networks(config.forwarded_allow)
    return TrustedProxies(trusted, frozenset(config.forwarded_headers), config.forwarded_strip)


def http_limits(config: Config, streams_body: bool) -> Limits:
    """Return the limits and timeouts of the HTTP layer, from the settings.

    ``streams_body``: the handler calls the app before the whole body has arrived, and can cancel
    the call; then a request has a timeout of its own.
    """
    return Limits(
        # A head has less fields than bytes.
        line=config.limit_line or config.limit_header_size,
        headers=config.limit_headers or config.limit_header_size,
        header_size=config.limit_header_size,
        body=config.limit_body,
        body_memory=config.body_memory,
        keepalive=config.keepalive,
        header_timeout=config.header_timeout,
        body_timeout=config.body_timeout,
        send_timeout=config.send_timeout,
        request=config.request_timeout if streams_body else config.timeout,
        linger=config.linger,
        websocket=WebSocketLimits(
            ping_interval=config.ws_ping_interval,
            ping_timeout=config.ws_ping_timeout,
            close_timeout=config.ws_close_timeout,
            max_size=config.ws_max_size,
            max_queue=config.ws_max_queue,
            compression=config.ws_compression == "on",
        ),
        body_rate=config.body_rate,
        requests=config.limit_requests_per_connection,
        concurrency=config.limit_concurrency,
        underscores=config.underscores,
        server=config.server_header,
    )
