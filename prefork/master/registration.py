"""A master's place in the list: its folder, its control socket, and what the folder says of it.

A master whose folder cannot be used serves all the same; it says so once and is in no list.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from time import time
from typing import Any

from prefork.errors import MachineError, PreforkError
from prefork.observe.logger import Log
from prefork.unix.control import ControlSocket
from prefork.unix.home import AppFolder
from prefork.unix.listener_handover import InheritedState
from prefork.version import __version__

_PUBLIC_KEYS = (
    "name",
    "app",
    "namespace",
    "here",
    "file",
    "section",
    "started",
    "version",
    "log",
    "output",
)
"""Of the state; not the command line, which may set variables."""


class Registration:
    """``origin``: how it was started, so that it can be started again. ``managed``: it stays in
    the list when it is stopped. ``group``: whose members may look; raises PreforkError if it cannot
    be let in. ``inherited``: what the master before leaves to this one."""

    def __init__(
        self,
        folder: AppFolder,
        origin: Mapping[str, Any],
        managed: bool,
        log: Log,
        group: int | None,
        inherited: InheritedState,
    ) -> None:
        self.group = group
        self.inherited = inherited
        self._folder = folder
        self._managed = managed
        self._log = log
        self._is_failure_logged = False
        self._state: dict[str, Any] = {
            "name": folder.name,
            "pid": os.getpid(),
            "started": time(),
            "version": __version__,
            "managed": managed,
            "status": "starting",
            "scaled": inherited.manual_target and asdict(inherited.manual_target),
            **origin,
        }
        try:
            if group is not None:
                folder.grant_group_access(group)
            # First, so that clients that get in find the state of this master, not of the last one.
            self.update()
            self.socket = ControlSocket(folder.control, group is not None)
        except BaseException:
            folder.close(keep=managed)
            raise

    @property
    def name(self) -> str:
        """The app's name in the list."""
        return self._folder.name

    @property
    def public_state(self) -> dict[str, Any]:
        """What everybody may know who may look."""
        return {key: self._state[key] for key in _PUBLIC_KEYS if key in self._state}

    def update(self, **news: Any) -> None:
        """Write down what changed."""
        self._state.update(news)
        try:
            self._folder.write_state(self._state)
        except MachineError as error:
            if not self._is_failure_logged:
                self._is_failure_logged = True
                self._log.logger.warning("%s; the list will not know", error)

    def close(self, status: str, code: int | None, done: str = "") -> None:
        """The master ends with this exit code, None: by a bug; if it failed, ``status`` says how.
        ``done``: how all workers ended for good."""
        code = PreforkError.exit_code if code is None else code
        status = status if code else done or "stopped"
        if self._managed:
            self.update(pid=None, status=status, exit_code=code, done=bool(done), ended=time())
        self._folder.close(keep=self._managed)

    def close_copy(self) -> None:
        """In a child."""
        self._folder.close_copy()
