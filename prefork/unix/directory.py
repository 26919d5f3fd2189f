"""Directories that other users may write to: opened once, then used by their descriptor only.

A path leads elsewhere as soon as another user exchanges one of its components, and root follows it
there. So a directory is opened component by component with O_NOFOLLOW (openat(2)) and kept open,
and later operations use names without a slash.

A symlink on the way is read through a descriptor of its own, so that the symlink that was checked
is the one that is followed.

Entries that the kernel puts into /proc (``/proc/self/fd/1``) are not text that could be resolved,
and no user can exchange them; the kernel follows them.

Design
------
- **Files in such a folder are opened with O_NOFOLLOW and O_NONBLOCK, then checked** (regular file,
  one link, owner), also for reading.
- **Root follows a symlink of another user only to a directory of that same user,** as Apache does
  with SymLinksIfOwnerMatch: such a symlink leads to nothing that its owner could not change anyway.
  Refusing all of them would break the ``current`` symlink of a release folder. Processes of other
  users follow every symlink, because the kernel bounds what they reach.
- **No openat2(2):** it could refuse symlinks, but not by their owner.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prefork.unix.identity import describe_user
from prefork.unix.path_trust import require_trusted
from prefork.unix.regular_file import OPEN_FLAGS, open_regular, read_regular

_SEARCH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags for a directory in which names are only looked up."""
_PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags for a descriptor of an entry itself, be it a symlink."""
_MAX_LINKS = 40
"""The number of symlinks that the kernel follows in one path (path_resolution(7))."""


class UntrustedFileError(OSError):
    """Another user could have put the file there. ``strerror`` says what it is and whose."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPERM, reason)


class Directory:
    """A directory that is kept open.

    ``path`` is the path that it was opened by, for messages only. Entry names have no slash.
    Methods raise the OSError of their system call.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def open(
        cls, path: Path | str, make: int | None = None, strict: bool = False, at: int | None = None
    ) -> "Directory":
        """Open a directory component by component.

        ``make``: the mode of missing components, which are created; None: they are not created.
        ``strict``: refuse a path whose components another user may exchange (unix/path_trust.py).
        ``at``: a descriptor of the directory that a relative path starts from; default: the working
        directory.

        Raises OSError, including UntrustedFileError.
        """
        text = str(path)
        if strict and not os.path.isabs(text):
            text = os.path.join(os.getcwd(), text)
        return cls(Path(path), _Walk(make, strict).follow(text, at))

    @classmethod
    def open_parent(cls, path: Path | str) -> tuple["Directory", str]:
        """Open the directory of a file; return it and the file's name in it. Raises OSError."""
        parent, name = os.path.split(str(path))
        if name in ("", ".", ".."):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return cls.open(parent or "."), name

    def __enter__(self) -> "Directory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; in a child only the child's copy."""
        os.close(self.fd)

    def mkdir(self, name: str, mode: int) -> None:
        """Create a subdirectory, unless an entry of that name exists."""
        with suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=self.fd)

    def open_subdirectory(self, name: str) -> "Directory":
        """Open a subdirectory; a symlink to a directory is refused."""
        fd = os.open(name, _SEARCH | os.O_NOFOLLOW, dir_fd=self.fd)
        return Directory(self.path / name, fd)

    def set_mode_and_group(self, mode: int, gid: int = -1) -> None:
        """Set the directory's own group, unless ``gid`` is -1, and then its mode."""
        with self._open_for_reading() as fd:
            os.fchown(fd, -1, gid)
            os.fchmod(fd, mode)

    @contextmanager
    def _open_for_reading(self) -> Iterator[int]:
        """Yield a descriptor for reading; the held one only looks up names (O_PATH)."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def reopen(self) -> None:
        """Look the path up again, because another directory may have taken its place.

        Raises OSError, and then keeps the directory that was open before.
        """
        with Directory.open(self.path) as fresh:
            os.dup2(fresh.fd, self.fd, inheritable=False)

    @property
    def status(self) -> os.stat_result:
        """The stat of the directory itself."""
        return os.fstat(self.fd)

    @property
    def is_private(self) -> bool:
        """Return whether only root and the user of this process may create entries in it."""
        status = self.status
        return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022

    def listdir(self) -> list[str]:
        """Return the names of all entries, in no order."""
        with self._open_for_reading() as fd:
            return os.listdir(fd)

    def lstat(self, name: str) -> os.stat_result | None:
        """Return the stat of an entry, for a symlink its own; None when there is no such entry."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_same_file(self, name: str, fd: int) -> bool:
        """Return whether the entry ``name`` is the file that is open at ``fd``."""
        found = self.lstat(name)
        return found is not None and os.path.samestat(found, os.fstat(fd))

    def open_regular(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file that has this one name, without waiting; return its descriptor.

        Raises NotRegularFileError for a symlink, a fifo and the like, UntrustedFileError for a file
        with several hard links.
        """
        fd = open_regular(name, flags | os.O_NOFOLLOW, self.fd)
        if os.fstat(fd).st_nlink > 1:
            os.close(fd)
            raise UntrustedFileError("it is a hard link to another file")
        return fd

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a regular file of at most ``limit`` bytes."""
        return read_regular(name, limit, os.O_NOFOLLOW, self.fd)

    def create(self, name: str, mode: int, flags: int = os.O_WRONLY) -> int:
        """Create a file and return its descriptor. Raises FileExistsError."""
        flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | OPEN_FLAGS
        return os.open(name, flags, mode, dir_fd=self.fd)

    def open_or_create(self, name: str, flags: int, mode: int) -> int:
        """Open a regular file, or create it with ``mode`` when there is none."""
        while True:
            try:
                return self.open_regular(name, flags)
            except FileNotFoundError:
                with suppress(FileExistsError):  # another process has created it
                    return self.create(name, mode, flags)

    def create_with_content(self, name: str, data: bytes, mode: int) -> None:
        """Create a file with these bytes; on a full disk no file is left behind."""
        fd = self.create(name, mode)
        try:
            with open(fd, "wb") as file:
                file.write(data)
        except BaseException:
            with suppress(OSError):
                self.remove(name)
            raise

    def write_atomically(self, name: str, data: bytes, mode: int, new: str = "") -> None:
        """Replace or create a file such that readers see all of its content or nothing.

        ``new``: its name until it is written; default: ``name.new``, for a single writer.
        """
        # Write beside it and rename: rename(2) replaces the name atomically.
        new = new or f"{name}.new"
        self.remove(new)  # the rest of a process that died before its rename
        self.create_with_content(new, data, mode)
        try:
            self.rename(new, name)
        except BaseException:
            with suppress(OSError):
                self.remove(new)
            raise

    def check_room(self, size: int) -> None:
        """Raise OSError unless a file of ``size`` bytes can be written; none is left behind.

        A file system without O_TMPFILE, such as NFS, passes.
        """
        try:
            fd = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):
                return
            raise
        with open(fd, "wb") as file:
            file.write(bytes(size))

    def sync(self) -> None:
        """Write changes of names to the disk (fsync(2))."""
        with self._open_for_reading() as fd:
            os.fsync(fd)

    def rename(self, old: str, new: str) -> None:
        """Rename an entry; an entry that had the new name is replaced."""
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Remove an entry, if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)


def resolve_file(
    path: str, require: Callable[[Directory, os.stat_result], None]
) -> tuple[Directory, str]:
    """Find the directory and the name of the file that ``path`` leads to; the file need not exist.

    A symlink in the file's place is followed when ``require(directory, stat of the symlink)`` does
    not raise. A name in /proc is returned as it is, and the caller lets the kernel follow it
    (``is_in_proc``). Raises OSError.
    """
    folder, name = Directory.open_parent(path)
    for _ in range(_MAX_LINKS):
        try:
            pinned = os.open(name, _PIN, dir_fd=folder.fd)
        except FileNotFoundError:
            return folder, name
        except BaseException:
            folder.close()
            raise
        try:
            status = os.fstat(pinned)
            if not stat.S_ISLNK(status.st_mode) or _has_proc_device(status):
                return folder, name
            require(folder, status)
            target, name = os.path.split(os.readlink("", dir_fd=pinned))
            found = Directory.open(target or ".", at=folder.fd)
            folder.close()
            folder = found
        except BaseException:
            folder.close()
            raise
        finally:
            os.close(pinned)
    folder.close()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def is_in_proc(folder: Directory) -> bool:
    """Return whether the kernel makes the entries of ``folder`` (proc(5))."""
    return _has_proc_device(folder.status)


class _Walk:
    """One resolution of a path into the descriptor of a directory; it counts symlinks."""

    def __init__(self, make: int | None, strict: bool) -> None:
        self._make = make
        self._strict = strict
        self._links = 0

    def follow(self, path: str, at: int | None) -> int:
        """Return the descriptor of the directory that ``path`` leads to, from ``at`` on."""
        start = "/" if path.startswith("/") else "."
        fd = os.open(start, _SEARCH, dir_fd=at)
        for part in path.split("/"):
            if part not in ("", "."):
                fd = self._step(fd, part)
        return fd

    def _step(self, at: int, part: str) -> int:
        """Go from the directory ``at`` to its entry ``part``; ``at`` is closed."""
        try:
            if self._strict:
                require_trusted(at)
            return self._enter(at, part)
        finally:
            os.close(at)

    def _enter(self, at: int, part: str) -> int:
        """Open one component, follow it if it is a symlink, create it if that was asked for."""
        try:
            return os.open(part, _SEARCH | os.O_NOFOLLOW, dir_fd=at)
        except NotADirectoryError:
            return self._follow_link(at, part)
        except FileNotFoundError:
            if self._make is None:
                raise
            with suppress(FileExistsError):
                os.mkdir(part, self._make, dir_fd=at)
            # Another process may have created the entry: a symlink is refused here.
            return os.open(part, _SEARCH | os.O_NOFOLLOW, dir_fd=at)

    def _follow_link(self, at: int, part: str) -> int:
        """Follow one symlink, which is pinned by a descriptor, and check who owns it."""
        pinned = os.open(part, _PIN, dir_fd=at)
        try:
            status = os.fstat(pinned)
            if not stat.S_ISLNK(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, f"{part} is no directory")
            if _has_proc_device(status):
                return os.open(part, _SEARCH, dir_fd=at)
            self._links += 1
            if self._links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            found = self.follow(os.readlink("", dir_fd=pinned), at)
        finally:
            os.close(pinned)
        if not self._may_follow(status.st_uid, found):
            os.close(found)
            raise UntrustedFileError(
                f"{part} is a symlink of {describe_user(status.st_uid)}'s to a "
                f"directory of another "
                "user's; name that directory itself"
            )
        return found

    def _may_follow(self, owner: int, found: int) -> bool:
        """Return whether a symlink of ``owner`` may lead to the directory ``found``."""
        if owner in (0, os.geteuid()):
            return True
        if self._strict:
            return False
        return os.geteuid() != 0 or os.fstat(found).st_uid == owner


def _has_proc_device(status: os.stat_result) -> bool:
    """Return whether a file is in the proc file system."""
    return status.st_dev == _proc_device()


def _proc_device() -> int:
    try:
        return os.stat("/proc").st_dev
    except FileNotFoundError:
        return -1
