"""The watcher: a process of the master's that sees files change and says so on a pipe.

It runs no app code. It is a process of its own because the watching library has threads, which the
master must not have when it forks. The kernel ends it with the master.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable

from prefork.config.watching import Ignored
from prefork.unix.process import die_with_parent
from prefork.wire import watching as wire

LOOK = 1.0
"""Seconds between two looks whether the folders are still the same ones."""

MOST_DELAY = 60.0
"""Seconds after which a change is told although others go on."""


class Watcher:
    """``say`` writes to the master; ``delay``: seconds of quiet after a change."""

    def __init__(self, ignored: Ignored, delay: float, say: Callable[[bytes], None]) -> None:
        self._ignored = ignored
        self._delay = delay
        self._say = say

    def run(self, master: int) -> int:
        """Until the master ends, or it cannot watch; the exit code."""
        if not die_with_parent(signal.SIGKILL, master):
            return 0
        try:
            while True:
                self._watch()
        except Exception as error:  # the library has errors of several kinds
            self._say(wire.trouble(str(error) or repr(error)))
        return 1

    def _watch(self) -> None:
        """Until one of the folders is another one: removed and made anew, or a symlink that was
        put to the next release."""
        from watchfiles import watch  # noqa: PLC0415 - an extra

        while None in (known := self._identities()):
            time.sleep(self._delay)
        began = False
        for changes in watch(
            *self._ignored.roots,
            watch_filter=lambda _change, path: path not in self._ignored,
            debounce=int(MOST_DELAY * 1000),
            step=max(1, int(self._delay * 1000)),
            rust_timeout=int(LOOK * 1000),
            yield_on_timeout=True,
            ignore_permission_denied=True,
        ):
            if not began:
                began = True
                self._say(wire.watching(self._ignored.roots))
            if changes:
                self._tell(path for _, path in changes)
            if (now := self._identities()) != known:
                moved = zip(self._ignored.roots, known, now, strict=True)
                self._tell(root for root, old, new in moved if old != new)
                return

    def _tell(self, paths: Iterable[str]) -> None:
        self._say(wire.changed({self._ignored.below(path) for path in paths}))

    def _identities(self) -> list[tuple[int, int] | None]:
        return [_identity(root) for root in self._ignored.roots]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
