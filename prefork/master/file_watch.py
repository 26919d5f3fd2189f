"""The master's side of --watch: what there is to watch, and what it hears of changes."""

import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import FileIO

from prefork.config import Config
from prefork.config.addresses import UnixAddress
from prefork.config.watch_filter import WatchFilter, own_prefixes
from prefork.errors import UsageError
from prefork.master.auxiliary import AuxiliaryProcess
from prefork.observe.watcher import FileWatcher
from prefork.plural import pluralize
from prefork.unix.pipes import open_ready_pipe, read_available, write_all
from prefork.unix.poller import Poller
from prefork.wire import watcher_messages as wire

MAX_PAUSE = 30.0
"""Seconds that nobody watches at most, when watchers died young."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """What there is to watch, and how long it is to be quiet after a change."""

    ignored: WatchFilter
    delay: float


def watch_settings(
    config: Config, here: str, default: Sequence[str], own: Sequence[str]
) -> WatchSettings | None:
    """What the settings say; None: nothing. ``default``: the folders of the code; ``own``: folders
    that are ours. Raises UsageError."""
    if not config.watch:
        return None
    if importlib.util.find_spec("watchfiles") is None:
        raise UsageError("watch: it needs a package: pip install 'prefork[watch]'")
    asked = config.watch_path or filter(os.path.exists, default)
    roots = tuple(dict.fromkeys(_absolute(here, path) for path in asked))
    for root in roots:
        if root == "/":
            raise UsageError("watch: all of / is too much; name what to watch with watch-path")
        if not os.path.exists(root):
            raise UsageError(f"watch: there is no {root}")
    files = [config.log_file, config.access_log, config.pid_file]
    files += [address.path for address in config.bind if isinstance(address, UnixAddress)]
    known = [_absolute(here, file) for file in files if file not in ("", "-")]
    folders = [*own, *([_absolute(here, config.log_dir)] if config.log_dir else [])]
    ignored = WatchFilter(roots, config.watch_ignore, own_prefixes(roots, known, folders))
    return WatchSettings(ignored, config.watch_delay)


def _absolute(here: str, path: str) -> str:
    """The whole path, by the names that were given; a symlink keeps its own."""
    whole = os.path.join(here, path)
    return os.path.realpath(whole) if ".." in whole.split("/") else os.path.normpath(whole)


class _WatcherPipe(FileIO):
    """The master's end of the watcher's pipe. No descriptor can come through a pipe."""

    def hang_up(self, _poller: Poller) -> None:
        """For good."""
        self.close()


class WatcherProcess:
    """``begin``: what the watcher does first in its process; ``on_change`` is told what changed."""

    def __init__(
        self,
        poller: Poller,
        enter_child: Callable[[], None],
        on_change: Callable[[wire.FilesChanged], None],
        logger: logging.Logger,
    ) -> None:
        self._enter_child = enter_child
        self._on_change = on_change
        self._logger = logger
        self._wanted: WatchSettings | None = None
        self._partial_line = b""
        self._logged_failure = ""
        self._process: AuxiliaryProcess[_WatcherPipe] = AuxiliaryProcess(
            "watcher", poller, MAX_PAUSE, self._read, self._retry_later, self._on_failure
        )

    def next_deadline(self) -> float | None:
        """When ``settle`` is due although nothing happens."""
        return None if self._wanted is None or self._process else self._process.due_at

    def ensure_running(self, wanted: WatchSettings | None) -> None:
        """Have a watcher of just this."""
        if wanted != self._wanted:
            self.close()
            self._wanted, self._logged_failure = wanted, ""
            self._process.reset_pause()
        if wanted is not None:
            self._process.ensure_running(partial(self._spawn, wanted))

    def _spawn(self, wanted: WatchSettings) -> None:
        """Raises MachineError."""
        pipe, master = open_ready_pipe(), os.getpid()
        ours, its = _WatcherPipe(pipe.reader), _WatcherPipe(pipe.writer, "w")

        def live() -> int:
            self._enter_child()
            say = partial(write_all, its.fileno())
            return FileWatcher(wanted.ignored, wanted.delay, say).run(master)

        self._process.spawn(ours, its, live)
        self._partial_line = b""

    def _read(self, pipe: _WatcherPipe) -> None:
        data = read_available(pipe.fileno())
        if data == b"":
            raise EOFError
        *lines, self._partial_line = (self._partial_line + (data or b"")).split(b"\n")
        if len(self._partial_line) > wire.MAX_LINE_SIZE:
            raise ValueError(f"a line of more than {pluralize(wire.MAX_LINE_SIZE, 'byte')}")
        for line in lines:
            match wire.decode_message(line):
                case wire.WatchStarted() as began:
                    self._logged_failure = ""
                    self._logger.info("%s", began)
                case wire.FilesChanged() as changed:
                    self._on_change(changed)
                case wire.WatchFailed(text):
                    self._log_once(text)

    def _on_failure(self, why: str) -> None:
        self._process.lengthen_pause()
        self._retry_later(why)

    def _retry_later(self, why: str) -> None:
        """For as long as the pause takes: other settings may come, which have no use for it."""
        self._process.delay_next()
        if not self._logged_failure:
            self._log_once(why)

    def _log_once(self, why: str) -> None:
        """Once, until it works again."""
        if why != self._logged_failure:
            self._logged_failure = why
            self._logger.error("not watching files: %s; trying again", why)

    def knows_pid(self, pid: int) -> bool:
        """Whether it is the watcher's."""
        return self._process.knows_pid(pid)

    def close_copy(self) -> None:
        """In a child."""
        self._process.close_copy()

    def close(self) -> None:
        """End the watcher; nothing of it is heard any more."""
        if self._process:
            self._process.kill()
            self._process.detach().reap()
