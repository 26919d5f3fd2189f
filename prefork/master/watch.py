"""The master's side of --watch: it forks the watcher, hears of changes, and replaces it."""

import importlib.util
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from prefork.config import Config
from prefork.config.addresses import Unix
from prefork.config.watching import Ignored, places
from prefork.errors import MachineError, UsageError
from prefork.observe.watcher import Watcher
from prefork.unix.pipes import open_ready_pipe, read_available, write_all
from prefork.unix.process import Child, fork
from prefork.unix.waiting import Waiter
from prefork.wire import watching as wire

SOON = 1.0
"""Seconds; a watcher that dies younger has its successor wait."""

LONGEST_WAIT = 30.0
"""Seconds that a successor waits at most."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What there is to watch, and how long it is to be quiet after a change."""

    ignored: Ignored
    delay: float


def watched(
    config: Config, here: str, default: Sequence[str], own: Sequence[str]
) -> Watched | None:
    """What the settings say; None: nothing. ``default``: the folders of the code; ``own``: folders
    that are ours. Raises UsageError."""
    if not config.watch:
        return None
    if importlib.util.find_spec("watchfiles") is None:
        raise UsageError("watch: it needs a package: pip install 'prefork[watch]'")
    asked = config.watch_path or filter(os.path.exists, default)
    roots = tuple(dict.fromkeys(_named(here, path) for path in asked))
    for root in roots:
        if root == "/":
            raise UsageError("watch: all of / is too much; name what to watch with watch-path")
        if not os.path.exists(root):
            raise UsageError(f"watch: there is no {root}")
    files = [config.log_file, config.access_log, config.pid_file]
    files += [address.path for address in config.bind if isinstance(address, Unix)]
    known = [_named(here, file) for file in files if file not in ("", "-")]
    folders = [*own, *([_named(here, config.log_dir)] if config.log_dir else [])]
    ignored = Ignored(roots, config.watch_ignore, places(roots, known, folders))
    return Watched(ignored, config.watch_delay)


def _named(here: str, path: str) -> str:
    """The whole path, by the names that were given; a symlink keeps its own."""
    whole = os.path.join(here, path)
    return os.path.realpath(whole) if ".." in whole.split("/") else os.path.normpath(whole)


class Watch:
    """``begin``: what the watcher does first in its process; ``on_change`` is told what changed."""

    def __init__(
        self,
        waiter: Waiter,
        begin: Callable[[], None],
        on_change: Callable[[wire.Changed], None],
        logger: logging.Logger,
    ) -> None:
        self._waiter = waiter
        self._begin = begin
        self._on_change = on_change
        self._logger = logger
        self._wanted: Watched | None = None
        self._child: Child | None = None
        self._reader = -1
        self._rest = b""
        self._born = 0.0
        self._wait = 0.0
        self._due: float | None = None
        """While there is no watcher: when the next may be."""
        self._trouble = ""

    def next_deadline(self) -> float | None:
        """When ``settle`` is due although nothing happens."""
        return self._due

    def settle(self, wanted: Watched | None) -> None:
        """Have a watcher of just this."""
        if wanted != self._wanted:
            self.close()
            self._wanted, self._wait, self._trouble = wanted, 0.0, ""
            self._due = None if wanted is None else monotonic()
        if self._due is not None and self._due <= monotonic() and wanted is not None:
            self._due = None
            try:
                self._give_birth(wanted)
            except MachineError as error:
                self._fail(str(error))

    def _give_birth(self, wanted: Watched) -> None:
        """Raises MachineError."""
        self._born = monotonic()
        pipe, master = open_ready_pipe(), os.getpid()

        def live() -> int:
            self._begin()
            os.close(pipe.reader)
            watcher = Watcher(
                wanted.ignored, wanted.delay, lambda said: write_all(pipe.writer, said)
            )
            return watcher.run(master)

        try:
            self._child = fork(live)
        except BaseException:
            os.close(pipe.reader)
            raise
        finally:
            pipe.close_writer()
        self._reader, self._rest = pipe.reader, b""
        self._waiter.watch(pipe.reader, self._hear)
        self._waiter.watch(self._child.pidfd, self._bury)

    def _hear(self) -> None:
        data = read_available(self._reader) if self._reader >= 0 else None
        if data == b"":
            self._hang_up()
        *lines, self._rest = (self._rest + (data or b"")).split(b"\n")
        for line in lines:
            match wire.read(line):
                case wire.Watching() as began:
                    self._trouble = ""
                    self._logger.info("%s", began)
                case wire.Changed() as changed:
                    self._on_change(changed)
                case wire.Trouble(text):
                    self._tell(text)

    def _hang_up(self) -> None:
        self._waiter.forget(self._reader)
        os.close(self._reader)
        self._reader = -1

    def _bury(self) -> None:
        self._hear()  # its last words
        death = self._let_go()
        self._fail(f"the watcher died ({death})")

    def _let_go(self) -> str:
        """Of a watcher that is dead, or about to be."""
        child, self._child = self._child, None
        assert child is not None, "there is one"
        if self._reader >= 0:
            self._hang_up()
        self._waiter.forget(child.pidfd)
        death = child.reap()
        return death.signal or f"exit code {death.code}"

    def _fail(self, why: str) -> None:
        young = monotonic() - self._born < SOON
        self._wait = min(LONGEST_WAIT, max(0.1, self._wait * 2)) if young else 0.0
        self._due = monotonic() + self._wait
        if not self._trouble:
            self._tell(why)

    def _tell(self, why: str) -> None:
        """Once, until it works again."""
        if why != self._trouble:
            self._trouble = why
            self._logger.error("not watching files: %s; trying again", why)

    def knows_pid(self, pid: int) -> bool:
        """Whether it is the watcher's."""
        return self._child is not None and self._child.pid == pid

    def close_copy(self) -> None:
        """In a child."""
        if self._child is not None:
            os.close(self._child.pidfd)
        if self._reader >= 0:
            os.close(self._reader)

    def close(self) -> None:
        """End the watcher; nothing of it is heard any more."""
        if self._child is not None:
            self._child.send(signal.SIGKILL)
            self._let_go()
