"""Request bodies of one worker on disk: where their files are, and how much they may hold together.

A client can send faster than an app reads, and a WSGI body is complete before its app is called.
Without a bound one client could fill the file system. Two bounds hold:

    limit        bytes of all files of this worker (--body-spool); a single body beyond it can never
                 be kept (413)
min_free     bytes that stay free on the file system (--spool-min-free), but a tenth of it at the
                 most: otherwise a small tmpfs in a container would take nothing

Design
------
- **1 GiB a worker, and 256 MiB that stay free.** 1 GiB is what Apache takes for one body since
  2.4.53 (LimitRequestBody), and more than nearly every form sends. With a limit, a body has an end
  that its client cannot choose.
- **Bytes count as they are written,** not as Content-Length announces them, because an announcement
  costs a client nothing and would let it reserve all of the limit.
- **New bodies are refused from three quarters on** with 503 and Retry-After, while a body that has
  begun may use all of the limit. So bodies that are under way can end.
"""

import io
import logging
import os
import tempfile

from prefork.errors import ClientError, MachineError
from prefork.plural import pluralize

REFUSE_FROM = 0.75
"""Share of the limit from which on no other body begins."""

FREE_SPACE_CHECK_INTERVAL = 1024 * 1024
"""Bytes that a worker writes between two checks of the free space. A check costs 2 µs."""

_LOG = logging.Logger("prefork")
_LOG.addHandler(logging.NullHandler())


class SpoolDisk:
    """Creates the files, and counts their bytes.

    ``folder``: where the files are; empty: TMPDIR, or else /tmp (tempfile.gettempdir). ``limit``:
    bytes of all files, None for no limit. ``min_free``: bytes that stay free on the file system, 0
    for no check.
    """

    def __init__(
        self,
        folder: str = "",
        limit: int | None = None,
        min_free: int = 0,
        log: logging.Logger = _LOG,
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._min_free = min_free
        self._log = log
        self._unchecked = 0
        """Bytes written since the last check of the free space."""
        self._is_warned = False
        self.bytes_used = 0
        """Bytes of all files."""

    def check_length(self, length: int, memory: int) -> None:
        """Refuse a body that announces more bytes than can ever be kept.

        ``length``: its Content-Length; ``memory``: bytes that memory can hold. Raises ClientError
        (413).
        """
        if self._limit is not None and length > max(self._limit, memory):
            raise ClientError(413, "the request body is too large to be kept")

    def open(self) -> "SpoolFile":
        """Create a file without a name. Raises ClientError (503) if there is no space for it."""
        if self._limit is not None and self.bytes_used >= self._limit * REFUSE_FROM:
            raise self._refusal(
                f"they hold {pluralize(self.bytes_used, 'byte')} of body-spool {self._limit}"
            )
        try:
            file = tempfile.TemporaryFile(buffering=0, dir=self._folder or None)  # noqa: SIM115
        except OSError as error:
            raise self._refusal(f"{self._folder or 'TMPDIR'}: {error.strerror}") from error
        try:
            self._check_free_space(file.fileno())
        except BaseException:
            file.close()
            raise
        return SpoolFile(self, file)

    def claim(self, file: "SpoolFile", size: int) -> None:
        """Count bytes that are about to be written to a file. Raises ClientError (413, 503)."""
        if self._limit is not None:
            if file.size + size > self._limit:
                raise ClientError(413, "the request body is too large to be kept")
            if self.bytes_used + size > self._limit:
                raise self._refusal(f"they hold all of body-spool {self._limit}")
        self._unchecked += size
        if self._unchecked >= FREE_SPACE_CHECK_INTERVAL:
            self._check_free_space(file.fileno())
        self.bytes_used += size

    def release(self, size: int) -> None:
        """Count off the bytes of a file that was closed."""
        self.bytes_used -= size
        if self._limit is None or self.bytes_used < self._limit * REFUSE_FROM:
            self._is_warned = False

    def write_error(self, error: OSError) -> ClientError:
        """Return the error (503) for a body that could not be written."""
        return self._refusal(str(error.strerror))

    def _check_free_space(self, fd: int) -> None:
        self._unchecked = 0
        if not self._min_free:
            return
        found = os.fstatvfs(fd)
        free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if free < min(self._min_free, whole // 10):
            raise self._refusal(f"the file system has {pluralize(free, 'byte')} free")

    def _refusal(self, why: str) -> ClientError:
        """Warn once until space is free again; return the error."""
        if not self._is_warned:
            self._is_warned = True
            self._log.warning(
                "request bodies are refused with 503, they cannot wait on disk: %s; see "
                "body-spool, spool-dir and spool-min-free",
                why,
            )
        return ClientError(503, "the request body cannot be kept now")


class SpoolFile:
    """One body on disk."""

    __slots__ = ("_disk", "_file", "size")

    def __init__(self, disk: SpoolDisk, file: io.FileIO) -> None:
        self._disk = disk
        self._file = file
        self.size = 0
        """Bytes that were claimed for it."""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._file.fileno()

    def write(self, data: memoryview) -> None:
        """Append all of ``data``. Raises ClientError (413, 503)."""
        self._disk.claim(self, len(data))
        self.size += len(data)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._disk.write_error(error) from error

    def read_from_start(self, buffer_size: int) -> io.BufferedReader:
        """Return a reader of the file that begins at its first byte."""
        self._file.seek(0)
        return io.BufferedReader(self._file, buffer_size)

    def close(self) -> None:
        """Close the file and give its space back. Repeatable."""
        if not self._file.closed:
            self._file.close()
        self._disk.release(self.size)
        self.size = 0


def check_folder(folder: str) -> None:
    """Check that files can be created in a folder. Raises MachineError."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise MachineError(
            f"spool-dir: no file can be made in {folder}: {error.strerror}"
        ) from error
