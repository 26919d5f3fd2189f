"""Become the master of an app, in the child process of a command that starts it.

Design
------
- **The child is a fork of the command where that is enough.** It shares the modules that are
  imported already, and ``start FILE`` starts many apps.
- **It executes a new Python where the app's environment has other variables that take effect when
  a process begins:** PYTHONPATH, LD_PRELOAD, MALLOC_ARENA_MAX (config/kept_environment.py). It
  passes on the descriptors of the app's folder, with the lock, and of the listeners. Rejected:
  to change sys.path instead; it is one of many effects.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import getproctitle

from prefork.cli.output.standard_output import print_error
from prefork.cli.serve.settings_loader import SettingsLoader
from prefork.config.kept_environment import needs_new_interpreter, variables_of_one_start
from prefork.errors import MachineError, PreforkError, UsageError
from prefork.pool.policy import ManualTarget
from prefork.unix.home import AppFolder, registry_path
from prefork.unix.listener_handover import InheritedState, describe_listeners, rebuild_listeners

_MAX_STATE_SIZE = 16 * 2**20
"""Bytes of a MasterStart that are read, more than an environment and arguments can have."""

_CODE = """\
import sys
sys.path.insert(0, sys.argv[2])
from prefork.cli.command import continue_start
del sys.path[0]
sys.exit(continue_start(int(sys.argv[1])))
"""


@dataclass(frozen=True, slots=True)
class MasterStart:
    """The start of one master.

    ``folder``: the claimed folder of the app. ``start_dir``: the working directory.
    ``environment``: the one that the app keeps. ``is_waited_for``: the command waits for the
    outcome, so errors are printed. ``inherited``: what the last master left.
    """

    folder: AppFolder
    start_dir: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    is_waited_for: bool
    inherited: InheritedState

    def run(self, may_execute: bool = True) -> int:
        """Be the master in this process, which is a child of the command; return the exit code.

        ``may_execute``: this process is a fork, and may execute a new Python.
        """
        try:
            home = self.folder.path.parent
            environ = complete_environment(self.environment, self.start_dir, home)
            if may_execute and needs_new_interpreter(os.environ, environ):
                self._execute(environ)
            # setproctitle finds the place of the title by the environment with which the process
            # began, at its first call. Then it decodes the title, which words that are no UTF-8
            # do not allow, and which is not needed here.
            with suppress(UnicodeDecodeError):
                getproctitle()
            os.environ.clear()
            os.environ.update(environ)
            time.tzset()
            return self._serve()
        except PreforkError as error:
            print_error(str(error))
            return error.exit_code

    def _serve(self) -> int:
        from prefork.cli.serve.run_master import serve  # noqa: PLC0415 - only the child needs it

        try:
            os.chdir(self.start_dir)
        except OSError as error:
            text = f"{self.folder.name}: cannot go to {self.start_dir}: {error.strerror}"
            raise UsageError(text) from error
        if not self.is_waited_for:
            _detach_output()
        settings = SettingsLoader(self.arguments, os.environ)
        return serve(settings, settings.read().config, self.folder, self.inherited)

    def _execute(self, environ: Mapping[str, str]) -> NoReturn:
        """Replace this process by a new Python, which goes on with ``run_passed_start``.

        Raises MachineError.
        """
        state = os.memfd_create("prefork-start")
        os.write(state, json.dumps(self._dump()).encode())
        sockets = [each.socket.fileno() for each in self.inherited.listeners]
        for fd in (state, *sockets, *self.folder.descriptors().values()):
            os.set_inheritable(fd, True)
        package = str(Path(__file__).parents[3])
        # -P: a folder "prefork" in the working directory is not this package.
        words = [sys.executable, "-P", "-c", _CODE, str(state), package]
        try:
            os.execve(sys.executable, words, environ)
        except OSError as error:
            raise MachineError(f"cannot run {sys.executable}: {error.strerror}") from error

    def _dump(self) -> dict[str, Any]:
        target = self.inherited.manual_target
        return {
            "folder": str(self.folder.path),
            "descriptors": self.folder.descriptors(),
            "start_dir": self.start_dir,
            "arguments": self.arguments,
            "environment": dict(self.environment),
            "is_waited_for": self.is_waited_for,
            "listeners": describe_listeners(self.inherited.listeners),
            "sockets": [each.socket.fileno() for each in self.inherited.listeners],
            "manual_target": target and asdict(target),
        }


def complete_environment(kept: Mapping[str, str], start_dir: str, home: Path) -> dict[str, str]:
    """Return the environment of a master: the kept one, and what is of this start."""
    environ = {**kept, **variables_of_one_start(os.environ)}
    environ["PWD"] = start_dir
    if "PREFORK_HOME" in os.environ or registry_path(environ) != home:
        environ["PREFORK_HOME"] = str(home.absolute())
    return environ


def run_passed_start(state: int) -> int:
    """Be the master in a new Python; return the exit code.

    ``state``: a descriptor of what ``MasterStart`` wrote.
    """
    os.lseek(state, 0, os.SEEK_SET)
    with open(state, "rb") as file:
        passed = json.loads(file.read(_MAX_STATE_SIZE))
    for fd in passed["descriptors"].values():
        os.set_inheritable(fd, False)
    listeners = rebuild_listeners(passed["listeners"], passed["sockets"])
    start = MasterStart(
        AppFolder.from_descriptors(Path(passed["folder"]), passed["descriptors"]),
        passed["start_dir"],
        tuple(passed["arguments"]),
        passed["environment"],
        passed["is_waited_for"],
        InheritedState(listeners, ManualTarget.parse(passed["manual_target"])),
    )
    return start.run(may_execute=False)


def _detach_output() -> None:
    """Point stdout and stderr to /dev/null: the outcome is in the list and in the log."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
