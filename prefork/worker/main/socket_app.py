"""``main(listener)``: the app owns its accept loop, plain or async.

The listener is a real socket whose ``accept`` also watches for the stop signal and beats for the
hang detection (app_listener.py); event loops use it by loop_server.py.

Design
------
- **A main that calls prefork.stopping() leaves by itself,** in its own time up to the kill timeout.
- **A plain main that does not call it is left by SystemExit out of ``accept``,** between two
  connections. If it runs an event loop of its own, its server accepts no more at the stop, and
  SystemExit comes when the last connection is closed.
- **An async main that does not call it is cancelled,** and the tasks that it started may finish.
- **Connections of a plain main stay open in processes that it forks.** They are the app's:
  ``socketserver.ForkingMixIn`` answers in a child. A child of any other worker gets /dev/null in
  their place (fork_hooks.py).
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

import uvloop

from prefork.config import Config
from prefork.errors import AppError
from prefork.http.tick import TICK_PERIOD
from prefork.unix.listeners import Listener
from prefork.worker import app_api, fork_hooks
from prefork.worker.callable_shape import is_async
from prefork.worker.fork_hooks import ForkHooks
from prefork.worker.main.app_listener import AppListener
from prefork.worker.main.counted_listener import CountedListeners
from prefork.worker.main.loop_heartbeat import LoopHeartbeat
from prefork.worker.main.loop_server import patch_event_loops
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.heartbeat import LONGEST_IDLE_PAUSE
from prefork.worker.shutdown import Shutdown


def run_main(
    app: Callable[..., Any],
    listeners: list[Listener],
    config: Config,
    channel: MasterChannel,
    shutdown: Shutdown,
    log: logging.Logger,
    hooks: ForkHooks,
) -> None:
    """Call ``main`` with its listeners and return when it is over.

    Raises AppError when ``main`` returned before the worker was told to stop.
    """
    in_loop = is_async(app)

    def on_stop() -> None:
        # A main ends its connections in its own time; it accepts no more, so it does not beat.
        channel.end_timeout()
        channel.report_draining()

    shutdown.call_at_stop(on_stop)
    counted = CountedListeners(channel.row, config)
    heartbeat = LoopHeartbeat(channel, counted, min(LONGEST_IDLE_PAUSE, config.timeout or math.inf))
    sockets = [
        AppListener.wrap(listener, shutdown.stopping, channel, counted, heartbeat, in_loop)
        for listener in listeners
    ]
    patch_event_loops()

    if in_loop:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            # Before it is ready, because the worker may lead from that moment on.
            app_api.leader_callbacks().loop = runner.get_loop()
            _arrange_ready(config, channel, in_loop)
            hooks.run_loop(runner, _run_in_loop(app, sockets, heartbeat, shutdown))
    else:
        _arrange_ready(config, channel, in_loop)
        hooks.keep_connections()
        hooks.call_in_child(counted.reset_lock)
        app(*sockets)
        if fork_hooks.in_child:
            fork_hooks.exit_child()
    if not shutdown.stopping:
        raise AppError("main(listener) returned before the worker was told to stop")
    log.debug("main(listener) returned")


def _arrange_ready(config: Config, channel: MasterChannel, in_loop: bool) -> None:
    """Report the worker ready, now or (``--ready manual``) when the app says so."""

    def ready() -> None:
        if in_loop:
            # A deadline before the message: the master reads deadlines when a message wakes it.
            channel.beat_until(TICK_PERIOD)
        channel.report_ready()

    if config.ready.mode == "manual":
        app_api.set_ready_callback(ready)
    else:
        ready()


async def _run_in_loop(
    app: Callable[..., Any],
    sockets: list[AppListener],
    heartbeat: LoopHeartbeat,
    shutdown: Shutdown,
) -> None:
    """Run an async main until it ends, or cancel it at the stop; then wait for its other tasks."""
    loop = asyncio.get_running_loop()
    shutdown.watch_life_pipe(loop)
    heartbeat.start(loop)
    main = loop.create_task(app(*sockets))
    stopping = asyncio.ensure_future(_wait_for_stop(shutdown.stopping))
    await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not main.done() and not shutdown.stopping.asked:
        # Two turns of the loop, so that main gets a connection that was accepted already. No
        # other one is accepted any more.
        for _ in range(2):
            await asyncio.sleep(0)
        main.cancel()
    try:
        await main
    except asyncio.CancelledError:
        pass
    finally:
        stopping.cancel()
    own_tasks = {stopping, asyncio.current_task()}
    if unfinished := {task for task in asyncio.all_tasks() if task not in own_tasks}:
        await asyncio.wait(unfinished)


async def _wait_for_stop(stopping: app_api.Stopping) -> None:
    """Wait for the stop, as a coroutine."""
    await stopping
