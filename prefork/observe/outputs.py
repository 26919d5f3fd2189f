"""The files that workers' output goes to: one for all, or one for each slot (``NAME.out-0`` …).

A slot's file is there when its worker has said something. What is asked of all is done to those of
former workers, too.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from prefork.observe.output import Output
from prefork.observe.rotation import Rotation


def slot_files(path: Path) -> dict[int, Path]:
    """Those beside the log at ``path``, by slot."""
    pattern = re.compile(re.escape(path.name) + r"-(\d+)")
    found = ((pattern.fullmatch(each.name), each) for each in path.parent.glob(f"{path.name}-*"))
    return dict(sorted((int(match[1]), each) for match, each in found if match is not None))


class Outputs:
    """All of one master. ``path``: of the one for all, and what the names of others begin with."""

    def __init__(self, path: Path, rotation: Rotation, logger: logging.Logger) -> None:
        self.path = path
        self.rotation = rotation
        self._logger = logger
        self._files: dict[int, Output] = {}
        if not rotation.by_slot:
            self.of(0)  # from the beginning, so that whatever is wrong with it is said then

    def of(self, slot: int) -> Output:
        """Where this slot's lines go."""
        number = slot if self.rotation.by_slot else -1
        if number not in self._files:
            name = f"{self.path.name}-{slot}" if self.rotation.by_slot else self.path.name
            path = self.path.with_name(name)
            self._files[number] = Output(path, self.rotation, self._logger)
        return self._files[number]

    def _all(self) -> Iterable[Output]:
        if self.rotation.by_slot:
            for slot in slot_files(self.path):
                self.of(slot)
        return list(self._files.values())

    def set_rotation(self, rotation: Rotation) -> None:
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
        """Somebody else renamed them."""
        for output in self._files.values():
            output.reopen()
