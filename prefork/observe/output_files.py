"""The files that workers' output goes to: one for all, or one for each slot (``NAME.out-0`` …).

A slot's file is there when its worker has said something. What is asked of all is done to those of
former workers, too.
"""

import logging
from collections.abc import Iterable

from prefork.observe.log_directory import find_slot_logs, reopen_directory
from prefork.observe.log_rotation import RotationPolicy
from prefork.observe.output_file import OutputFile
from prefork.unix.directory import Directory


class OutputFiles:
    """All of one master, in one directory. ``name``: of the one for all, and what the names of
    others begin with."""

    def __init__(
        self, directory: Directory, name: str, rotation: RotationPolicy, logger: logging.Logger
    ) -> None:
        self.directory = directory
        self.name = name
        self.rotation = rotation
        self._logger = logger
        self._files: dict[int, OutputFile] = {}
        if not rotation.by_slot:
            self.for_slot(0)  # from the beginning, so that whatever is wrong with it is said then

    def for_slot(self, slot: int) -> OutputFile:
        """Where this slot's lines go."""
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
        """From now on."""
        self.rotation = rotation
        for output in self._files.values():
            output.set_rotation(rotation)

    def rotate(self) -> None:
        """Begin new files."""
        for output in self._all():
            output.rotate()

    def flush(self) -> None:
        """Remove all lines."""
        for output in self._all():
            output.flush()

    def reopen(self) -> None:
        """Another process renamed them, or their directory."""
        try:
            reopen_directory(self.directory)
        except OSError as error:
            path = self.directory.path
            self._logger.error("cannot open %s: %s; going on in the old one", path, error.strerror)
        for output in self._files.values():
            output.reopen()
