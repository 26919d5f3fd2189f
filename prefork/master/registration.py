"""The entry of a master in the list of apps: its folder, its state file and its control socket.

A master whose folder cannot be used serves all the same. It logs that once, and is in no list.

Design
------
- **The entry of a service stays in the list when its master fails,** with the deaths of its
  workers. systemd starts the master again and again, and its operator asks ``prefork why`` in
  between and after the last try. The entry of another foreground master goes with it: its terminal
  has the reason.
- **The members of the control group may see less than the owner** (``--control-group``): the state
  file is not for them, because it has the command line, which may set variables (``_PUBLIC_KEYS``).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from time import time
from typing import Any

from prefork.errors import MachineError, PreforkError
from prefork.observe.logger import Log
from prefork.unix.control import ControlSocket
from prefork.unix.home import AppFolder
from prefork.unix.listener_handover import InheritedState
from prefork.unix.registry_entry import RegistryEntry
from prefork.version import __version__
from prefork.wire.death_file import decode_deaths, encode_deaths
from prefork.wire.registry_state import LeaderRecord

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
"""The keys of the state that members of the control group may see."""


class Registration:
    """The entry of this master.

    ``origin``: how it was started, so that it can be started again. ``managed``: the entry stays in
    the list when the master ends. ``is_service``: it stays there when the master fails. ``group``:
    the control group; None: none. ``inherited``: what the previous master leaves to this one.
    ``socket``: the control socket.
    Raises PreforkError if the folder cannot be used or opened to the group.
    """

    def __init__(
        self,
        folder: AppFolder,
        origin: Mapping[str, Any],
        managed: bool,
        is_service: bool,
        log: Log,
        group: int | None,
        inherited: InheritedState,
    ) -> None:
        self.group = group
        self.inherited = inherited
        self._folder = folder
        self._managed = managed
        self._is_service = is_service
        self._log = log
        self._is_failure_logged = False
        self.last_leader = LeaderRecord.parse(RegistryEntry(folder.path).state.get("leader"))
        """The leader under the previous master, which may live."""
        self._state: dict[str, Any] = {
            "name": folder.name,
            "pid": os.getpid(),
            "started": time(),
            "version": __version__,
            "managed": managed,
            "status": "starting",
            "scaled": inherited.manual_target and asdict(inherited.manual_target),
            "leader": asdict(self.last_leader),
            **origin,
        }
        try:
            if group is not None:
                folder.grant_group_access(group)
            # Before the socket, so that its clients find the state of this master, not of the last.
            self.update()
            self.socket = ControlSocket(folder.control, group is not None)
        except BaseException:
            folder.close(keep=managed)
            raise

    @property
    def name(self) -> str:
        """The name of the app in the list."""
        return self._folder.name

    @property
    def store_folder(self) -> str:
        """The path of the folder of the store, which exists from the first use on."""
        return str(self._folder.path / "store")

    @property
    def public_state(self) -> dict[str, Any]:
        """The part of the state for every client of the control socket."""
        return {key: self._state[key] for key in _PUBLIC_KEYS if key in self._state}

    def update(self, **news: Any) -> None:
        """Change these keys of the state, and write the state file."""
        self._state.update(news)
        try:
            self._folder.write_state(self._state)
        except MachineError as error:
            if not self._is_failure_logged:
                self._is_failure_logged = True
                self._log.logger.warning("%s; prefork list may show old values", error)

    def write_leader(self, leader: LeaderRecord) -> None:
        """Keep the name of the leader for the next master."""
        self.update(leader=asdict(leader))

    def read_deaths(self) -> list[Mapping[str, Any]]:
        """Return what the last master wrote about the deaths of its workers."""
        return decode_deaths(self._folder.read_deaths())

    def write_deaths(self, deaths: Sequence[Mapping[str, Any]]) -> None:
        """Keep the deaths of workers for the time after this master, if the entry may stay."""
        if self._managed or self._is_service:
            try:
                self._folder.write_deaths(encode_deaths(deaths))
            except MachineError as error:
                self._log.logger.warning("%s; prefork why will not know the last deaths", error)

    def close(self, status: str, code: int | None, done: str = "") -> None:
        """Write the last state if the entry stays in the list, else remove it.

        ``status``: the last status, kept if the master failed. ``code``: the exit code of the
        master; None: it ends by a bug. ``done``: how all workers ended for good; empty: they did
        not.
        """
        code = PreforkError.exit_code if code is None else code
        status = status if code else done or "stopped"
        stays = self._managed or (self._is_service and code != 0)
        if stays:
            self.update(pid=None, status=status, exit_code=code, done=bool(done), ended=time())
        self._folder.close(keep=stays)

    def descriptors(self) -> dict[str, int]:
        """Return the descriptors of folder and lock, by role."""
        return self._folder.descriptors()

    def close_copy(self) -> None:
        """Close the copies of folder and lock, in a child."""
        self._folder.close_copy()
