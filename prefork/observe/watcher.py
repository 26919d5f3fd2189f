"""The watcher: a child process of the master that watches files and reports changes on a pipe.

It runs no app code.

Design
------
- **The watcher is a process of its own,** because the library that watches files uses threads, and
  the master forks. The kernel kills the watcher when the master ends.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator

from prefork.config.watch_filter import WatchFilter
from prefork.observe.file_poll import FilePoller
from prefork.unix.open_files import FileIdentity, file_identity, files_open_for_writing
from prefork.unix.process import set_parent_death_signal
from prefork.unix.process_tree import descendants
from prefork.wire import watcher_messages as wire

CHECK_INTERVAL = 1.0
"""Seconds between two checks whether the watched folders were replaced."""

MAX_DELAY = 60.0
"""Seconds after which a change is reported although further changes follow."""


class FileWatcher:
    """Watches the roots of ``ignored``, except for the paths that it ignores.

    ``delay`` is the number of seconds without further changes after which changes are reported.
    ``send`` writes a message to the master.
    """

    def __init__(self, ignored: WatchFilter, delay: float, send: Callable[[bytes], None]) -> None:
        self._ignored = ignored
        self._delay = delay
        self._send = send
        self._master = 0

    def run(self, master: int) -> int:
        """Watch until the master ends, or until an error; returns the exit code of the process.

        ``master`` is the pid of the master.
        """
        if not set_parent_death_signal(signal.SIGKILL, master):
            return 0
        self._master = master
        try:
            while True:
                self._watch()
        except Exception as error:  # The library raises several types.
            self._send(wire.encode_trouble(str(error) or repr(error)))
        return 1

    def _watch(self) -> None:
        """Watch until a watched folder is replaced: created again, or a symlink to a new release.

        The library gets no filter and no long debounce: it returns nothing while only filtered
        files change, and a folder that is replaced meanwhile would not be noticed. This method
        therefore filters the changes and waits for the delay itself.
        """
        while None in (known := self._identities()):
            time.sleep(self._delay)
        has_begun = False
        changed: set[str] = set()
        first_at = checked_at = time.monotonic()
        for changes in self._changes():
            now = time.monotonic()
            if not has_begun:
                has_begun = True
                self._send(wire.encode_watching(self._ignored.roots))
            relevant = self._select_relevant(changes)
            if relevant and not changed:
                first_at = now
            changed |= relevant
            if changed and (not relevant or now - first_at > MAX_DELAY):
                self._report(changed)
                changed = set()
            if now - checked_at >= CHECK_INTERVAL:
                checked_at = now
                if (identities := self._identities()) != known:
                    moved = zip(self._ignored.roots, known, identities, strict=True)
                    self._report(changed.union(root for root, old, new in moved if old != new))
                    return

    def _changes(self) -> Iterator[set[str]]:
        """Yield the paths that changed, or an empty set when a pause has passed without any."""
        try:
            from watchfiles import watch  # noqa: PLC0415 - an extra
        except ImportError:
            yield from FilePoller(self._ignored).poll(self._delay)
            return
        for changes in watch(
            *self._ignored.roots,
            watch_filter=None,
            debounce=max(1, int(self._delay * 1000)),
            step=max(1, int(self._delay * 250)),
            rust_timeout=max(1, int(self._delay * 500)),
            yield_on_timeout=True,
            ignore_permission_denied=True,
        ):
            yield {path for _, path in changes}

    def _select_relevant(self, changes: Iterable[str]) -> set[str]:
        """Return the changed paths that trigger a reload.

        These are not ignored, and no process below the master has them open for writing: an app
        that writes to a watched folder would otherwise reload itself without end.
        """
        paths = {path for path in changes if path not in self._ignored}
        if not paths:
            return paths
        output = files_open_for_writing(descendants(self._master))
        return {path for path in paths if file_identity(path) not in output}

    def _report(self, paths: Iterable[str]) -> None:
        self._send(wire.encode_changed({self._ignored.relative_path(path) for path in paths}))

    def _identities(self) -> list[FileIdentity | None]:
        return [file_identity(root) for root in self._ignored.roots]
