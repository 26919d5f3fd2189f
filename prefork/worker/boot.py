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
from prefork.unix.descriptors import raise_limit
from prefork.unix.identity import Identity
from prefork.unix.listeners import Listener
from prefork.unix.memory import keep_freed_memory
from prefork.unix.privileges import forbid_new_privileges
from prefork.unix.process import die_with_parent, let_signals_through
from prefork.unix.scoreboard import WORKING, Row
from prefork.unix.shared_queue import SharedQueue
from prefork.unix.signals import enlarge_signal_stack
from prefork.unix.streams import open_descriptors
from prefork.worker import app_api
from prefork.worker.app_api import WorkerInfo
from prefork.worker.companions import Aids
from prefork.worker.importer import load, own_traceback, prepare_imports
from prefork.worker.interface import Interface, as_single, choose
from prefork.worker.master_channel import Line
from prefork.worker.monitor.stack_signal import DUMP_SIGNAL
from prefork.worker.program_exec import Hatch, become, find, lead_session, out_of_the_way
from prefork.worker.shutdown import Leave

if TYPE_CHECKING:
    from prefork.http.exchange import Exchange
    from prefork.tls.credentials import Credentials
    from prefork.worker.background_work import LastThreads
    from prefork.worker.fork_hooks import ForkHooks
    from prefork.worker.monitor.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Birth:
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
    queue: SharedQueue
    """Of connections that workers share."""
    ready_fd: int
    ask_fd: int
    life_fd: int
    row: Row
    master: int
    log: logging.Logger
    log_fd: int
    log_access: "Callable[[Exchange], None] | None"
    set_title: Callable[[str], None]
    on_ready: Callable[[], None]
    open_logs: Callable[[], None]
    reopen_logs: Callable[[], None]
    flush_logs: Callable[[], None]
    hatch: Hatch | None = None
    """None: it is no program."""


def import_serving(config: Config) -> None:
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


def live(birth: Birth) -> int:
    """The whole life; the exit code."""
    if birth.hatch is not None:
        return _become_program(birth, birth.hatch)
    # Imported before the fork, see import_serving.
    from prefork.worker import fork_hooks  # noqa: PLC0415
    from prefork.worker.monitor.slow_log import period_of  # noqa: PLC0415
    from prefork.worker.monitor.watchdog import Watchdog  # noqa: PLC0415

    config = birth.config
    line = Line(birth.ready_fd, birth.row, config.timeout, birth.set_title, birth.on_ready)
    stopping = app_api.begin(birth.info)
    leave = Leave(stopping, config.stop_signal, config.kill_timeout, birth.life_fd, birth.master)
    period = period_of(config.slow_log)
    watchdog = Watchdog(birth.info, birth.log, line.stuck, period, birth.ask_fd)
    hooks = fork_hooks.ForkHooks(watchdog.pause, watchdog.resume)
    _disown_forks(birth, hooks, stopping, watchdog)
    try:
        leave.ignore_masters_signals()
        birth.open_logs()  # while we are still who may
        settle(birth)
        watchdog.start()
        hooks.register()
        if not leave.follow_master():
            return 0
        app = load(config.app, config.factory)
        if fork_hooks.in_child:
            fork_hooks.leave()
        open_descriptors()  # the app may have closed some
        app, interface = _chosen(birth, app)
        leave.listen(on_quit=birth.flush_logs)
        aids = Aids(watchdog, hooks, _last_threads(birth, line))
        try:
            _serve(birth, app, interface, line, leave, aids)
        except SystemExit:
            if fork_hooks.in_child or not stopping:
                raise
        aids.last_threads.wait()
    except PreforkError as error:
        return _report(birth, line, error)
    except (Exception, SystemExit) as error:
        if fork_hooks.in_child:
            fork_hooks.leave(error)
        return _report(birth, line, AppError("the app ended", own_traceback(error)))
    finally:
        birth.flush_logs()
    return 0


def _chosen(birth: Birth, app: Any) -> tuple[Any, Interface]:
    """The app as it is to be called, and its interface, which the first worker logs."""
    choice = choose(app, birth.config.interface)
    if birth.info.slot == 0 and birth.info.generation == 1:
        birth.log.info("interface: %s (%s)", choice.interface, choice.reason)
    return as_single(app) if choice.double else app, choice.interface


def _last_threads(birth: Birth, line: Line) -> "LastThreads":
    from prefork.worker.background_work import LastThreads  # noqa: PLC0415

    def publish(count: int) -> None:
        birth.row.counts[WORKING] = count

    busy = app_api.busy()
    busy.publish = publish
    publish(busy.count)
    who = f"worker {birth.info.slot}"
    return LastThreads(who, birth.log, line, busy, birth.config.kill_timeout)


def _disown_forks(
    birth: Birth, hooks: "ForkHooks", stopping: "app_api.Stopping", watchdog: "Watchdog"
) -> None:
    """What a process that the app forks must not keep of this worker."""
    pipes = (birth.ready_fd, birth.life_fd, *stopping.descriptors(), *watchdog.descriptors())
    hooks.replace(lambda: pipes)
    hooks.replace(birth.queue.descriptors)
    hooks.replace_sockets([listener.socket.getsockname() for listener in birth.listeners])
    hooks.call(birth.row.make_private)


def _become_program(birth: Birth, hatch: Hatch) -> int:
    """The life until the exec; the exit code if there is none."""
    config = birth.config
    birth.queue.close()
    ready_fd = out_of_the_way(birth.ready_fd, len(birth.listeners))
    os.close(birth.ready_fd)
    line = Line(ready_fd, birth.row, config.timeout, birth.set_title, birth.on_ready)
    try:
        lead_session()
        birth.on_ready()  # while we are still who may
        if birth.identity.uid is not None:
            os.fchown(hatch.stderr, birth.identity.uid, -1)  # it may open /dev/stderr
        take_place(birth)
        if not die_with_parent(signal.Signals[config.stop_signal], birth.master):
            return 0
        become(config.command, birth.listeners, hatch, config.stop_signal, config.timeout)
    except PreforkError as error:
        return _report(birth, line, error)


def check(birth: Birth) -> str:
    """Load the app and nothing more; the interface that it fits. Raises PreforkError."""
    if birth.config.command:
        take_place(birth)
        return find(birth.config.command, os.environ)
    settle(birth)
    if not die_with_parent(signal.SIGKILL, birth.master):
        raise MachineError("whoever wanted to know is gone")
    choice = choose(load(birth.config.app, birth.config.factory), birth.config.interface)
    return f"{choice.interface} ({choice.reason})"


def settle(birth: Birth) -> None:
    """Become who and where the worker is to be. Raises MachineError."""
    birth.set_title("booting")
    faulthandler.register(DUMP_SIGNAL, file=birth.log_fd, all_threads=True, chain=False)
    enlarge_signal_stack()
    signal.signal(signal.SIGUSR1, lambda _signum, _frame: birth.reopen_logs())
    let_signals_through()
    keep_freed_memory()
    raise_limit()
    take_place(birth)
    prepare_imports(birth.imports)


def take_place(birth: Birth) -> None:
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
    os.environ.update(birth.identity.variables())
    os.environ.update(config.env)
    os.environ["PREFORK_SLOT"] = str(birth.info.slot)
    os.environ["PREFORK_GENERATION"] = str(birth.info.generation)
    os.environ["PREFORK_NAME"] = birth.info.name
    os.environ["PWD"] = birth.folder


def _serve(
    birth: Birth,
    app: Callable[..., Any],
    interface: Interface,
    line: Line,
    leave: Leave,
    aids: "Aids",
) -> None:
    from prefork.worker.accept.endpoints import doors  # noqa: PLC0415
    from prefork.worker.http_worker import HttpWorker  # noqa: PLC0415
    from prefork.worker.main.socket_app import run_main  # noqa: PLC0415

    config, listeners = birth.config, birth.listeners
    entrances = doors(config, listeners, birth.tls)
    if interface is Interface.SOCKET:
        if not all(door.is_open for door in entrances):
            raise UsageError(
                "main(listener) takes its connections itself, so tls-cert and proxy-protocol "
                "mean nothing to it; leave them out"
            )
        birth.queue.close()
        run_main(app, list(listeners), config, line, leave, birth.log, aids.hooks)
    else:
        HttpWorker(birth, app, interface, entrances, line, leave).run(aids)


def _report(birth: Birth, line: Line, error: PreforkError) -> int:
    """Before ready the master tells it; afterwards only the log can."""
    if line.is_ready:
        birth.log.error("worker %d: %s", birth.info.slot, error)
    else:
        line.failed(str(error), error.exit_code)
    return error.exit_code
