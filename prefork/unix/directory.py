"""Directories that other users may write to: held open, and used through their descriptor only.

A path means something else as soon as another user exchanges one of its components, and root
follows where it leads. So a directory is opened component by component with O_NOFOLLOW (openat(2))
and held, and what happens in it afterwards happens by names without a slash.

Symlinks on the way are read through a descriptor of their own, so that the symlink that was
examined is the one that is followed. Root follows a symlink of another user only to a directory of
that same user, as Apache does with SymLinksIfOwnerMatch: it then leads to nothing that its owner
could not change anyway. Other users follow every symlink; the kernel bounds what they reach.

What the kernel puts into /proc (``/proc/self/fd/1``) is no text that could be resolved, and no user
can exchange it.
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
_PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
"""As many symlinks as the kernel follows (path_resolution(7))."""


class UntrustedFileError(OSError):
    """Another user could have put this file there. ``strerror`` says what it is and whose."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPERM, reason)


class Directory:
    """A directory that is held open. ``path`` is what it was opened by, for messages.

    Names are those of entries, without a slash. Methods raise the OSError of their system call.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def open(
        cls, path: Path | str, make: int | None = None, strict: bool = False, at: int | None = None
    ) -> "Directory":
        """Open it component by component.

        ``make``: the mode of components that are missing and get made; None: none is made.
        ``strict``: also refuse a path whose components another user may exchange (path_trust.py).
        ``at``: the directory that a relative path starts from; default: the working directory.

        Raises OSError, ForeignFileError among them.
        """
        text = os.path.join(os.getcwd(), path) if strict else str(path)
        return cls(Path(path), _Walk(make, strict).follow(text, at))

    @classmethod
    def open_parent(cls, path: Path | str) -> tuple["Directory", str]:
        """The directory of a file, and the name of the file in it. Raises OSError."""
        parent, name = os.path.split(str(path))
        if name in ("", ".", ".."):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return cls.open(parent or "."), name

    def __enter__(self) -> "Directory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; in a child, of the copy."""
        os.close(self.fd)

    def mkdir(self, name: str, mode: int) -> None:
        """Make a directory in it, unless there is anything by that name."""
        with suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=self.fd)

    def open_subdirectory(self, name: str) -> "Directory":
        """A directory in it, and no symlink to one."""
        fd = os.open(name, _SEARCH | os.O_NOFOLLOW, dir_fd=self.fd)
        return Directory(self.path / name, fd)

    def set_mode_and_group(self, mode: int, gid: int = -1) -> None:
        """Its own group, unless that is -1, and then its mode."""
        with self._open_for_reading() as fd:
            os.fchown(fd, -1, gid)
            os.fchmod(fd, mode)

    @contextmanager
    def _open_for_reading(self) -> Iterator[int]:
        """The descriptor is for looking up names only (O_PATH)."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def reopen(self) -> None:
        """Look the path up again: another directory may have taken its place. Raises OSError, and
        holds the one before then."""
        with Directory.open(self.path) as fresh:
            os.dup2(fresh.fd, self.fd, inheritable=False)

    @property
    def status(self) -> os.stat_result:
        """The directory's own."""
        return os.fstat(self.fd)

    @property
    def is_private(self) -> bool:
        """Whether only root and this process's user may put anything into it."""
        status = self.status
        return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022

    def listdir(self) -> list[str]:
        """Of all entries, in no order."""
        with self._open_for_reading() as fd:
            return os.listdir(fd)

    def lstat(self, name: str) -> os.stat_result | None:
        """The status of an entry, of a symlink its own; None: there is none."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_same_file(self, name: str, fd: int) -> bool:
        """Whether the entry is the file that is open at ``fd``."""
        found = self.lstat(name)
        return found is not None and os.path.samestat(found, os.fstat(fd))

    def open_regular(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A regular file that has this name and no other. Never waits.

        Raises NotRegularError for a symlink, a fifo and the like, ForeignFileError for a hard link.
        """
        fd = open_regular(name, flags | os.O_NOFOLLOW, self.fd)
        if os.fstat(fd).st_nlink > 1:
            os.close(fd)
            raise UntrustedFileError("it is a hard link to another file")
        return fd

    def read(self, name: str, limit: int) -> bytes:
        """All of a regular file that has at most ``limit`` bytes."""
        return read_regular(name, limit, os.O_NOFOLLOW, self.fd)

    def create(self, name: str, mode: int, flags: int = os.O_WRONLY) -> int:
        """A new file. Raises FileExistsError when there is anything by that name."""
        flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | OPEN_FLAGS
        return os.open(name, flags, mode, dir_fd=self.fd)

    def open_or_create(self, name: str, flags: int, mode: int) -> int:
        """A regular file, made with ``mode`` if there is none."""
        while True:
            try:
                return self.open_regular(name, flags)
            except FileNotFoundError:
                with suppress(FileExistsError):  # another process made it meanwhile
                    return self.create(name, mode, flags)

    def create_with_content(self, name: str, data: bytes, mode: int) -> None:
        """A new file of these bytes; none at all on a full disk."""
        fd = self.create(name, mode)
        try:
            with open(fd, "wb") as file:
                file.write(data)
        except BaseException:
            with suppress(OSError):
                self.remove(name)
            raise

    def write_atomically(self, name: str, data: bytes, mode: int) -> None:
        """Put a file of these bytes under the name, whole or not at all."""
        new = f"{name}.new"
        self.remove(new)  # a process that died here left it
        self.create_with_content(new, data, mode)
        try:
            self.rename(new, name)
        except BaseException:
            with suppress(OSError):
                self.remove(new)
            raise

    def rename(self, old: str, new: str) -> None:
        """What had the new name is gone."""
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """The entry, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)


def resolve_file(
    path: str, require: Callable[[Directory, os.stat_result], None]
) -> tuple[Directory, str]:
    """The directory and the name of the file that a path means, which need not be there.

    A symlink in the file's place is followed when ``require(directory, status of the symlink)``
    does not raise. Raises OSError. Where the name is the kernel's own (``is_kernels``), the caller
    opens it and the kernel follows it.
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
    """Whether its entries are made by the kernel (proc(5))."""
    return _has_proc_device(folder.status)


class _Walk:
    """From a path to the descriptor of a directory."""

    def __init__(self, make: int | None, strict: bool) -> None:
        self._make = make
        self._strict = strict
        self._links = 0

    def follow(self, path: str, at: int | None) -> int:
        start = "/" if path.startswith("/") else "."
        fd = os.open(start, _SEARCH, dir_fd=at)
        for part in path.split("/"):
            if part not in ("", "."):
                fd = self._step(fd, part)
        return fd

    def _step(self, at: int, part: str) -> int:
        """From one directory to the next; the first is closed."""
        try:
            if self._strict:
                require_trusted(at)
            return self._enter(at, part)
        finally:
            os.close(at)

    def _enter(self, at: int, part: str) -> int:
        try:
            return os.open(part, _SEARCH | os.O_NOFOLLOW, dir_fd=at)
        except NotADirectoryError:
            return self._follow_link(at, part)
        except FileNotFoundError:
            if self._make is None:
                raise
            with suppress(FileExistsError):
                os.mkdir(part, self._make, dir_fd=at)
            return os.open(part, _SEARCH | os.O_NOFOLLOW, dir_fd=at)

    def _follow_link(self, at: int, part: str) -> int:
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
        if owner in (0, os.geteuid()):
            return True
        if self._strict:
            return False
        return os.geteuid() != 0 or os.fstat(found).st_uid == owner


def _has_proc_device(status: os.stat_result) -> bool:
    return status.st_dev == _proc_device()


def _proc_device() -> int:
    try:
        return os.stat("/proc").st_dev
    except FileNotFoundError:
        return -1
