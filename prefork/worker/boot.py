"""The life of a worker, from the fork to its exit code.

``run_worker`` prepares the process (signals, user, folder, environment), imports the app, detects
its interface, and serves until the master asks the worker to stop. A failure before the worker is
ready goes to the master through the ready pipe, with the app's own traceback. The exit code says
whether the app, the settings or the machine is at fault (errors.py).

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

import faulthandler
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from prefork.config import Config
from prefork.errors import AppError, MachineError, PreforkError, UsageError
from prefork.unix.descriptors import raise_descriptor_limit
from prefork.unix.memory import keep_freed_memory
from prefork.unix.privileges import forbid_new_privileges
from prefork.unix.process import set_parent_death_signal, unblock_signals
from prefork.unix.scoreboard import WORKING
from prefork.unix.signals import enlarge_signal_stack
from prefork.unix.streams import ensure_standard_descriptors
from prefork.worker import app_api
from prefork.worker.companions import Companions
from prefork.worker.importer import format_app_traceback, import_app, prepare_imports
from prefork.worker.interface import Interface, adapt_asgi2, detect_interface
from prefork.worker.master_channel import MasterChannel
from prefork.worker.monitor.stack_signal import DUMP_SIGNAL
from prefork.worker.program_exec import (
    ProgramPipes,
    duplicate_above_sockets,
    exec_program,
    find_executable,
    start_session,
)
from prefork.worker.shutdown import Shutdown
from prefork.worker.worker_context import WorkerContext

if TYPE_CHECKING:
    from prefork.worker.background_work import BackgroundWork
    from prefork.worker.fork_hooks import ForkHooks
    from prefork.worker.monitor.watchdog import Watchdog


def import_serving_modules(config: Config) -> None:
    """Import the modules that serve an app, in the master before it forks (see Design above). A
    master of programs does not call it: it needs none of them."""
    for module in (
        "accept.endpoints",
        "background_work",
        "fork_hooks",
        "http_worker",
        "main.socket_app",
        "monitor.slow_log",
        "monitor.watchdog",
    ):
        import_module(f"prefork.worker.{module}")
    if config.interface in ("auto", "asgi"):
        with suppress(ImportError):  # the first worker that needs it reports it
            import_module("prefork.worker.asgi.asgi_websocket")


def run_worker(context: WorkerContext) -> int:
    """Run the worker to its end and return its exit code."""
    if context.program_pipes is not None:
        return _become_program(context, context.program_pipes)
    # Imports in a function: a master of programs does without these modules. All other masters have
    # imported them before the fork.
    from prefork.worker import fork_hooks  # noqa: PLC0415

    config = context.config
    channel = _make_channel(context, context.ready_fd)
    stopping = app_api.set_worker(context.info)
    shutdown = Shutdown(
        stopping, config.stop_signal, config.kill_timeout, context.life_fd, context.master_pid
    )
    watchdog = _make_watchdog(context, channel)
    hooks = fork_hooks.ForkHooks(watchdog.pause, watchdog.resume)
    _register_fork_hooks(context, hooks, stopping, watchdog)
    try:
        _import_and_serve(context, channel, shutdown, watchdog, hooks)
    except PreforkError as error:
        return _report_error(context, channel, error)
    except (Exception, SystemExit) as error:
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)
        return _report_error(
            context, channel, AppError("the app ended", format_app_traceback(error))
        )
    finally:
        context.flush_logs()
    return 0


def _import_and_serve(
    context: WorkerContext,
    channel: MasterChannel,
    shutdown: Shutdown,
    watchdog: "Watchdog",
    hooks: "ForkHooks",
) -> None:
    """Prepare the process, import the app and serve it until the worker is asked to stop."""
    from prefork.worker import fork_hooks  # noqa: PLC0415

    shutdown.ignore_group_signals()
    context.open_logs()  # before the user changes: the new one may not open them
    prepare_process(context)
    watchdog.start()
    hooks.register()
    # After the user has changed: that clears the parent-death signal (prctl(2)).
    if not shutdown.request_death_signal():
        return
    app = import_app(context.config.app, context.config.factory)
    if fork_hooks.in_child:  # the app forked while it was imported, and this is its child
        fork_hooks.exit_child()
    ensure_standard_descriptors()  # the app may have closed some
    app, interface = _detect_interface(context, app)
    shutdown.handle_stop_signals(on_quit=context.flush_logs)
    companions = Companions(watchdog, hooks, _make_background_work(context, channel))
    try:
        _serve(context, app, interface, channel, shutdown, companions)
    except SystemExit:  # this is how a stop leaves a plain main (main/socket_app.py)
        if fork_hooks.in_child or not shutdown.stopping:
            raise
    companions.background_work.wait()


def _make_channel(context: WorkerContext, ready_fd: int) -> MasterChannel:
    return MasterChannel(
        ready_fd, context.row, context.config.timeout, context.set_title, context.on_ready
    )


def _make_watchdog(context: WorkerContext, channel: MasterChannel) -> "Watchdog":
    from prefork.worker.monitor.slow_log import check_interval  # noqa: PLC0415
    from prefork.worker.monitor.watchdog import Watchdog  # noqa: PLC0415

    interval = check_interval(context.config.slow_log)
    report = channel.report_stacks_logged
    return Watchdog(context.info, context.log, report, interval, context.stack_request_fd)


def _detect_interface(context: WorkerContext, app: Any) -> tuple[Any, Interface]:
    """Return the app as it has to be called, and its interface. The first worker of the first
    generation logs the interface."""
    choice = detect_interface(app, context.config.interface)
    if context.info.slot == 0 and context.info.generation == 1:
        context.log.info("interface: %s (%s)", choice.interface, choice.reason)
    return adapt_asgi2(app) if choice.is_asgi2 else app, choice.interface


def _make_background_work(context: WorkerContext, channel: MasterChannel) -> "BackgroundWork":
    from prefork.worker.background_work import BackgroundWork  # noqa: PLC0415

    def publish(count: int) -> None:
        context.row.counts[WORKING] = count

    busy = app_api.busy()
    busy.publish = publish
    publish(busy.count)
    label = f"worker {context.info.slot}"
    return BackgroundWork(label, context.log, channel, busy, context.config.kill_timeout)


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


def _become_program(context: WorkerContext, pipes: ProgramPipes) -> int:
    """Prepare the process and replace it by the program. Returns an exit code only if that
    fails."""
    config = context.config
    context.handoff_queue.close()
    ready_fd = duplicate_above_sockets(context.ready_fd, len(context.listeners))
    os.close(context.ready_fd)
    channel = _make_channel(context, ready_fd)
    try:
        start_session()
        context.on_ready()  # before the user changes: the new one may not open the logs
        if context.identity.uid is not None:
            os.fchown(pipes.stderr_fd, context.identity.uid, -1)  # the program may open /dev/stderr
        enter_identity_and_folder(context)
        if not set_parent_death_signal(signal.Signals[config.stop_signal], context.master_pid):
            return 0
        exec_program(config.command, context.listeners, pipes, config.stop_signal, config.timeout)
    except PreforkError as error:
        return _report_error(context, channel, error)


def load_app_only(context: WorkerContext) -> str:
    """Import the app without serving it and return the interface that it fits; for a program,
    return the path of its executable. Raises PreforkError."""
    if context.config.command:
        enter_identity_and_folder(context)
        return find_executable(context.config.command, os.environ)
    prepare_process(context)
    if not set_parent_death_signal(signal.SIGKILL, context.master_pid):
        raise MachineError("the process that asked for this check is gone")
    choice = detect_interface(
        import_app(context.config.app, context.config.factory), context.config.interface
    )
    return f"{choice.interface} ({choice.reason})"


def prepare_process(context: WorkerContext) -> None:
    """Set signal handlers, limits, user, folder, environment and import path. Raises
    MachineError."""
    context.set_title("booting")
    faulthandler.register(DUMP_SIGNAL, file=context.log_fd, all_threads=True, chain=False)
    enlarge_signal_stack()
    signal.signal(signal.SIGUSR1, lambda _signum, _frame: context.reopen_logs())
    unblock_signals()
    keep_freed_memory()
    raise_descriptor_limit()
    enter_identity_and_folder(context)
    prepare_imports(context.imports)


def enter_identity_and_folder(context: WorkerContext) -> None:
    """Change to the user, the folder and the environment of the worker. Raises MachineError."""
    config = context.config
    try:
        context.identity.assume()
        if config.no_new_privs:
            forbid_new_privileges()
    except OSError as error:
        name = context.identity.name or config.user or config.group or "this user"
        raise MachineError(f"cannot run as {name}: {error.strerror}") from error
    try:
        # By name, not by descriptor: a symlink may point to another folder than in the last
        # generation.
        os.chdir(context.folder)
    except OSError as error:
        raise MachineError(f"cannot enter {context.folder}: {error.strerror}") from error
    os.environ.update(context.identity.environment_variables())
    os.environ.update(config.env)
    os.environ["PREFORK_SLOT"] = str(context.info.slot)
    os.environ["PREFORK_GENERATION"] = str(context.info.generation)
    os.environ["PREFORK_NAME"] = context.info.name
    os.environ["PWD"] = context.folder


def _serve(
    context: WorkerContext,
    app: Callable[..., Any],
    interface: Interface,
    channel: MasterChannel,
    shutdown: Shutdown,
    companions: "Companions",
) -> None:
    from prefork.worker.accept.endpoints import make_endpoints  # noqa: PLC0415
    from prefork.worker.http_worker import HttpWorker  # noqa: PLC0415
    from prefork.worker.main.socket_app import run_main  # noqa: PLC0415

    config, listeners = context.config, context.listeners
    endpoints = make_endpoints(config, listeners, context.tls)
    if interface is Interface.SOCKET:
        if not all(endpoint.is_direct for endpoint in endpoints):
            raise UsageError(
                "main(listener) accepts its connections itself, so tls-cert and proxy-protocol "
                "have no effect on it; remove them from the settings"
            )
        context.handoff_queue.close()
        run_main(app, list(listeners), config, channel, shutdown, context.log, companions.hooks)
    else:
        HttpWorker(context, app, interface, endpoints, channel, shutdown).run(companions)


def _report_error(context: WorkerContext, channel: MasterChannel, error: PreforkError) -> int:
    """Report a fatal error and return its exit code. Before the worker is ready the master logs the
    error, afterwards only the worker can."""
    if channel.is_ready:
        context.log.error("worker %d: %s", context.info.slot, error)
    else:
        channel.report_failed(str(error), error.exit_code)
    return error.exit_code
