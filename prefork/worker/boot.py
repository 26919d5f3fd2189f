"""A worker's life from top to bottom.

settle down (signals, identity, folder, environment) -> load the app -> find its interface -> serve
until told to leave -> leave. Whatever goes wrong before "ready" is said on the ready pipe, with
the app's own traceback, and the exit code tells who was at fault.
"""

import faulthandler
import logging
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from prefork.config import Config
from prefork.errors import AppError, MachineError, PreforkError, UsageError
from prefork.unix.descriptors import raise_descriptor_limit
from prefork.unix.identity import Identity
from prefork.unix.listeners import Listener
from prefork.unix.memory import keep_freed_memory
from prefork.unix.privileges import forbid_new_privileges
from prefork.unix.process import set_parent_death_signal, unblock_signals
from prefork.unix.scoreboard import WORKING, Row
from prefork.unix.shared_queue import SharedQueue
from prefork.unix.signals import enlarge_signal_stack
from prefork.unix.streams import ensure_standard_descriptors
from prefork.worker import app_api
from prefork.worker.app_api import WorkerInfo
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

if TYPE_CHECKING:
    from prefork.http.exchange import Exchange
    from prefork.tls.credentials import Credentials
    from prefork.worker.background_work import BackgroundWork
    from prefork.worker.fork_hooks import ForkHooks
    from prefork.worker.monitor.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """All that a worker is given at its fork."""

    info: WorkerInfo
    config: Config
    identity: Identity
    folder: str
    imports: list[str]
    spool_dir: str
    """Of bodies that wait on disk; empty: TMPDIR, or /tmp."""
    listeners: Mapping[Listener, str]
    """Each with the scheme that is spoken there."""
    tls: "Credentials | None"
    handoff_queue: SharedQueue
    """Of connections that workers share."""
    ready_fd: int
    stack_request_fd: int
    life_fd: int
    row: Row
    master_pid: int
    log: logging.Logger
    log_fd: int
    log_access: "Callable[[Exchange], None] | None"
    set_title: Callable[[str], None]
    on_ready: Callable[[], None]
    open_logs: Callable[[], None]
    reopen_logs: Callable[[], None]
    flush_logs: Callable[[], None]
    program_pipes: ProgramPipes | None = None
    """None: it is no program."""


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


def run_worker(birth: WorkerContext) -> int:
    """The whole life; the exit code."""
    if birth.program_pipes is not None:
        return _become_program(birth, birth.program_pipes)
    # Imported before the fork, see import_serving.
    from prefork.worker import fork_hooks  # noqa: PLC0415
    from prefork.worker.monitor.slow_log import check_interval  # noqa: PLC0415
    from prefork.worker.monitor.watchdog import Watchdog  # noqa: PLC0415

    config = birth.config
    line = MasterChannel(birth.ready_fd, birth.row, config.timeout, birth.set_title, birth.on_ready)
    stopping = app_api.set_worker(birth.info)
    leave = Shutdown(
        stopping, config.stop_signal, config.kill_timeout, birth.life_fd, birth.master_pid
    )
    period = check_interval(config.slow_log)
    watchdog = Watchdog(
        birth.info, birth.log, line.report_stacks_logged, period, birth.stack_request_fd
    )
    hooks = fork_hooks.ForkHooks(watchdog.pause, watchdog.resume)
    _disown_forks(birth, hooks, stopping, watchdog)
    try:
        leave.ignore_group_signals()
        birth.open_logs()  # while we are still who may
        prepare_process(birth)
        watchdog.start()
        hooks.register()
        if not leave.request_death_signal():
            return 0
        app = import_app(config.app, config.factory)
        if fork_hooks.in_child:
            fork_hooks.exit_child()
        ensure_standard_descriptors()  # the app may have closed some
        app, interface = _chosen(birth, app)
        leave.handle_stop_signals(on_quit=birth.flush_logs)
        aids = Companions(watchdog, hooks, _last_threads(birth, line))
        try:
            _serve(birth, app, interface, line, leave, aids)
        except SystemExit:
            if fork_hooks.in_child or not stopping:
                raise
        aids.background_work.wait()
    except PreforkError as error:
        return _report(birth, line, error)
    except (Exception, SystemExit) as error:
        if fork_hooks.in_child:
            fork_hooks.exit_child(error)
        return _report(birth, line, AppError("the app ended", format_app_traceback(error)))
    finally:
        birth.flush_logs()
    return 0


def _chosen(birth: WorkerContext, app: Any) -> tuple[Any, Interface]:
    """The app as it is to be called, and its interface, which the first worker logs."""
    choice = detect_interface(app, birth.config.interface)
    if birth.info.slot == 0 and birth.info.generation == 1:
        birth.log.info("interface: %s (%s)", choice.interface, choice.reason)
    return adapt_asgi2(app) if choice.is_asgi2 else app, choice.interface


def _last_threads(birth: WorkerContext, line: MasterChannel) -> "BackgroundWork":
    from prefork.worker.background_work import BackgroundWork  # noqa: PLC0415

    def publish(count: int) -> None:
        birth.row.counts[WORKING] = count

    busy = app_api.busy()
    busy.publish = publish
    publish(busy.count)
    who = f"worker {birth.info.slot}"
    return BackgroundWork(who, birth.log, line, busy, birth.config.kill_timeout)


def _disown_forks(
    birth: WorkerContext, hooks: "ForkHooks", stopping: "app_api.Stopping", watchdog: "Watchdog"
) -> None:
    """What a process that the app forks must not keep of this worker."""
    pipes = (birth.ready_fd, birth.life_fd, *stopping.descriptors(), *watchdog.descriptors())
    hooks.replace_descriptors(lambda: pipes)
    hooks.replace_descriptors(birth.handoff_queue.descriptors)
    hooks.replace_sockets([listener.socket.getsockname() for listener in birth.listeners])
    hooks.call_in_child(birth.row.make_private)


def _become_program(birth: WorkerContext, hatch: ProgramPipes) -> int:
    """The life until the exec; the exit code if there is none."""
    config = birth.config
    birth.handoff_queue.close()
    ready_fd = duplicate_above_sockets(birth.ready_fd, len(birth.listeners))
    os.close(birth.ready_fd)
    line = MasterChannel(ready_fd, birth.row, config.timeout, birth.set_title, birth.on_ready)
    try:
        start_session()
        birth.on_ready()  # while we are still who may
        if birth.identity.uid is not None:
            os.fchown(hatch.stderr_fd, birth.identity.uid, -1)  # it may open /dev/stderr
        enter_identity_and_folder(birth)
        if not set_parent_death_signal(signal.Signals[config.stop_signal], birth.master_pid):
            return 0
        exec_program(config.command, birth.listeners, hatch, config.stop_signal, config.timeout)
    except PreforkError as error:
        return _report(birth, line, error)


def load_app_only(birth: WorkerContext) -> str:
    """Load the app and nothing more; the interface that it fits. Raises PreforkError."""
    if birth.config.command:
        enter_identity_and_folder(birth)
        return find_executable(birth.config.command, os.environ)
    prepare_process(birth)
    if not set_parent_death_signal(signal.SIGKILL, birth.master_pid):
        raise MachineError("whoever wanted to know is gone")
    choice = detect_interface(
        import_app(birth.config.app, birth.config.factory), birth.config.interface
    )
    return f"{choice.interface} ({choice.reason})"


def prepare_process(birth: WorkerContext) -> None:
    """Become who and where the worker is to be. Raises MachineError."""
    birth.set_title("booting")
    faulthandler.register(DUMP_SIGNAL, file=birth.log_fd, all_threads=True, chain=False)
    enlarge_signal_stack()
    signal.signal(signal.SIGUSR1, lambda _signum, _frame: birth.reopen_logs())
    unblock_signals()
    keep_freed_memory()
    raise_descriptor_limit()
    enter_identity_and_folder(birth)
    prepare_imports(birth.imports)


def enter_identity_and_folder(birth: WorkerContext) -> None:
    """User, folder and environment. Raises MachineError."""
    config = birth.config
    try:
        birth.identity.assume()
        if config.no_new_privs:
            forbid_new_privileges()
    except OSError as error:
        name = birth.identity.name or config.user or config.group or "this user"
        raise MachineError(f"cannot run as {name}: {error.strerror}") from error
    try:
        # By name, not by descriptor: a symlink may point elsewhere than for the last generation.
        os.chdir(birth.folder)
    except OSError as error:
        raise MachineError(f"cannot enter {birth.folder}: {error.strerror}") from error
    os.environ.update(birth.identity.environment_variables())
    os.environ.update(config.env)
    os.environ["PREFORK_SLOT"] = str(birth.info.slot)
    os.environ["PREFORK_GENERATION"] = str(birth.info.generation)
    os.environ["PREFORK_NAME"] = birth.info.name
    os.environ["PWD"] = birth.folder


def _serve(
    birth: WorkerContext,
    app: Callable[..., Any],
    interface: Interface,
    line: MasterChannel,
    leave: Shutdown,
    aids: "Companions",
) -> None:
    from prefork.worker.accept.endpoints import make_endpoints  # noqa: PLC0415
    from prefork.worker.http_worker import HttpWorker  # noqa: PLC0415
    from prefork.worker.main.socket_app import run_main  # noqa: PLC0415

    config, listeners = birth.config, birth.listeners
    entrances = make_endpoints(config, listeners, birth.tls)
    if interface is Interface.SOCKET:
        if not all(door.is_direct for door in entrances):
            raise UsageError(
                "main(listener) takes its connections itself, so tls-cert and proxy-protocol "
                "mean nothing to it; leave them out"
            )
        birth.handoff_queue.close()
        run_main(app, list(listeners), config, line, leave, birth.log, aids.hooks)
    else:
        HttpWorker(birth, app, interface, entrances, line, leave).run(aids)


def _report(birth: WorkerContext, line: MasterChannel, error: PreforkError) -> int:
    """Before ready the master tells it; afterwards only the log can."""
    if line.is_ready:
        birth.log.error("worker %d: %s", birth.info.slot, error)
    else:
        line.report_failed(str(error), error.exit_code)
    return error.exit_code
