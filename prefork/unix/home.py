"""The registry: a folder for each app under ``$PREFORK_HOME``. It is the list of what runs.

    lock       held by the master while it lives (flock(2)); whether it runs is asked here
    state      JSON: who it is, how it was started, what became of it
    control    its socket
    log        the log of an app that was started in the background
    NAME.out   what its workers print, and NAME.out.1.gz …, the rotated ones

Nothing here asks a master, so the list is whole also when one hangs. Everything belongs to its
owner alone: folders are 0700, files 0600, and symlinks are not followed. No other user may exchange
a folder above the home, either (path_trust.py); who only looks at the home of another user holds
its
folders by descriptor, and believes nothing of what is in them. With --control-group an app's folder
is 2750 and the home 0750: the group sees names, reads the logs and gets at the socket; state and
lock stay its owner's, so to all other users an app runs when it lets them connect.
"""

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefork.errors import MachineError, UsageError
from prefork.unix.control import is_listening, listener_pid
from prefork.unix.directory import Directory
from prefork.unix.identity import describe_group, describe_user
from prefork.unix.lock_file import acquire_lock, is_locked

MAX_STATE_SIZE = 1024 * 1024
"""Bytes of a state that is read; ours has about one thousand."""

_END_TIMEOUT = 0.5
"""Seconds from the end of a control socket to the end of its master."""

APP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")


def registry_path(environ: Mapping[str, str]) -> Path:
    """Where the folders are: $PREFORK_HOME, or ~/.prefork. Raises MachineError."""
    if named := environ.get("PREFORK_HOME"):
        return Path(named)
    return (
        user_home_directory("set PREFORK_HOME to the folder that is to hold the list") / ".prefork"
    )


def user_home_directory(advice: str) -> Path:
    """Find the home directory of this user: $HOME, or what the list of users says.

    Raises MachineError, with ``advice`` at its end, when neither names one, as in a container that
    runs as a number. os.path.expanduser then leaves the tilde as it is, and a folder called ``~``
    would appear.
    """
    path = os.path.expanduser("~")
    if path == "~":
        user = describe_user(os.geteuid())
        raise MachineError(f"{user} has no home directory, and HOME is not set; {advice}")
    return Path(path)


def check_app_name(name: str) -> str:
    """The name, if a folder can be called so. Raises UsageError."""
    if not APP_NAME.fullmatch(name) or name == "all":
        raise UsageError(
            f"the name {name!r} cannot be used: letters, digits and _ . @ - are fine, and not 'all'"
        )
    return name


def make_app_name(name: str) -> str:
    """Something like ``name`` that a folder can be called."""
    return re.sub(r"[^A-Za-z0-9_.@-]+", "-", name).strip("-.@")[:100] or "app"


class AppFolder:
    """The folder of one app, as its master holds it: locked. ``home``: the folder of all apps."""

    def __init__(self, home: Directory, directory: Directory, lock: int) -> None:
        self.path = directory.path
        self._home = home
        self._directory = directory
        self._lock = lock

    @property
    def name(self) -> str:
        """The app's name in the list."""
        return self.path.name

    @property
    def control(self) -> Path:
        """Where the control socket is."""
        return self.path / "control"

    def grant_group_access(self, gid: int) -> None:
        """The members of this group, as far as the socket and the logs. Raises PreforkError."""
        _grant_list_access(self._home, gid)
        try:
            # Setgid, so that what comes later belongs to the group, too.
            self._directory.set_mode_and_group(0o2750, gid)
            for log in _log_names(self._directory):
                os.chown(log, -1, gid, dir_fd=self._directory.fd, follow_symlinks=False)
        except OSError as error:
            why = f"{error.strerror}; one has to be in a group to give it something"
            raise MachineError(f"control-group: cannot let it into {self.path}: {why}") from error

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state, whole or not at all. Raises MachineError."""
        _write_atomically(self._directory, "state", json.dumps(state, indent=1), 0o600)

    def close(self, keep: bool) -> None:
        """Let go; unless ``keep``, the app leaves the list."""
        self._directory.remove("control")
        if not keep:
            _remove_files(self._home, self._directory)
        self.close_copy()

    def close_copy(self) -> None:
        """In a child: the lock stays with the master alone."""
        self._home.close()
        self._directory.close()
        os.close(self._lock)


class RegistryEntry:
    """The folder of one app, as everybody else sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.state: dict[str, Any] = _read_state(path)

    @property
    def control(self) -> Path:
        """Where the control socket is."""
        return self.path / "control"

    @property
    def owner(self) -> int:
        """Whose it is. Raises UsageError when the app was deleted meanwhile."""
        try:
            return os.lstat(self.path).st_uid
        except FileNotFoundError:
            raise UsageError(f"{self.name} is not in the list any more") from None

    @property
    def is_manageable(self) -> bool:
        """Whether we may do more than look."""
        return os.geteuid() in (0, self.owner)

    def require_manageable(self) -> None:
        """Raises UsageError: where no master is asked, nobody else would say so."""
        if not self.is_manageable:
            raise UsageError(f"{self.name} belongs to {describe_user(self.owner)}; you may look")

    @property
    def pid(self) -> int | None:
        """Of the master that holds the lock; None: no process, or none that it could be.

        The kernel knows better than the state, which may be as old as the last master. Whatever the
        one or the other says, the process runs as the user whose folder it is: else the owner of a
        folder could have root end any process.
        """
        if not self.is_running():
            return None
        try:
            with _open_app_folder(self.path) as folder:
                control = Path(f"/proc/self/fd/{folder.fd}/control")
                pid = listener_pid(control) or _state_of(folder).get("pid")
                owner = folder.status.st_uid
        except OSError:
            return None
        return pid if isinstance(pid, int) and _uid_of_process(pid) == owner else None

    def is_running(self) -> bool:
        """Whether a master holds the lock; for others than its owner, whether one listens."""
        try:
            with _open_app_folder(self.path) as folder:
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
        """Whether the master let go of the lock within ``timeout`` seconds, or its process ended:
        the next master may take the lock at once. ``pid``: of the master, if it is known."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_running() and (pid is None or _process_exists(pid)):
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file, whole or not at all; no symlink is followed. Raises MachineError."""
    try:
        folder, name = Directory.open_parent(path)
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from error
    with folder:
        _write_atomically(folder, name, text, mode)


def _write_atomically(folder: Directory, name: str, text: str, mode: int) -> None:
    try:
        folder.write_atomically(name, text.encode(), mode)
    except OSError as error:
        raise MachineError(f"cannot write {folder.path / name}: {error.strerror}") from error


def list_entries(where: Path) -> Iterator[RegistryEntry]:
    """All apps in the list, by name. Raises MachineError when it may not be read."""
    try:
        with Directory.open(where) as home:
            if home.status.st_mode & 0o2:
                _require_own_folder(where)
            found = sorted(name for name in home.listdir() if _is_app_folder(home, name))
    except FileNotFoundError:
        return
    except OSError as error:
        raise MachineError(f"cannot read {where}: {error.strerror}; it is $PREFORK_HOME") from error
    for name in found:
        entry = RegistryEntry(where / name)
        if entry.state or entry.is_running():  # else its master died before it had said anything
            yield entry


def _is_app_folder(home: Directory, name: str) -> bool:
    found = home.lstat(name) if APP_NAME.fullmatch(name) else None
    return found is not None and stat.S_ISDIR(found.st_mode)


def claim_folder(where: Path, name: str, exact: bool) -> AppFolder:
    """The folder for a new master. ``exact``: by this name and no other.

    Raises UsageError when the name is taken, MachineError when nothing can be written there, or
    when another user could exchange what is written there.
    """
    for number in range(1, 1000):
        candidate = name if number == 1 else f"{name}-{number}"
        folder = _wait_and_lock(where, candidate)
        if folder is not None:
            return folder
        if exact:
            raise UsageError(f"{name} runs already; use `prefork reload {name}` or another --name")
    raise MachineError(f"a thousand apps called {name} run already")


def remove_app(path: Path) -> bool:
    """Take an app that does not run off the list; False: a master holds its folder.

    The lock is held meanwhile: a start at this moment would lose its socket and its state.
    """
    if not path.is_dir():
        return True  # another process was faster
    folder = _wait_and_lock(path.parent, path.name)
    if folder is None:
        return False
    folder.close(keep=False)
    return True


def _remove_files(home: Directory, folder: Directory) -> None:
    """Remove the folder of an app and all that prefork put into it; its lock is held."""
    for name in (*_log_names(folder), "control", "state", "state.new", "lock"):
        folder.remove(name)
    try:
        os.rmdir(folder.path.name, dir_fd=home.fd)
    except OSError:
        pass  # somebody else put something there: it is theirs


def _log_names(folder: Directory) -> list[str]:
    """What master and workers said, the rotated files, too."""
    output = f"{folder.path.name}.out"
    return [
        name
        for name in folder.listdir()
        if re.fullmatch(r"log(\.\d+|\.new)?", name) or name.startswith(output)
    ]


def _wait_and_lock(where: Path, name: str) -> AppFolder | None:
    """The folder, locked. A process that removes it, or a master that has closed its socket, holds
    the lock for an instant only, and is waited for."""
    deadline = time.monotonic() + _END_TIMEOUT
    while (folder := _try_lock(where, name)) is None:
        if (where / name / "control").exists() or time.monotonic() > deadline:
            return None
        time.sleep(0.005)
    return folder


def _try_lock(where: Path, name: str) -> AppFolder | None:
    path = where / name
    try:
        with ExitStack() as opened:
            home = opened.enter_context(Directory.open(where, make=0o700, strict=True))
            _require_own_folder(where)
            while True:
                home.mkdir(name, 0o700)
                _require_own_folder(path)
                folder = opened.enter_context(home.open_subdirectory(name))
                fd = folder.open_or_create("lock", os.O_RDWR, 0o600)
                opened.callback(os.close, fd)
                if not acquire_lock(fd):
                    return None
                if folder.is_same_file("lock", fd):
                    break  # else its last owner removed it between our open and our lock
            folder.remove("control")
            folder.set_mode_and_group(
                0o700
            )  # a group that it was open to may not be wanted any more
            opened.pop_all()
            return AppFolder(home, folder, fd)
    except OSError as error:
        why = f"{error.strerror}; it is in $PREFORK_HOME"
        raise MachineError(f"cannot use {path}: {why}") from error


def _grant_list_access(home: Directory, gid: int) -> None:
    """Raises PreforkError."""
    try:
        status = home.status
        if status.st_mode & 0o5 == 0o5 or (status.st_mode & 0o50 == 0o50 and status.st_gid == gid):
            return
        if status.st_mode & 0o70:
            raise UsageError(
                f"control-group: {home.path} is open to {describe_group(status.st_gid)} "
                f"already, and "
                "one home has one group; use another PREFORK_HOME, or chmod 700 it first"
            )
        home.set_mode_and_group(0o750, gid)
    except OSError as error:
        why = f"{error.strerror}; one has to be in a group to give it something"
        raise MachineError(f"control-group: cannot let it into {home.path}: {why}") from error


def _require_own_folder(path: Path) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        owner = describe_user(status.st_uid)
        raise MachineError(
            f"{path} is not a folder of this user's, but {owner}'s: it is in $PREFORK_HOME"
        )
    if status.st_mode & 0o22:
        raise MachineError(
            f"others may write into {path}, which is in $PREFORK_HOME, and so take the place of an "
            f"app; chmod go-w {path}"
        )


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def _open_app_folder(path: Path) -> Directory:
    """The folder of an app, and no symlink to one. Raises OSError."""
    home, name = Directory.open_parent(path)
    with home:
        return home.open_subdirectory(name)


def _read_state(path: Path) -> dict[str, Any]:
    try:
        with _open_app_folder(path) as folder:
            return _state_of(folder)
    except OSError:
        return {}


def _state_of(folder: Directory) -> dict[str, Any]:
    try:
        state = json.loads(folder.read("state", MAX_STATE_SIZE))
    except (OSError, ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def _uid_of_process(pid: int) -> int | None:
    """The real user of a process; None: there is no such process."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = re.search(rb"^Uid:\s+(\d+)", file.read(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found is not None else None
