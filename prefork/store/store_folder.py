"""The files of an embedded store: opened, checked, put aside.

    shared       locks by byte (unix/record_locks.py), and the facts that all processes share
    data-N       the LMDB file; N rises when another file takes its place
    data-N-lock  LMDB's own lock file, with its table of readers
    snapshot     the entries as of the last sync (store_snapshot.py)
    check.PID    a file that a check writes and removes
    user.PID     a process that has the store open; it stays behind when the process is killed
    damaged-…    a damaged file that was put aside
    locks        the named locks (named_lock.py); secret.NAME: the secrets (secret_files.py)

Design
------
- **The file is checked before it is opened** when no other process has it open, and when a process
  died with it open: the file may be what crashed it. With others alive that happens at most every
  two seconds, so that a worker that is killed each second costs no check each time.
- **After the machine was started again the snapshot counts,** not the file, which may be torn. The
  boot id of the kernel tells.
- **LMDB opens a file only after it was seen to be a regular one.** LMDB opens by path, so it would
  follow a symlink, and the check would wait for the writer of a fifo.
- **A process in another PID namespace is refused.** LMDB's table of readers names pids, and a
  container would clear the readers of another one.
"""

import os
import stat
import struct
from math import isfinite
from mmap import mmap
from pathlib import Path
from time import strftime, time

import lmdb

from prefork.errors import StoreBusy, StoreUnavailable
from prefork.store.damage_check import MAP_SIZE, find_damage
from prefork.store.store_snapshot import NAME as SNAPSHOT
from prefork.store.store_snapshot import DamagedSnapshotError, read_snapshot
from prefork.unix.directory import Directory
from prefork.unix.identity import describe_user
from prefork.unix.mount_type import file_system_type, is_network_file_system
from prefork.unix.record_locks import LockFile, RecordLock, open_lock_file
from prefork.unix.regular_file import file_kind
from prefork.unix.store_place import StorePlace, memory_folder

OPENING, WRITING, SNAPPING, USERS = 0, 1, 2, 1 << 40
"""Bytes of the file ``shared`` that are locks; a user's is ``USERS`` and its pid."""
_MAX_PIDS = 1 << 32

_MAX_NUMBER = 1 << 63
"""The first number that a data file cannot have: the next one has to fit, too."""

_FACTS = struct.Struct("<QQ36s4xQd")
"""Number of the data file, PID namespace, boot id, and the transaction and the time of the last
snapshot."""
_NUMBER = struct.Struct("<Q")
"""The first of them alone."""
_CHECKED = struct.Struct("<d")
_CHECKED_AT = 128
"""Where the time of the last check stands."""
_CLOCK = struct.Struct("<Q")
_CLOCK_AT = 192
"""Where the clock of use stands."""
_SHARED_SIZE = 4096
_CHECK_SIZE = 65536

READERS = 2048
_READER_SIZE = 64
"""Bytes of a place in LMDB's table of readers."""
_ROOM_FOR_A_CHANGE = 64 * 1024
CHECK_INTERVAL = 2.0
CLOCK_LEAD = 60
"""Seconds that the clock of use may be ahead of the time of day."""


class StoreFolder:
    """The folder of a store, opened by this process. Raises StoreError."""

    def __init__(self, place: StorePlace, timeout: float) -> None:
        """Open the folder, not the store. ``timeout``: seconds to wait for a process that makes its
        file of locks just now."""
        self._report = place.report
        try:
            self.directory = open_store_directory(place)
            self.shared = open_lock_file(self.directory, "shared")
            self._facts = _map_facts(self.shared, timeout)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot open the store in {place.folder}: {error.strerror}"
            ) from error
        self.writing = RecordLock(self.shared, WRITING)
        self.snapping = RecordLock(self.shared, SNAPPING)
        self._opening = RecordLock(self.shared, OPENING)
        self.number = 0

    @property
    def path(self) -> Path:
        """The path of the folder, for messages."""
        return self.directory.path

    def is_current(self) -> bool:
        """Return whether the file that ``open`` has opened is still that of the store."""
        return bool(_NUMBER.unpack_from(self._facts)[0] == self.number)

    def snapshot_facts(self) -> tuple[int, float]:
        """Return the transaction and the time of the last snapshot."""
        *_, transaction, at = _FACTS.unpack_from(self._facts)
        return transaction, at if isfinite(at) else 0.0

    def note_snapshot(self, transaction: int) -> None:
        """Note that a snapshot of this transaction is complete."""
        number, namespace, boot, *_ = _FACTS.unpack_from(self._facts)
        _FACTS.pack_into(self._facts, 0, number, namespace, boot, transaction, time())

    def use_clock(self, now: float) -> int:
        """Return the clock by which uses are noted: the second, or one that is up to a minute
        ahead. ``now``: Unix time."""
        (clock,) = _CLOCK.unpack_from(self._facts, _CLOCK_AT)
        second = int(now)
        return int(clock) if second < clock <= second + CLOCK_LEAD else second

    def advance_use_clock(self, now: float) -> None:
        """Let later uses be noted as later ones; this process has the lock of writers."""
        clock = min(self.use_clock(now) + 1, int(now) + CLOCK_LEAD)
        _CLOCK.pack_into(self._facts, _CLOCK_AT, clock)

    def is_disk_full(self) -> bool:
        """Return whether the file system has no room for a change."""
        status = os.fstatvfs(self.directory.fd)
        return status.f_bavail * status.f_frsize < _ROOM_FOR_A_CHANGE

    def has_other_users(self) -> bool:
        """Return whether another process has the store open."""
        return self.shared.holder(USERS, _MAX_PIDS) is not None

    def open(self, timeout: float, suspect: bool = False) -> lmdb.Environment:
        """Open the data file, after a check if one is due. ``suspect``: it is due in any case.

        ``timeout``: seconds to wait for another process that opens it. The check takes up to a
        minute if the file is large.
        """
        if not self._opening.acquire(timeout):
            raise StoreBusy(
                f"process {self._opening.holder()} has been opening {self.path} for {timeout:g} s "
                "or more: it checks a large file, or it was stopped (SIGSTOP)"
            )
        try:
            died = self._remove_marks_of_the_dead()
            self._enter(suspect, died)
            self._mark()
            return self._open_data()
        except OSError as error:
            path = self.path / os.fsdecode(error.filename or "")
            raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from error
        except lmdb.Error as error:
            raise StoreUnavailable(f"cannot open {self.path}: {error}") from error
        finally:
            self._opening.release()

    def _enter(self, suspect: bool, died: bool) -> None:
        """Decide which data file is that of the store, and check it."""
        number, namespace, boot, transaction, at = _FACTS.unpack_from(self._facts)
        others = self.has_other_users()
        here, now_boot = _pid_namespace(), _boot_id()
        if others and namespace != here:
            raise StoreUnavailable(
                f"processes of another PID namespace (container) use the store {self.path}; give "
                "each container a PREFORK_HOME of its own, or use --store redis://…"
            )
        if number == 0 or number >= _MAX_NUMBER or boot != now_boot:
            self._remove_data(number)
            number = number % _MAX_NUMBER + 1
        elif died or not others or suspect:
            (checked,) = _CHECKED.unpack_from(self._facts, _CHECKED_AT)
            is_due = suspect or not others or not 0 <= time() - checked < CHECK_INTERVAL
            if is_due and (why := self._find_damage(number)):
                self._put_aside(number, why)
                number += 1
            _CHECKED.pack_into(self._facts, _CHECKED_AT, time())
        self.number = number
        _FACTS.pack_into(self._facts, 0, number, here, now_boot, transaction, at)

    def _open_data(self) -> lmdb.Environment:
        """Open the data file; a new one gets the entries of the snapshot."""
        name = f"data-{self.number}"
        if why := self._find_foreign_kind(name):
            raise StoreUnavailable(f"cannot open {self.path / name}: {why}")
        self._allocate_readers(f"{name}-lock")
        environment = lmdb.open(
            self._path_of(name),
            map_size=MAP_SIZE,
            subdir=False,
            mode=0o600,
            sync=False,
            metasync=False,
            max_readers=READERS,
        )
        environment.reader_check()
        if environment.info()["last_txnid"] == 0:
            self._restore(environment)
        return environment

    def _allocate_readers(self, name: str) -> None:
        """Give LMDB's table of readers its room on the disk. Raises OSError.

        LMDB makes it as a hole and maps it into memory, so a write there on a full disk would end
        the process by SIGBUS.
        """
        # This process has no other descriptor of the file, whose locks the close would release.
        fd = self.directory.open_or_create(name, os.O_RDWR, 0o600)
        try:
            size = 4096 + READERS * _READER_SIZE
            if os.fstat(fd).st_size < size:
                os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)

    def _restore(self, environment: lmdb.Environment) -> None:
        """Fill a new file with the entries of the snapshot, if there is one."""
        from prefork.store.restore import restore_entries  # noqa: PLC0415 - rare

        try:
            count = restore_entries(environment, read_snapshot(self.directory))
        except FileNotFoundError:
            return
        except (OSError, DamagedSnapshotError, struct.error, lmdb.BadValsizeError) as error:
            self._report(f"the snapshot in {self.path} cannot be read whole: {error}")
            return
        self._report(f"{self.path} starts from its snapshot with {count} entries")

    def _path_of(self, name: str) -> str:
        return f"/proc/self/fd/{self.directory.fd}/{name}"

    def _find_damage(self, number: int) -> str:
        """Return what is wrong with a data file; empty: nothing, or there is none."""
        name = f"data-{number}"
        if self.directory.lstat(name) is None:
            return ""
        return self._find_foreign_kind(name) or find_damage(self._path_of(name))

    def _find_foreign_kind(self, name: str) -> str:
        """Return what an entry of the folder is in place of a regular file; empty: it is one, or
        there is none."""
        status = self.directory.lstat(name)
        if status is None or stat.S_ISREG(status.st_mode):
            return ""
        return f"it is {file_kind(status.st_mode)}, not a regular file"

    def _put_aside(self, number: int, why: str) -> None:
        for name in self.directory.listdir():
            if name.startswith("damaged-"):
                self.directory.remove(name)
        aside = f"damaged-{strftime('%Y%m%d-%H%M%S')}"
        self.directory.rename(f"data-{number}", aside)
        self.directory.remove(f"data-{number}-lock")
        self._report(
            f"{self.path / f'data-{number}'} was damaged ({why}) and is now {aside}; the store "
            "goes on with its last snapshot, or empty"
        )

    def _remove_data(self, number: int) -> None:
        self.directory.remove(f"data-{number}")
        self.directory.remove(f"data-{number}-lock")

    def _mark(self) -> None:
        """Note that this process has the store open."""
        pid = os.getpid()
        self.shared.try_lock(USERS + pid)
        os.close(self.directory.open_or_create(f"user.{pid}", os.O_RDWR, 0o600))

    def leave(self) -> None:
        """Note that this process has closed the store."""
        pid = os.getpid()
        self.directory.remove(f"user.{pid}")
        self.shared.unlock(USERS + pid)

    def _remove_marks_of_the_dead(self) -> bool:
        """Remove the marks of processes that were killed; return whether there were any."""
        died = False
        for name in self.directory.listdir():
            pid = name.removeprefix("user.")
            if pid == name or not pid.isdecimal() or int(pid) in (os.getpid(), 0):
                continue
            if self.shared.holder(USERS + int(pid) % _MAX_PIDS) is None:
                self.directory.remove(name)
                died = True
        return died

    def require_space(self) -> None:
        """Raise StoreUnavailable if the file system takes no more: a file is written, and removed.

        LMDB may find room in its file on a full disk, but not for long.
        """
        name = f"check.{os.getpid()}"
        try:
            self.directory.remove(name)
            try:
                with open(self.directory.create(name, 0o600), "wb") as file:
                    file.write(bytes(_CHECK_SIZE))
            finally:
                self.directory.remove(name)
        except OSError as error:
            raise StoreUnavailable(f"cannot write in {self.path}: {error.strerror}") from error

    def remove_snapshot(self) -> None:
        """Remove the snapshot, so that removed entries do not come back."""
        self.directory.remove(SNAPSHOT)

    def reset_after_fork(self) -> None:
        """Forget the threads and the marks of the parent, in a child."""
        for lock in (self.writing, self.snapping, self._opening):
            lock.reset_after_fork()


def open_store_directory(place: StorePlace) -> Directory:
    """Open the folder; it has to be this user's alone. Raises OSError and StoreError."""
    if not place.folder:
        raise StoreUnavailable(
            "the master of this worker has no folder for the store, because it could not use its "
            "PREFORK_HOME (its log says why); or set --store to a folder or to redis://…"
        )
    if place.fd is not None:
        directory = Directory(Path(place.folder), os.dup(place.fd))
    else:
        parent, name = Directory.open_parent(path_of_store(place))
        with parent:
            if place.owner in (None, os.geteuid()):
                parent.mkdir(name, 0o700)
            elif parent.lstat(name) is None:
                raise _wrong_user(parent.path / name, place.owner)
            directory = parent.open_subdirectory(name)
    try:
        _require_private(directory, place)
    except BaseException:
        directory.close()
        raise
    return directory


def path_of_store(place: StorePlace) -> Path:
    """Return the path of the folder of the store's files."""
    if place.kind != "memory":
        return Path(place.folder)
    return memory_folder(place.folder, os.geteuid() if place.owner is None else place.owner)


def require_own_memory(directory: Directory, owner: int) -> None:
    """Raise StoreUnavailable if another user than ``owner`` has made the folder of a store in
    memory. Any user may make one in /dev/shm, and its name can be guessed."""
    if directory.status.st_uid != owner:
        other = describe_user(directory.status.st_uid)
        raise StoreUnavailable(
            f"{other} has made {directory.path} in the place of the store of "
            f"{describe_user(owner)}; root can remove it, or use another --store"
        )


def _wrong_user(path: Path, owner: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} belongs to {describe_user(owner)}, and the store is only for that user's "
        "processes; `prefork store` may be run as root, too"
    )


def _require_private(directory: Directory, place: StorePlace) -> None:
    """Raise StoreUnavailable unless the folder is this user's alone, and on this machine."""
    status = directory.status
    if place.owner not in (None, os.geteuid()):
        raise _wrong_user(directory.path, place.owner)
    if place.kind == "memory":
        require_own_memory(directory, os.geteuid())
    if status.st_uid != os.geteuid():
        raise _wrong_user(directory.path, status.st_uid)
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StoreUnavailable(
            f"other users may enter {directory.path}, the folder of the store; "
            f"chmod 700 {directory.path}"
        )
    kind = file_system_type(directory.fd)
    if is_network_file_system(kind):
        raise StoreUnavailable(
            f"{directory.path} is on a network file system ({kind}), where other machines could "
            "change the store; set PREFORK_HOME to a local disk, or use --store redis://…"
        )


def _map_facts(shared: LockFile, timeout: float) -> mmap:
    """Map the file ``shared``, which is written whole first: a hole on a full disk would end the
    process by SIGBUS."""
    if os.fstat(shared.fd).st_size < _SHARED_SIZE:
        lock = RecordLock(shared, OPENING)
        if not lock.acquire(timeout):
            raise StoreBusy(
                f"process {lock.holder()} has been opening the store for {timeout:g} s or more; "
                "was it stopped (SIGSTOP)?"
            )
        try:
            os.posix_fallocate(shared.fd, 0, _SHARED_SIZE)
        finally:
            lock.release()
    return mmap(shared.fd, _SHARED_SIZE)


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _boot_id() -> bytes:
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:36]
