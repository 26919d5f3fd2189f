"""A worker's life from top to bottom.

settle down (signals, identity, folder, environment) -> load the app -> find its interface -> serve
until told to leave -> leave. Whatever goes wrong before "ready" is said on the ready pipe, with
the app's own traceback, and the exit code tells who was at fault.
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
    """What an app is served with. The master calls this before it forks, so that workers share it,
    boot in milliseconds, and need nothing of a Python environment that may have been upgraded or
    moved by then. For programs it does not, as they need none of it."""
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
        with suppress(ImportError):  # the first worker that needs it says so
            import_module("prefork.worker.asgi.asgi_websocket")


def run_worker(context: WorkerContext) -> int:
    """The whole life; the exit code."""
    if context.program_pipes is not None:
        return _become_program(context, context.program_pipes)
    # Imported before the fork, see import_serving.
    from prefork.worker import fork_hooks  # noqa: PLC0415
    from prefork.worker.monitor.slow_log import check_interval  # noqa: PLC0415
    from prefork.worker.monitor.watchdog import Watchdog  # noqa: PLC0415

    config = context.config
    channel = MasterChannel(
        context.ready_fd, context.row, config.timeout, context.set_title, context.on_ready
    )
    stopping = app_api.set_worker(context.info)
    shutdown = Shutdown(
        stopping, config.stop_signal, config.kill_timeout, context.life_fd, context.master_pid
    )
    period = check_interval(config.slow_log)
    watchdog = Watchdog(
        context.info, context.log, channel.report_stacks_logged, period, context.stack_request_fd
    )
    hooks = fork_hooks.ForkHooks(watchdog.pause, watchdog.resume)
    _register_fork_hooks(context, hooks, stopping, watchdog)
    try:
        shutdown.ignore_group_signals()
        context.open_logs()  # while we are still who may
        prepare_process(context)
        watchdog.start()
        hooks.register()
        if not shutdown.request_death_signal():
            return 0
        app = import_app(config.app, config.factory)
        if fork_hooks.in_child:
            fork_hooks.exit_child()
        ensure_standard_descriptors()  # the app may have closed some
        app, interface = _detect_interface(context, app)
        shutdown.handle_stop_signals(on_quit=context.flush_logs)
        companions = Companions(watchdog, hooks, _make_background_work(context, channel))
        try:
            _serve(context, app, interface, channel, shutdown, companions)
        except SystemExit:
            if fork_hooks.in_child or not stopping:
                raise
        companions.background_work.wait()
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


def _detect_interface(context: WorkerContext, app: Any) -> tuple[Any, Interface]:
    """The app as it is to be called, and its interface, which the first worker logs."""
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
    """What a process that the app forks must not keep of this worker."""
    pipes = (context.ready_fd, context.life_fd, *stopping.descriptors(), *watchdog.descriptors())
    hooks.replace_descriptors(lambda: pipes)
    hooks.replace_descriptors(context.handoff_queue.descriptors)
    hooks.replace_sockets([listener.socket.getsockname() for listener in context.listeners])
    hooks.call_in_child(context.row.make_private)


def _become_program(context: WorkerContext, pipes: ProgramPipes) -> int:
    """The life until the exec; the exit code if there is none."""
    config = context.config
    context.handoff_queue.close()
    ready_fd = duplicate_above_sockets(context.ready_fd, len(context.listeners))
    os.close(context.ready_fd)
    channel = MasterChannel(
        ready_fd, context.row, config.timeout, context.set_title, context.on_ready
    )
    try:
        start_session()
        context.on_ready()  # while we are still who may
        if context.identity.uid is not None:
            os.fchown(pipes.stderr_fd, context.identity.uid, -1)  # it may open /dev/stderr
        enter_identity_and_folder(context)
        if not set_parent_death_signal(signal.Signals[config.stop_signal], context.master_pid):
            return 0
        exec_program(config.command, context.listeners, pipes, config.stop_signal, config.timeout)
    except PreforkError as error:
        return _report_error(context, channel, error)


def load_app_only(context: WorkerContext) -> str:
    """Load the app and nothing more; the interface that it fits. Raises PreforkError."""
    if context.config.command:
        enter_identity_and_folder(context)
        return find_executable(context.config.command, os.environ)
    prepare_process(context)
    if not set_parent_death_signal(signal.SIGKILL, context.master_pid):
        raise MachineError("whoever wanted to know is gone")
    choice = detect_interface(
        import_app(context.config.app, context.config.factory), context.config.interface
    )
    return f"{choice.interface} ({choice.reason})"


def prepare_process(context: WorkerContext) -> None:
    """Become who and where the worker is to be. Raises MachineError."""
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
    """User, folder and environment. Raises MachineError."""
    config = context.config
    try:
        context.identity.assume()
        if config.no_new_privs:
            forbid_new_privileges()
    except OSError as error:
        name = context.identity.name or config.user or config.group or "this user"
        raise MachineError(f"cannot run as {name}: {error.strerror}") from error
    try:
        # By name, not by descriptor: a symlink may point elsewhere than for the last generation.
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
                "main(listener) takes its connections itself, so tls-cert and proxy-protocol "
                "mean nothing to it; leave them out"
            )
        context.handoff_queue.close()
        run_main(app, list(listeners), config, channel, shutdown, context.log, companions.hooks)
    else:
        HttpWorker(context, app, interface, endpoints, channel, shutdown).run(companions)


def _report_error(context: WorkerContext, channel: MasterChannel, error: PreforkError) -> int:
    """Before ready the master tells it; afterwards only the log can."""
    if channel.is_ready:
        context.log.error("worker %d: %s", context.info.slot, error)
    else:
        channel.report_failed(str(error), error.exit_code)
    return error.exit_code
