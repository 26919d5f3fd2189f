"""The life of a worker, from the fork to its exit code.

``run_worker`` prepares the process (process_setup.py), imports the app, detects its interface
(interface_detection.py), and serves until the master asks the worker to stop. A failure before the
worker is ready goes to the master through the ready pipe, with the app's own traceback. The exit
code says whether the app, the settings or the machine is at fault (errors.py).

Design
------
- **The master imports the serving modules before it forks** (``import_serving_modules``), so
  workers share these pages and boot in milliseconds. It never imports the app. A master of programs
  imports none of them, which saves 40 ms of CPU and 8 MB.
- **All that the settings in force may need is imported before the fork,** also ``websockets``; the
  files of the status page are read with their module. A master may live for months while its Python
  environment is upgraded or moved. A module that is missing then is reported with the remedy
  (``errors.INCOMPLETE``): a WebSocket gets a 500, a reload that needs a new module is refused. The
  price: an app that uses ``websockets`` itself gets the master's version until the master is
  restarted, as with ``uvloop``.
- **Our modules keep the standard library as it was before the app was imported** (``from select
  import epoll``). gevent and eventlet put their own functions into ``select``, ``socket``,
  ``threading`` and ``_thread``, and remove what they cannot make green. The lock of the log cannot
  be exchanged, and no thread of ours is known to ``threading``: gevent leaves out a part of its
  work where there are several threads, and the import then fails with "cannot release un-acquired
  lock". Green threads run while a request or ``accept`` waits, as under gunicorn's sync workers.
  ``--threads`` is refused with them: green threads are one thread.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from prefork.config import Config
from prefork.errors import AppError, MachineError, PreforkError
from prefork.unix.process import set_parent_death_signal
from prefork.unix.scoreboard import (
    LEADER,
    LEADER_TOKEN,
    LEASE,
    LEASE_TOKEN,
    LEASE_UNTIL,
    WORKER,
    WORKING,
)
from prefork.unix.store_place import close_stores
from prefork.unix.streams import ensure_standard_descriptors
from prefork.wire.fields import LEASE_STATES
from prefork.worker import app_api
from prefork.worker.companions import Companions
from prefork.worker.importer import format_app_traceback, import_app
from prefork.worker.interface import AppService
from prefork.worker.interface_detection import (
    detect_interface,
    import_app_services,
    load_command_service,
)
from prefork.worker.master_channel import MasterChannel, make_channel, report_error
from prefork.worker.process_setup import prepare_process
from prefork.worker.shutdown import Shutdown
from prefork.worker.worker_context import WorkerContext

if TYPE_CHECKING:
    from prefork.worker.app_hooks import AppHooks
    from prefork.worker.background_work import BackgroundWork
    from prefork.worker.fork_hooks import ForkHooks
    from prefork.worker.leadership import Lease, LeaseMaker
    from prefork.worker.monitor.watchdog import Watchdog


def import_serving_modules(config: Config) -> None:
    """Import the modules that serve an app or a command, in the master before it forks (see Design
    above)."""
    if load_command_service(config) is not None:
        return
    for module in (
        "prefork.worker.accept.endpoints",
        "prefork.worker.background_work",
        "prefork.worker.fork_hooks",
        "prefork.worker.monitor.slow_log",
        "prefork.worker.monitor.watchdog",
    ):
        import_module(module)
    if config.hooks:
        import_module("prefork.worker.app_hooks")
    import_app_services(config.interface)


def run_worker(context: WorkerContext) -> int:
    """Run the worker to its end and return its exit code."""
    command_service = load_command_service(context.config)
    if command_service is not None:
        return command_service.run(context)
    # Imports in a function: a master of programs does without these modules. All other masters have
    # imported them before the fork.
    from prefork.worker import fork_hooks  # noqa: PLC0415

    config = context.config
    channel = make_channel(context, context.ready_fd)
    stopping = app_api.set_worker(context.info)
    shutdown = Shutdown(
        stopping, config.stop_signal, config.kill_timeout, context.life_fd, context.master_pid
    )
    watchdog = _make_watchdog(context, channel)
    _prepare_leadership(context, channel, stopping, watchdog)
    hooks = fork_hooks.ForkHooks(watchdog.pause, watchdog.resume)
    _register_fork_hooks(context, hooks, stopping, watchdog)
    try:
        _import_and_serve(context, channel, shutdown, watchdog, hooks)
    except PreforkError as error:
        return report_error(context, channel, error)
    except (Exception, SystemExit) as error:
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)
        return report_error(
            context, channel, AppError("the app ended", format_app_traceback(error))
        )
    finally:
        if not fork_hooks.in_child:
            close_stores()
        context.flush_logs()
    return 0


def _import_and_serve(
    context: WorkerContext,
    channel: MasterChannel,
    shutdown: Shutdown,
    watchdog: "Watchdog",
    hooks: "ForkHooks",
) -> None:
    """Prepare the process, call the hooks of the app around its life, and serve it."""
    from prefork.worker import fork_hooks  # noqa: PLC0415

    shutdown.ignore_group_signals()
    context.open_logs()  # before the user changes: the new one may not open them
    prepare_process(context)
    watchdog.start()
    hooks.register()
    # After the user has changed: that clears the parent-death signal (prctl(2)).
    if not shutdown.request_death_signal():
        return
    app_hooks = _prepare_app(context, channel)
    try:
        if app_hooks is not None:
            log_access = app_hooks.join_request_end(context.log_access)
            if log_access is not context.log_access:
                context = replace(context, log_access=log_access, log_plain=None)
        _import_app_and_serve(context, channel, shutdown, watchdog, hooks)
    finally:
        if app_hooks is not None and not fork_hooks.in_child:
            app_hooks.call_stop()


def _prepare_app(context: WorkerContext, channel: MasterChannel) -> "AppHooks | None":
    """Configure the app's logging, and call its hook for the start.

    Returns its hooks; None: it has none. Raises PreforkError.
    """
    if context.logging_config is not None:
        context.logging_config.apply()
    if not context.config.hooks:
        return None
    from prefork.worker.app_hooks import AppHooks  # noqa: PLC0415 - few apps have hooks

    app_hooks = AppHooks(context.config.hooks, context.info, context.log)
    app_hooks.call_start()
    channel.before_ready = app_hooks.call_ready
    return app_hooks


def _import_app_and_serve(
    context: WorkerContext,
    channel: MasterChannel,
    shutdown: Shutdown,
    watchdog: "Watchdog",
    hooks: "ForkHooks",
) -> None:
    """Import the app and serve it until the worker is asked to stop."""
    from prefork.worker import fork_hooks  # noqa: PLC0415

    app = import_app(context.config.app, context.config.factory)
    if fork_hooks.in_child:  # the app forked while it was imported, and this is its child
        fork_hooks.exit_child()
    ensure_standard_descriptors()  # the app may have closed some
    service = _make_service(context, app, channel)
    shutdown.handle_stop_signals(on_quit=context.flush_logs)
    companions = Companions(watchdog, hooks, _make_background_work(context, channel))
    try:
        _serve(context, service, shutdown, companions)
    except SystemExit:  # this is how a stop leaves a plain main (main/socket_app.py)
        if fork_hooks.in_child or not shutdown.stopping:
            raise
    companions.background_work.wait()


def _make_watchdog(context: WorkerContext, channel: MasterChannel) -> "Watchdog":
    from prefork.worker.monitor.slow_log import check_interval  # noqa: PLC0415
    from prefork.worker.monitor.watchdog import Watchdog  # noqa: PLC0415

    interval = check_interval(context.config.slow_log)
    report = channel.report_stacks_logged
    watchdog = Watchdog(context.info, context.log, report, interval, context.order_fd)
    watchdog.is_booting = lambda: not channel.is_ready
    return watchdog


def _prepare_leadership(
    context: WorkerContext,
    channel: MasterChannel,
    stopping: "app_api.Stopping",
    watchdog: "Watchdog",
) -> None:
    """Let the watchdog begin and end the leadership of this worker."""
    from prefork.worker import fork_hooks  # noqa: PLC0415

    head, serial = context.row.rows.master_counts, context.row.record[WORKER]

    def is_named() -> bool:
        # A master that is dead names no leader: the next one may have named another worker.
        named = head[LEADER] == serial and not stopping
        return named and os.getppid() == context.master_pid

    def exit_if_child(error: BaseException | None) -> None:
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)

    callbacks = app_api.leader_callbacks()
    callbacks.label, callbacks.log = f"worker {context.info.slot}", context.log
    callbacks.is_named, callbacks.exit_if_child = is_named, exit_if_child
    callbacks.on_resigned = channel.report_resigned
    if context.make_lease is not None:
        callbacks.lease = _make_lease(context, context.make_lease)
    watchdog.on_lead = lambda: callbacks.name(head[LEADER_TOKEN])
    watchdog.stop_fd, watchdog.on_stop = stopping.fileno(), callbacks.lose


def _make_lease(context: WorkerContext, make: "LeaseMaker") -> "Lease":
    """Return the lease of this worker, which shows its state in the row."""
    row = context.row

    def show(state: str, token: int, until: float) -> None:
        row.counts[LEASE_TOKEN], row.floats[LEASE_UNTIL] = token, until
        row.counts[LEASE] = LEASE_STATES.index(state)

    show("unused", 0, 0.0)
    return make(f"worker {context.info.slot}", context.log, show)


def _make_service(
    context: WorkerContext, app: Callable[..., Any], channel: MasterChannel
) -> AppService:
    """Return the service of the app, by its interface. The first worker of the first generation
    logs which that is."""
    choice = detect_interface(app, context.config.interface)
    if context.info.slot == 0 and context.info.generation == 1:
        context.log.info("interface: %s", choice)
    return choice.load_service()(choice.adapt(app), context, channel)


def _make_background_work(context: WorkerContext, channel: MasterChannel) -> "BackgroundWork":
    from prefork.worker.background_work import BackgroundWork  # noqa: PLC0415

    def publish(count: int) -> None:
        context.row.counts[WORKING] = count

    busy = app_api.busy()
    busy.publish = publish
    publish(busy.count)
    label = f"worker {context.info.slot}"
    resign = app_api.leader_callbacks().lose
    return BackgroundWork(label, context.log, channel, busy, context.config.kill_timeout, resign)


def _register_fork_hooks(
    context: WorkerContext, hooks: "ForkHooks", stopping: "app_api.Stopping", watchdog: "Watchdog"
) -> None:
    """Register the descriptors and the scoreboard row that a process forked by the app must not
    share."""
    pipes = (context.ready_fd, context.life_fd, *stopping.descriptors(), *watchdog.descriptors())
    hooks.replace_descriptors(lambda: pipes)
    hooks.replace_descriptors(context.handoff_queue.descriptors)
    hooks.replace_sockets([listener.socket.getsockname() for listener in context.listeners])
    hooks.call_in_child(context.row.make_private)


def load_app_only(context: WorkerContext) -> str:
    """Import the app without serving it and return the interface that it fits; for a command,
    return what it would execute. Raises PreforkError."""
    command_service = load_command_service(context.config)
    if command_service is not None:
        return command_service.check(context)
    prepare_process(context)
    if not set_parent_death_signal(signal.SIGKILL, context.master_pid):
        raise MachineError("the process that asked for this check is gone")
    if context.logging_config is not None:
        context.logging_config.apply()
    if context.config.hooks:
        from prefork.worker.app_hooks import AppHooks  # noqa: PLC0415 - few apps have hooks

        AppHooks(context.config.hooks, context.info, context.log)
    app = import_app(context.config.app, context.config.factory)
    return str(detect_interface(app, context.config.interface))


def _serve(
    context: WorkerContext, service: AppService, shutdown: Shutdown, companions: Companions
) -> None:
    from prefork.worker.accept.endpoints import make_endpoints  # noqa: PLC0415

    endpoints = make_endpoints(context.config, context.listeners, context.tls)
    service.serve(endpoints, shutdown, companions)
