"""One app in the list as processes other than its master see it: its state, its pid, whether it
runs.

Design
------
- **The pid comes from the kernel first** (SO_PEERCRED of the control socket names the process that
  listens, also a stopped one); the state file may be older than that pid.
"""

import os
import re
import time
from pathlib import Path
from typing import Any

from prefork.config.kept_environment import decode_environment
from prefork.errors import MachineError, UsageError
from prefork.unix.control import is_listening, listener_pid
from prefork.unix.directory import Directory
from prefork.unix.identity import describe_user
from prefork.unix.lock_file import is_locked
from prefork.wire.registry_state import VERSION, RegistryState, decode_state

MAX_ENVIRONMENT_SIZE = 16 * 1024 * 1024
"""The size of an environment file that is read: 2 MB of execve(2), six bytes for each in JSON."""

MAX_STATE_SIZE = 1024 * 1024
"""The size in bytes of a state file that is read, at most; a real one has about a thousand."""


class RegistryEntry:
    """The folder of one app as processes other than its master see it; ``state`` is read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        stored = _read_state(path)
        self.state: dict[str, Any] = stored.keys
        self._state_version = stored.version

    @property
    def control(self) -> Path:
        """The path of the control socket."""
        return self.path / "control"

    @property
    def owner(self) -> int:
        """The user id of the folder's owner. Raises UsageError if the app was deleted."""
        try:
            return os.lstat(self.path).st_uid
        except FileNotFoundError:
            raise UsageError(f"{self.name} is not in the list any more") from None

    @property
    def is_manageable(self) -> bool:
        """Return whether this process may change the app: it is root or the owner."""
        return os.geteuid() in (0, self.owner)

    def require_manageable(self) -> None:
        """Raise UsageError if this process may not change the app.

        Needed where no master is asked, which would refuse.
        """
        if not self.is_manageable:
            raise UsageError(
                f"{self.name} belongs to {describe_user(self.owner)}, and only they may change it"
            )

    def require_readable(self) -> None:
        """Raise UsageError if a later version of prefork wrote the state.

        Needed where the app is started again as the state says.
        """
        if self._state_version > VERSION:
            raise UsageError(
                f"{self.name}: its state has version {self._state_version} of its format, and this "
                f"prefork knows {VERSION}: start it with the prefork that wrote it "
                f"({self.state.get('version', 'a later version')}), or by its target under "
                "another --name"
            )

    @property
    def pid(self) -> int | None:
        """The pid of the master that runs; None if none runs, or if the pid cannot be trusted.

        The kernel is asked first, the state file second. The process has to run as the folder's
        owner.
        """
        if not self.is_running():
            return None
        try:
            with open_app_folder(self.path) as folder:
                control = Path(f"/proc/self/fd/{folder.fd}/control")
                pid = listener_pid(control) or _state_of(folder).keys.get("pid")
                owner = folder.status.st_uid
        except OSError:
            return None
        return pid if isinstance(pid, int) and _uid_of_process(pid) == owner else None

    def read_deaths(self) -> bytes:
        """Return what the last master wrote about the deaths of its workers; empty: nothing."""
        try:
            with open_app_folder(self.path) as folder:
                return read_deaths(folder)
        except OSError:
            return b""

    def read_environment(self) -> dict[str, str] | None:
        """Return the environment that the app keeps; None: it has none. Raises MachineError."""
        path = self.path / "environment"
        try:
            with open_app_folder(self.path) as folder:
                return decode_environment(folder.read(path.name, MAX_ENVIRONMENT_SIZE).decode())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MachineError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            advice = "--update-env replaces it by the environment of this shell"
            raise MachineError(f"{path} is not what prefork wrote ({error}); {advice}") from None

    def is_running(self) -> bool:
        """Return whether a master holds the lock.

        For users that cannot open the lock: whether one listens on the control socket.
        """
        try:
            with open_app_folder(self.path) as folder:
                fd = folder.open_regular("lock")
        except PermissionError:
            return is_listening(self.control)
        except OSError:
            return False
        try:
            return is_locked(fd)
        finally:
            os.close(fd)

    def wait_for_end(self, timeout: float | None, pid: int | None = None) -> bool:
        """Wait until the master releases the lock or its process ends; return whether it did.

        ``timeout`` in seconds; None waits without end. ``pid`` of the master, if it is known: the
        next master may take the lock at once, so that the lock alone would never look free.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_running() and (pid is None or _process_exists(pid)):
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def _process_exists(pid: int) -> bool:
    """Return whether a process has this pid, be it of another user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # the process exists and belongs to another user
    return True


def open_app_folder(path: Path) -> Directory:
    """Open the folder of an app; a symlink to one is refused. Raises OSError."""
    home, name = Directory.open_parent(path)
    with home:
        return home.open_subdirectory(name)


def _read_state(path: Path) -> RegistryState:
    """Return the state of an app; empty if it cannot be read or is invalid."""
    try:
        with open_app_folder(path) as folder:
            return _state_of(folder)
    except OSError:
        return RegistryState()


def _state_of(folder: Directory) -> RegistryState:
    """Return the state in an open folder; empty if it cannot be read or is invalid."""
    try:
        return decode_state(folder.read("state", MAX_STATE_SIZE))
    except (OSError, ValueError):
        return RegistryState()


def read_deaths(folder: Directory) -> bytes:
    """Return the file with deaths in an open folder; empty if it cannot be read."""
    try:
        return folder.read("deaths", MAX_STATE_SIZE)
    except (OSError, ValueError):
        return b""


def _uid_of_process(pid: int) -> int | None:
    """Return the real user id of a process; None when it does not exist."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = re.search(rb"^Uid:\s+(\d+)", file.read(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found is not None else None
