"""Bodies of one worker on disk: where their files are, and how much they may hold together.

A client can send faster than an app reads, and a WSGI body is whole before its app is called. So
without a bound one client could fill the file system. Two bounds hold:

    limit        bytes of all files of this worker; a single body beyond it can never be kept (413)
    free         bytes that stay free on the file system, but a tenth of it at the most: a small
                 tmpfs in a container would otherwise take nothing

A body that has begun may use all of the limit; new ones are refused from three quarters on, with
503 and Retry-After, so that those under way can come to their end. Sizes count as they are written
and not as Content-Length announces them: else a client could take all of it by a promise.
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
"""Bytes that a worker writes between two looks at the free space; a look costs 2 µs."""

_LOG = logging.Logger("prefork")
_LOG.addHandler(logging.NullHandler())


class SpoolDisk:
    """Makes the files, and counts what they hold.

    ``folder``: where they are; empty: TMPDIR, or else /tmp (tempfile.gettempdir). ``limit``: None
    for none. ``min_free``: bytes; 0 for no look at the free space.
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
        self._is_warned = False
        self.bytes_used = 0
        """Bytes of all files."""

    def check_length(self, length: int, memory: int) -> None:
        """Refuse a body that says that it is longer than can ever be kept; ``memory``: the most
        that waits there. Raises ClientError."""
        if self._limit is not None and length > max(self._limit, memory):
            raise ClientError(413, "the request body is too large to be kept")

    def open(self) -> "SpoolFile":
        """Begin a file without a name. Raises ClientError: there is no place for another body."""
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
        """Count bytes that are about to be written. Raises ClientError."""
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
        """A file of so many bytes is closed."""
        self.bytes_used -= size
        if self._limit is None or self.bytes_used < self._limit * REFUSE_FROM:
            self._is_warned = False

    def write_error(self, error: OSError) -> ClientError:
        """The answer to a body that cannot be written."""
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

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()

    def write(self, data: memoryview) -> None:
        """Write all of it. Raises ClientError."""
        self._disk.claim(self, len(data))
        self.size += len(data)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._disk.write_error(error) from error

    def read_from_start(self, buffer: int) -> io.BufferedReader:
        """Make a reader of it, at its first byte."""
        self._file.seek(0)
        return io.BufferedReader(self._file, buffer)

    def close(self) -> None:
        """Give the space back; once more is nothing."""
        if not self._file.closed:
            self._file.close()
        self._disk.release(self.size)
        self.size = 0


def check_folder(folder: str) -> None:
    """See that files can be made there. Raises MachineError."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise MachineError(
            f"spool-dir: no file can be made in {folder}: {error.strerror}"
        ) from error
