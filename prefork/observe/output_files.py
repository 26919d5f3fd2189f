"""The files of one app's workers' output: one for all, or one for each slot (``NAME.out-0`` …).

The file of a slot is created when its worker has written something. Rotate and flush also apply to
the files of slots that have no worker any more.
"""

import logging
from collections.abc import Iterable

from prefork.observe.log_directory import find_slot_logs, reopen_directory
from prefork.observe.log_rotation import RotationPolicy
from prefork.observe.output_file import OutputFile
from prefork.unix.directory import Directory


class OutputFiles:
    """The files of one master, in one directory.

    ``name`` is the name of the file for all workers, and the prefix of the names of slots' files.
    """

    def __init__(
        self, directory: Directory, name: str, rotation: RotationPolicy, logger: logging.Logger
    ) -> None:
        self.directory = directory
        self.name = name
        self.rotation = rotation
        self._logger = logger
        self._files: dict[int, OutputFile] = {}
        if not rotation.by_slot:
            self.for_slot(0)  # Opened now, so that the log reports an error at the start.

    def for_slot(self, slot: int) -> OutputFile:
        """Return the file for the lines of a slot."""
        number = slot if self.rotation.by_slot else -1
        if number not in self._files:
            name = f"{self.name}-{slot}" if self.rotation.by_slot else self.name
            self._files[number] = OutputFile(self.directory, name, self.rotation, self._logger)
        return self._files[number]

    def _all(self) -> Iterable[OutputFile]:
        if self.rotation.by_slot:
            for slot in find_slot_logs(self.name, self.directory.listdir()):
                self.for_slot(slot)
        return list(self._files.values())

    def set_rotation(self, rotation: RotationPolicy) -> None:
        """Use another policy from now on."""
        self.rotation = rotation
        for output in self._files.values():
            output.set_rotation(rotation)

    def rotate(self) -> None:
        """Rotate all files."""
        for output in self._all():
            output.rotate()

    def flush(self) -> None:
        """Truncate all files and remove the rotated ones."""
        for output in self._all():
            output.flush()

    def reopen(self) -> None:
        """Open all files again, after they or their directory were renamed."""
        try:
            reopen_directory(self.directory)
        except OSError as error:
            path = self.directory.path
            self._logger.error("cannot open %s: %s; keeping the old one", path, error.strerror)
        for output in self._files.values():
            output.reopen()
