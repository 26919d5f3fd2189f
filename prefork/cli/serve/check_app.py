"""``--check``: load the app in a child process, as a worker would, and report the result."""

import os
import signal
from dataclasses import replace

from prefork.cli.output.output_streams import original_streams
from prefork.config import Config
from prefork.config.store_kind import is_server
from prefork.config.target import describe_target, resolve_name
from prefork.config.value_types import format_duration
from prefork.errors import AppError, MachineError, PreforkError
from prefork.master.generation import (
    hide_secrets,
    load_credentials,
    load_logging_config,
    make_policy,
    resolve_folders,
    resolve_spool_dir,
)
from prefork.observe.logger import Log
from prefork.plural import pluralize
from prefork.pool import Policy
from prefork.unix.identity import resolve_identity
from prefork.unix.pipes import Pipe, open_ready_pipe, read_available
from prefork.unix.poller import Poller
from prefork.unix.process import Child, ExitStatus, fork
from prefork.unix.scoreboard import Scoreboard
from prefork.unix.shared_queue import SharedQueue
from prefork.worker.app_api import WorkerInfo
from prefork.worker.boot import load_app_only
from prefork.worker.monitor.stack_signal import DUMP_SIGNAL
from prefork.worker.worker_context import WorkerContext


@original_streams()
def check_app(config: Config, start_dir: str) -> str:
    """Load the app of the settings in a child process and return the result in one line.

    ``start_dir``: the folder that relative paths start from. The child ends within
    ``--boot-timeout``. Raises PreforkError: AppError, with the app's traceback, when the app cannot
    be loaded.
    """
    pool_policy = make_policy(config)
    pipe = open_ready_pipe()
    context = _make_context(config, start_dir, pipe)

    def run_check() -> int:
        os.close(pipe.reader)
        try:
            text, code = load_app_only(context), 0
        except PreforkError as error:
            text, code = str(error), error.exit_code
        # A pipe holds 64 KB, and the parent reads only after this process has ended.
        os.write(pipe.writer, text.encode("utf-8", "backslashreplace")[:65000])
        return code

    child = fork(run_check)
    is_in_time = _wait_or_kill(child, pool_policy)
    report = (read_available(pipe.reader) or b"").decode("utf-8", "replace")
    death = child.reap()
    if not is_in_time:
        limit = format_duration(config.boot_timeout)
        raise AppError(
            f"loading the app did not end within --boot-timeout {limit}; its stacks are above"
        )
    _raise_failure(death, report)
    workers = pluralize(pool_policy.initial_workers, "worker")
    return f"{describe_target(config)}: {report}, {workers}"


def _make_context(config: Config, start_dir: str, pipe: Pipe) -> WorkerContext:
    """Return what a worker gets from its master, without listeners and without logs of its own."""
    if config.store != "off" and not is_server(config.store):
        # A check has no folder of an app, and must not change what the running app has stored.
        config = replace(config, store="process")
    identity = resolve_identity(config.user, config.group)
    folder, imports = resolve_folders(config, start_dir)
    tls = load_credentials(config, start_dir)
    hide_secrets(config)
    log = Log(config.log_level, "")
    return WorkerContext(
        info=WorkerInfo(0, 1, resolve_name(config)),
        config=config,
        identity=identity,
        folder=folder,
        imports=imports,
        spool_dir=resolve_spool_dir(config, start_dir),
        listeners={},
        tls=tls,
        handoff_queue=SharedQueue(),
        ready_fd=pipe.writer,
        order_fd=-1,
        life_fd=-1,
        row=Scoreboard().acquire_row(1),
        master_pid=os.getpid(),
        log=log.logger,
        log_fd=log.fd,
        log_access=None,
        set_title=lambda _state: None,
        on_ready=lambda: None,
        open_logs=lambda: None,
        reopen_logs=lambda: None,
        flush_logs=lambda: None,
        logging_config=load_logging_config(config, start_dir),
    )


def _raise_failure(death: ExitStatus, report: str) -> None:
    """Raise the error that the child reported, or one that names how the child ended."""
    if death.code == MachineError.exit_code and report:
        raise MachineError(report)
    if death.code != 0 or not report:
        cause = death.signal or f"exit code {death.code}"
        raise AppError(report or f"loading the app ended the process: {cause}")


def _wait_or_kill(child: Child, policy: Policy) -> bool:
    """Return whether the child ended within the boot timeout.

    A late child prints its stacks and is killed.
    """
    waiter = Poller()
    waiter.add_reader(child.pidfd, bool)
    if list(waiter.wait(policy.boot_timeout)):
        return True
    child.send_signal(DUMP_SIGNAL)  # prints the stacks, as in a worker that hangs
    list(waiter.wait(policy.hang_grace))
    child.send_signal(signal.SIGKILL)
    return False
