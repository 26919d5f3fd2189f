"""Find changed files by looking at all of them, where the library that watches is not installed.

Design
------
- **``--watch`` works without the extra,** as ``uvicorn --reload`` does. The pause grows with the
  number of files, so that the watcher takes at most a tenth of a core. With ``prefork[watch]`` the
  kernel reports changes instead, at once.
"""

import os
import time
from collections.abc import Iterator

from prefork.config.watch_filter import WatchFilter

LARGEST_SHARE = 0.1
"""Share of a core that looking at the files may take."""

FileState = tuple[int, int, int]
"""Time of the last change in nanoseconds, size and number of a file."""


class FilePoller:
    """Looks at the files below the folders of ``ignored``, except for those that it ignores."""

    def __init__(self, ignored: WatchFilter) -> None:
        self._ignored = ignored
        self._is_ignored: dict[str, bool] = {}
        """The answers of the filter, which has many patterns and is slower than stat(2)."""

    def poll(self, pause: float) -> Iterator[set[str]]:
        """Yield the paths that changed since the last look, again and again; the first set is
        empty. ``pause``: seconds between two looks, unless there are many files."""
        known, changed, took = self.look(), set[str](), 0.0
        while True:
            yield changed
            time.sleep(max(pause, took / LARGEST_SHARE))
            begun = time.monotonic()
            found = self.look()
            took = time.monotonic() - begun
            changed = {path for path, _ in known.items() ^ found.items()}
            known = found

    def look(self) -> dict[str, FileState]:
        """Return the state of each file. A file that has just gone is no error."""
        found: dict[str, FileState] = {}
        pending = list(self._ignored.roots)
        while pending:
            path = pending.pop()
            try:
                state = os.stat(path)
                inner = [os.path.join(path, name) for name in os.listdir(path)]
            except NotADirectoryError:
                found[path] = (state.st_mtime_ns, state.st_size, state.st_ino)
            except OSError:  # it has gone, or may not be read
                continue
            else:
                pending += (each for each in inner if self._counts(each))
        return found

    def _counts(self, path: str) -> bool:
        """Return whether a path is to be looked at. A link to a folder might lead to itself."""
        if path not in self._is_ignored:
            is_loop = os.path.islink(path) and os.path.isdir(path)
            self._is_ignored[path] = is_loop or path in self._ignored
        return not self._is_ignored[path]
