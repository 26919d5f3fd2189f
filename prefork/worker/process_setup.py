"""Prepare the process of a worker: signals, limits, user, folder, environment, import path."""

import faulthandler
import os
import signal

from prefork.errors import MachineError
from prefork.unix.descriptors import raise_descriptor_limit
from prefork.unix.memory import keep_freed_memory
from prefork.unix.privileges import forbid_new_privileges
from prefork.unix.process import unblock_signals
from prefork.unix.signals import enlarge_signal_stack
from prefork.worker.importer import prepare_imports
from prefork.worker.monitor.stack_signal import DUMP_SIGNAL
from prefork.worker.store_setup import note_store
from prefork.worker.worker_context import WorkerContext


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
    note_store(context)  # as the master's user, who may look up its folder
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
