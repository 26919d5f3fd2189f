"""Run prefork with an auxiliary process that attacks it: ``python taken_over.py PROCESS ATTACK
…``."""

import os
import sys
from typing import Any

from prefork.cli.command import main as command
from prefork.observe import log_writer, watcher
from prefork.observe.status import status_loop
from prefork.unix.process import unblock_signals
from tests.hostile import attacks


def begin() -> None:
    """Choose the attack; called first in that process, another one each time that it is
    replaced."""
    attacks.RANDOM.seed(os.getpid())
    unblock_signals()


def take_over(process: str, attack: str) -> None:
    """Replace the code of ``process``: status, writer or watcher."""

    def serve(birth: Any) -> int:
        begin()
        birth.identity.assume()
        attacks.LINES[attack](birth.channel._end)
        return 0

    def write(self: Any) -> int:
        begin()
        attacks.LINES[attack](self._channel._end)
        return 0

    def watch(self: Any, _master: int) -> int:
        begin()
        attacks.pipe_of_any_bytes(self._send.args[0])
        return 0

    if process == "status":
        status_loop.run_status_server = serve
    elif process == "writer":
        log_writer.LogWriter.run = write  # type: ignore[method-assign]
    else:
        watcher.FileWatcher.run = watch  # type: ignore[method-assign]


def main() -> None:
    """Run the command with the remaining arguments."""
    process, attack, *words = sys.argv[1:]
    take_over(process, attack)
    sys.argv[1:] = words
    sys.exit(command())


if __name__ == "__main__":
    main()
