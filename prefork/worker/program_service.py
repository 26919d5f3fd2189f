"""Serve a program in another language: the command after ``--``."""

import os
import signal
from dataclasses import replace

from prefork.config import Config
from prefork.errors import PreforkError
from prefork.node.node_environment import SHIM
from prefork.unix.process import set_parent_death_signal
from prefork.worker.interface import CommandService
from prefork.worker.master_channel import make_channel, report_error
from prefork.worker.process_setup import enter_identity_and_folder
from prefork.worker.program_exec import (
    duplicate_above_sockets,
    exec_program,
    find_executable,
    start_session,
)
from prefork.worker.worker_context import WorkerContext


def _check_shim(context: WorkerContext) -> Config:
    """Return the settings, with the Node shim off if the program cannot read it.

    Node would refuse to start. A package in the home of root is an example, with --user.
    """
    config = context.config
    if config.node_shim == "off" or os.access(SHIM, os.R_OK):
        return config
    if context.info.slot == 0 and context.info.generation == 1:
        context.log.warning(
            "node-shim is off: the user of the program cannot read %s; a Node server has to listen "
            "on descriptor 3, or the package has to be readable",
            SHIM,
        )
    return replace(config, node_shim="off")


class ProgramService(CommandService):
    """Turns the worker into the program, which the master manages by signals."""

    @staticmethod
    def run(context: WorkerContext) -> int:
        """Prepare the process and replace it by the program. Returns an exit code only if that
        fails."""
        config, pipes = context.config, context.program_pipes
        assert pipes is not None, "the master opens them for a program"
        context.handoff_queue.close()
        ready_fd = duplicate_above_sockets(context.ready_fd, len(context.listeners))
        os.close(context.ready_fd)
        channel = make_channel(context, ready_fd)
        try:
            start_session()
            context.on_ready()  # before the user changes: the new one may not open the logs
            if context.identity.uid is not None:
                os.fchown(pipes.stderr_fd, context.identity.uid, -1)  # it may open /dev/stderr
            enter_identity_and_folder(context)
            stop_signal = signal.Signals[config.stop_signal]
            if not set_parent_death_signal(stop_signal, context.master_pid):
                return 0
            exec_program(_check_shim(context), context.listeners, pipes, context.info.slot)
        except PreforkError as error:
            return report_error(context, channel, error)

    @staticmethod
    def check(context: WorkerContext) -> str:
        """Return the path of the executable. Raises PreforkError."""
        enter_identity_and_folder(context)
        return find_executable(context.config.command, os.environ)
