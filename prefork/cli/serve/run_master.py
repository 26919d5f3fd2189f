"""Set up the process of a master, run the master, and return its exit code.

Design
------
- **A foreground master whose name is taken is listed as** ``name-2``. ``prefork start`` refuses
  instead, because there the name is how the user means the app.
"""

import gc
import os
from typing import Any

from prefork.cli.output.output_streams import original_streams
from prefork.cli.output.resource_errors import resource_error
from prefork.cli.output.standard_output import restore_stdout
from prefork.cli.serve.settings_loader import SettingsLoader, start_folder
from prefork.config import Config
from prefork.config.target import describe_target, require_target, resolve_name
from prefork.errors import PreforkError
from prefork.master.master import SIGNALS, Master
from prefork.master.registration import Registration
from prefork.observe.logger import Log
from prefork.unix.append_file import set_worker_user
from prefork.unix.daemon import ForegroundProcess, daemonize
from prefork.unix.descriptor_store import DescriptorStore
from prefork.unix.home import AppFolder, claim_folder, make_app_name, registry_path
from prefork.unix.identity import group_id, resolve_identity
from prefork.unix.listener_handover import NOTHING_INHERITED, InheritedState
from prefork.unix.listeners import kernel_backlog_limit
from prefork.unix.signals import SignalQueue
from prefork.unix.systemd import SystemdNotifier


@original_streams()
def serve(
    settings: SettingsLoader,
    config: Config,
    managed: AppFolder | None = None,
    inherited: InheritedState = NOTHING_INHERITED,
) -> int:
    """Run a master until it ends; return its exit code. Raises PreforkError.

    ``managed``: the claimed folder of an app that stays in the list when it is stopped; None: the
    app is in the list while it runs. ``inherited``: listening sockets and the number of workers
    that the master before left. With ``daemon`` the process goes to the background; the process
    that called exits with the outcome of the start.
    """
    restore_stdout()
    start_dir = start_folder()
    sockets = [listener.socket.fileno() for listener in inherited.listeners]
    foreground = daemonize(sockets) if config.daemon else ForegroundProcess(-1)
    code = PreforkError.exit_code
    try:
        code = _run_master(settings, config, start_dir, foreground, managed, inherited)
    except PreforkError as error:
        code = error.exit_code
        raise
    except OSError as error:
        shortage = resource_error(error)
        if shortage is None:
            raise
        code = shortage.exit_code
        raise shortage from error
    finally:
        foreground.report_exit_code(code)
    return code


def _run_master(
    settings: SettingsLoader,
    config: Config,
    start_dir: str,
    foreground: ForegroundProcess,
    managed: AppFolder | None,
    inherited: InheritedState,
) -> int:
    """Create the master in this process and run it until it ends; return its exit code."""
    # The signal queue comes first: a signal that arrives while the master binds its sockets and
    # writes its pid file must not be lost.
    signal_queue = SignalQueue(SIGNALS)
    if config.umask is not None:
        os.umask(config.umask)
    group = group_id(config.control_group) if config.control_group else None
    identity = resolve_identity(config.user, config.group)
    set_worker_user(identity.uid, identity.gid)
    log = _open_log(settings, config)
    store = DescriptorStore(os.environ, SystemdNotifier(os.environ), settings.stored)
    if config.daemon:
        store.notifier.notify_main_pid(os.getpid())

    def reload_config() -> Config:
        config = settings.read().config
        require_target(config)
        return config

    folder, unlisted_reason = managed, ""
    if folder is None:
        folder, unlisted_reason = _claim_free_name(config)
    registration = None
    if folder is not None:
        origin = _describe_origin(settings, config, start_dir)
        stays = (managed is not None, store.notifier.is_used)
        registration = Registration(folder, origin, *stays, log, group, inherited)
    try:
        master = Master(
            config, reload_config, start_dir, log, signal_queue, store, foreground, registration
        )
    except Exception as error:
        _record_failed_start(error, config, log, registration)
        raise
    if unlisted_reason:
        log.logger.warning(
            "%s; the app serves, but `prefork list` does not show it", unlisted_reason
        )
    _freeze_objects()
    try:
        return master.run()
    finally:
        log.flush()


def _record_failed_start(
    error: Exception, config: Config, log: Log, registration: Registration | None
) -> None:
    """Write why the master did not start to a log file and to the list of apps."""
    if config.log_file not in ("", "-"):  # the command prints the reason on its stderr
        log.logger.error("not started: %s", error)
        log.flush()
    if registration is not None:
        code = getattr(error, "exit_code", PreforkError.exit_code)
        registration.close(f"did not start: {error}", code)


def _open_log(settings: SettingsLoader, config: Config) -> Log:
    """Open the log of this master, and log what its environment has that needs a remark."""
    log = Log(config.log_level, config.log_file, config.log_format)
    log.identify(resolve_name(config))
    _log_remarks(settings, config, log)
    return log


def _describe_origin(settings: SettingsLoader, config: Config, start_dir: str) -> dict[str, Any]:
    """Return how this app was started, for the list of apps and for the next start."""
    return {
        "app": describe_target(config),
        "namespace": config.namespace,
        "arguments": settings.arguments,
        "here": start_dir,
        "file": settings.file,
        "section": settings.section,
        "stage": settings.stage,
        "store": [config.store, config.store_size],
    }


def _freeze_objects() -> None:
    """Exclude the objects that exist now from garbage collection in this process and its children.

    Otherwise the collector of each worker would write to their headers, and the kernel would copy
    the pages that workers share with the master.
    """
    gc.collect()
    gc.freeze()


def _log_remarks(settings: SettingsLoader, config: Config, log: Log) -> None:
    """Log what the environment sets, and a warning for what does not do what it seems to do."""
    for remark in settings.remarks:
        log.logger.info("%s", remark)
    ceiling = kernel_backlog_limit()
    if ceiling is not None and config.backlog > ceiling:
        log.logger.warning(
            "the kernel cuts --backlog %d to net.core.somaxconn = %d", config.backlog, ceiling
        )
    for note in settings.notes:
        log.logger.warning("%s", note)
    if ignored_variables := settings.kubernetes_variables:
        log.logger.warning(
            "ignoring %s: Kubernetes sets such variables for a Service whose name begins with "
            "prefork; enableServiceLinks: false in the pod keeps them out",
            ", ".join(ignored_variables),
        )


def _claim_free_name(config: Config) -> tuple[AppFolder | None, str]:
    """Claim a folder of the registry under a free name; return it, or None and the reason."""
    name = make_app_name(resolve_name(config))
    try:
        return claim_folder(registry_path(os.environ), name, exact=False), ""
    except PreforkError as error:
        return None, str(error)
