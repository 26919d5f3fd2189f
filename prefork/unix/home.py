"""The registry: one folder for each app under ``$PREFORK_HOME``. It is the list of apps.

    lock       held by the master while it lives (flock(2)); this lock tells whether an app runs
    state      JSON: name, command line and result of the last start
    deaths     JSON: the last deaths of its workers, written when its master ends
    environment  JSON: the environment that the app keeps (config/kept_environment.py)
    control    the control socket
    log        the log of an app that was started in the background
    store/     the store that workers share, their locks and secrets; they belong to the workers
    NAME.out   the output of its workers, and NAME.out.1.gz … the rotated files

No function here asks a master, so the list is complete even when a master hangs. Everything belongs
to its owner alone: folders have mode 0700, files 0600, and symlinks are not followed.

Design
------
- **The parents of the home are checked as by sshd's StrictModes** (unix/path_trust.py) when a
  master takes its folder: no other user may exchange a folder above it. Reading is allowed
  anywhere, so root still manages the apps of a user: it holds that user's folders by descriptor,
  connects to no symlink, and trusts nothing that is written in them.
- **An app's folder is removed under its lock** (``remove_app``). Without that, a ``delete`` beside
  a ``start`` took the socket of the new master away. Observers hold the lock for an instant, and
  are waited for.
- **``stop --force`` ends only a process of the folder's owner,** whatever the state file or the
  socket says. Otherwise the owner of a folder could make root kill any process.
- **With ``--control-group`` the group gets the socket, the logs and the names, and nothing else.**
  The app's folder has mode 2750, the home 0750. The group cannot read the state, which has the
  command line, and cannot open the lock: a process that can open a file can also lock it
  (flock(2)), and then no master could start. So for all other users an app runs when its control
  socket accepts a connection. Files that are created later get the group from the folder (setgid).
  One home has one group, as a folder has; the first app sets it.
- **A foreground master whose name is taken is listed as ``name-2``.** ``prefork start`` refuses
  instead, because there the name is the operator's choice.
"""

import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from prefork.config.kept_environment import encode_environment
from prefork.errors import MachineError, UsageError
from prefork.unix.directory import Directory
from prefork.unix.identity import describe_group, describe_user
from prefork.unix.lock_file import acquire_lock
from prefork.unix.registry_entry import RegistryEntry, read_deaths
from prefork.unix.store_place import memory_folder
from prefork.wire.registry_state import encode_state

_END_TIMEOUT = 0.5
"""Seconds that a master needs at most from the removal of its control socket to its end."""

_START_SIZE = 2**16
"""Bytes that a start writes into the folder of its app: state, environment and first log lines."""

_STATE_FILES = tuple(
    name + ending for name in ("state", "environment", "deaths") for ending in ("", ".new")
)
"""Files that a master replaces, and the new ones before their rename."""

APP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")
"""Valid names of apps. ``all`` is reserved for the verbs."""


def registry_path(environ: Mapping[str, str]) -> Path:
    """Return the folder of the registry: $PREFORK_HOME, or ~/.prefork. Raises MachineError."""
    if named := environ.get("PREFORK_HOME"):
        return Path(named)
    return (
        user_home_directory("set PREFORK_HOME to the folder that is to hold the list") / ".prefork"
    )


def user_home_directory(advice: str) -> Path:
    """Return the home directory of this user: $HOME, or the entry in the user database.

    Raises MachineError, which ends with ``advice``, when neither names one, as in a container that
    runs as a bare number. os.path.expanduser keeps the tilde in that case, and a folder called
    ``~`` would appear.
    """
    path = os.path.expanduser("~")
    if path == "~":
        user = describe_user(os.geteuid())
        raise MachineError(f"{user} has no home directory, and HOME is not set; {advice}")
    return Path(path)


def check_app_name(name: str) -> str:
    """Return ``name`` if it is valid for an app. Raises UsageError."""
    if not APP_NAME.fullmatch(name) or name == "all":
        raise UsageError(
            f"the name {name!r} cannot be used: letters, digits and _ . @ - are fine, and not 'all'"
        )
    return name


def make_app_name(name: str) -> str:
    """Return a valid app name that resembles ``name``."""
    return re.sub(r"[^A-Za-z0-9_.@-]+", "-", name).strip("-.@")[:100] or "app"


class AppFolder:
    """The folder of one app, locked by this process, which is its master.

    ``home`` is the folder of all apps, ``lock`` the descriptor of the lock file.
    """

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
        """The path of the control socket."""
        return self.path / "control"

    def grant_group_access(self, gid: int) -> None:
        """Give the group ``gid`` access to the control socket, the logs and the list of names.

        Raises PreforkError.
        """
        _grant_list_access(self._home, gid)
        try:
            # Setgid, so that files which are created later belong to the group, too.
            self._directory.set_mode_and_group(0o2750, gid)
            for log in _log_names(self._directory):
                os.chown(log, -1, gid, dir_fd=self._directory.fd, follow_symlinks=False)
        except OSError as error:
            why = f"{error.strerror}; only a member of a group can give it a file"
            raise MachineError(f"control-group: cannot share {self.path}: {why}") from error

    @classmethod
    def from_descriptors(cls, path: Path, fds: Mapping[str, int]) -> "AppFolder":
        """Return the folder at ``path`` whose ``descriptors`` this process has got."""
        home = Directory(path.parent, fds["registry"])
        return cls(home, Directory(path, fds["registry_folder"]), fds["registry_lock"])

    def write_environment(self, environ: Mapping[str, str]) -> None:
        """Replace the environment that the app keeps. Raises MachineError."""
        _write_atomically(self._directory, "environment", encode_environment(environ), 0o600)

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state file atomically. Raises MachineError."""
        _write_atomically(self._directory, "state", encode_state(state), 0o600)

    def write_deaths(self, text: str) -> None:
        """Replace the file with the deaths of workers. Raises MachineError."""
        _write_atomically(self._directory, "deaths", text, 0o600)

    def read_deaths(self) -> bytes:
        """Return the content of the file with the deaths of workers; empty: there is none."""
        return read_deaths(self._directory)

    def close(self, keep: bool) -> None:
        """Remove the control socket, and without ``keep`` the folder; release the lock.

        A folder with a store stays, because the next start of the app goes on with it.
        """
        self._directory.remove("control")
        if not keep:
            _remove_files(self._home, self._directory)
        self.close_copy()

    def delete(self) -> None:
        """Remove the folder with the store and the secrets; release the lock.

        A store in a folder of the operator's choice, and one on a server, stay.
        """
        _remove_memory_store(self._directory)
        _remove_store(self._directory)
        self.close(keep=False)

    def descriptors(self) -> dict[str, int]:
        """Return the open descriptors by role."""
        return {
            "registry": self._home.fd,
            "registry_folder": self._directory.fd,
            "registry_lock": self._lock,
        }

    def close_copy(self) -> None:
        """Close a child's copies of the descriptors, so that only the master holds the lock."""
        self._home.close()
        self._directory.close()
        os.close(self._lock)


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file atomically; symlinks are not followed. Raises MachineError.

    Several commands may write it at the same time: the last one counts. So each has a name of its
    own for the file that it has not finished. Rejected: to lock the folder, because in one that all
    users may read, any user could hold the lock.
    """
    try:
        folder, name = Directory.open_parent(path)
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from error
    with folder:
        _write_atomically(folder, name, text, mode, f"{name}.{token_hex(8)}.new")


def _write_atomically(
    folder: Directory, name: str, text: str, mode: int, unfinished: str = ""
) -> None:
    try:
        folder.write_atomically(name, text.encode(), mode, unfinished)
    except OSError as error:
        raise MachineError(f"cannot write {folder.path / name}: {error.strerror}") from error


def list_entries(where: Path) -> Iterator[RegistryEntry]:
    """Yield all apps of the registry ``where``, sorted by name. Raises MachineError."""
    try:
        with Directory.open(where) as home:
            # In a folder that all users may write to, an entry may be a forgery.
            if home.status.st_mode & 0o2:
                _require_own_folder(where)
            found = sorted(name for name in home.listdir() if _is_app_folder(home, name))
    except FileNotFoundError:
        return
    except OSError as error:
        raise MachineError(f"cannot read {where}: {error.strerror}; it is $PREFORK_HOME") from error
    for name in found:
        entry = RegistryEntry(where / name)
        if entry.state or entry.is_running():  # else its master died before it wrote a state
            yield entry


def _is_app_folder(home: Directory, name: str) -> bool:
    """Return whether the entry has a valid name and is a directory."""
    found = home.lstat(name) if APP_NAME.fullmatch(name) else None
    return found is not None and stat.S_ISDIR(found.st_mode)


def claim_folder(where: Path, name: str, exact: bool) -> AppFolder:
    """Lock the folder of an app for a new master; create it if needed.

    ``where``: the folder of the registry. ``exact``: refuse a name that is taken; otherwise name-2,
    name-3 … are tried. Raises UsageError when the name is taken, MachineError when the folder
    cannot be written, or when another user could exchange it.
    """
    for number in range(1, 1000):
        candidate = name if number == 1 else f"{name}-{number}"
        folder = _wait_and_lock(where, candidate)
        if folder is not None:
            return folder
        if exact:
            raise UsageError(
                f"{name} runs already; use `prefork reload {name}` for new code, `prefork stop "
                f"{name}` and this start for other options, or another --name"
            )
    raise MachineError(f"a thousand apps called {name} run already")


def check_next_start(path: Path) -> None:
    """Raise MachineError unless this user can start the app in the folder ``path`` again.

    The present master serves on with its lock. A file without a name is written, because the next
    master cannot write its state on a full disk, and neither can it in a folder of another user's.
    """
    try:
        with Directory.open(path.parent, strict=True) as home:
            _require_own_home(home)
            _require_own_folder(path)
            with home.open_subdirectory(path.name) as folder:
                folder.check_room(_START_SIZE)
    except OSError as error:
        raise MachineError(f"cannot write into {path}: {error.strerror}") from error


def remove_app(path: Path) -> bool:
    """Remove an app that does not run; return False if a master holds its folder.

    The lock is held meanwhile: a start at this moment would lose its socket and its state.
    """
    if not path.is_dir():
        return True  # another process has removed it
    folder = _wait_and_lock(path.parent, path.name)
    if folder is None:
        return False
    folder.delete()
    return True


def _remove_files(home: Directory, folder: Directory) -> None:
    """Remove an app's folder and all files that prefork put into it; its lock is held."""
    for name in (*_log_names(folder), "control", *_STATE_FILES, "lock"):
        folder.remove(name)
    try:
        with suppress(OSError):  # there is no store, or it is not empty
            os.rmdir("store", dir_fd=folder.fd)
        os.rmdir(folder.path.name, dir_fd=home.fd)
    except OSError:
        pass  # it contains a file that prefork did not create, and stays


def _remove_store(folder: Directory) -> None:
    """Remove the store, which belongs to the workers' user. No file in it is opened."""
    try:
        with folder.open_subdirectory("store") as store:
            for name in store.listdir():
                with suppress(IsADirectoryError):
                    store.remove(name)
        os.rmdir("store", dir_fd=folder.fd)
    except OSError:
        pass  # there is none, or that user put a folder into it, and it stays


def _remove_memory_store(app: Directory) -> None:
    """Remove the store in memory, which the user of the workers has made; no file is opened."""
    store = app.lstat("store")
    for uid in {app.status.st_uid, app.status.st_uid if store is None else store.st_uid}:
        path = memory_folder(str(app.path / "store"), uid)
        try:
            parent, name = Directory.open_parent(path)
            with parent:
                with parent.open_subdirectory(name) as folder:
                    if folder.status.st_uid != uid:
                        continue  # another user has made it
                    for each in folder.listdir():
                        with suppress(IsADirectoryError):
                            folder.remove(each)
                os.rmdir(name, dir_fd=parent.fd)
        except OSError:
            pass  # there is none, or that user put a folder into it, and it stays


def _log_names(folder: Directory) -> list[str]:
    """Return the names of the logs of master and workers, including rotated ones."""
    output = f"{folder.path.name}.out"
    return [
        name
        for name in folder.listdir()
        if re.fullmatch(r"log(\.\d+|\.new)?", name) or name.startswith(output)
    ]


def _wait_and_lock(where: Path, name: str) -> AppFolder | None:
    """Lock the folder; wait for a process that removes it, or for a master that is about to end.

    Both hold the lock for an instant only. None: a master holds it.
    """
    deadline = time.monotonic() + _END_TIMEOUT
    while (folder := _try_lock(where, name)) is None:
        # A master removes its control socket first: while it is there, the master serves.
        if (where / name / "control").exists() or time.monotonic() > deadline:
            return None
        time.sleep(0.005)
    return folder


def _try_lock(where: Path, name: str) -> AppFolder | None:
    """Create and lock the folder of the app ``name``; None if it is locked. Raises MachineError."""
    path = where / name
    try:
        with ExitStack() as opened:
            home = opened.enter_context(Directory.open(where, make=0o700, strict=True))
            _require_own_home(home)
            while True:
                home.mkdir(name, 0o700)
                _require_own_folder(path)
                folder = opened.enter_context(home.open_subdirectory(name))
                fd = folder.open_or_create("lock", os.O_RDWR, 0o600)
                opened.callback(os.close, fd)
                if not acquire_lock(fd):
                    return None
                if folder.is_same_file("lock", fd):
                    break  # else its last owner removed the file between open and lock
            folder.remove("control")
            # Take away the access of a group, which an earlier start may have given.
            folder.set_mode_and_group(0o700)
            opened.pop_all()
            return AppFolder(home, folder, fd)
    except OSError as error:
        why = f"{error.strerror}; it is in $PREFORK_HOME"
        raise MachineError(f"cannot use {path}: {why}") from error


def _grant_list_access(home: Directory, gid: int) -> None:
    """Give the group access to the list of names. Raises PreforkError."""
    try:
        status = home.status
        if status.st_mode & 0o5 == 0o5 or (status.st_mode & 0o50 == 0o50 and status.st_gid == gid):
            return
        if status.st_mode & 0o70:
            raise UsageError(
                f"control-group: {home.path} is open to {describe_group(status.st_gid)} already, "
                "and one home has one group; use another PREFORK_HOME, or chmod 700 it first"
            )
        home.set_mode_and_group(0o750, gid)
    except OSError as error:
        why = f"{error.strerror}; only a member of a group can give it a file"
        raise MachineError(f"control-group: cannot share {home.path}: {why}") from error


def _require_own_home(home: Directory) -> None:
    """Raise MachineError unless ``home`` is a folder that only this user may write to.

    A symlink that root has put there for another user passes: systemd makes the RuntimeDirectory=
    of a unit with DynamicUser=yes so (systemd.exec(5)).
    """
    link = os.lstat(home.path)
    is_link_of_root = stat.S_ISLNK(link.st_mode) and link.st_uid == 0 != os.geteuid()
    _require_own_folder(home.path, home if is_link_of_root else None)


def _require_own_folder(path: Path, opened: Directory | None = None) -> None:
    """Raise MachineError unless ``path`` is a folder that only this user may write to.

    ``opened``: the folder that a trusted symlink at ``path`` leads to; None: no symlink passes.
    """
    status = os.lstat(path) if opened is None else opened.status
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        owner = describe_user(status.st_uid)
        raise MachineError(
            f"{path} is not a folder of this user's, but {owner}'s: it is in $PREFORK_HOME"
        )
    if status.st_mode & 0o22:
        raise MachineError(
            f"others may write into {path}, which is in $PREFORK_HOME, and could replace an app; "
            f"chmod go-w {path}"
        )
