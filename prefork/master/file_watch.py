"""The file watcher (``--watch``) as the master sees it: what it watches, and its messages.

Design
------
- **The watcher is a process of its own,** because the library (watchfiles) has threads, and the
  master forks. It dies with the master (PDEATHSIG).
- **Every file counts unless it is ignored,** because templates and settings are code, too. An
  ignored file is never mentioned, so the ignored names are names that are never code
  (``config/watch_filter.py``).
- **``--watch`` is a flag and takes no paths:** ``--watch myapp:main`` would take the app for a
  path.
"""

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
from prefork.master.master_record import AuxiliaryRecord
from prefork.observe.watcher import FileWatcher
from prefork.plural import pluralize
from prefork.unix.pipes import open_ready_pipe, read_available, write_all
from prefork.unix.poller import Poller
from prefork.wire import watcher_messages as wire

MAX_PAUSE = 30.0
"""The longest pause in seconds without a watcher, after watchers died young."""


POLLING = " by looking at all files; pip install 'prefork[watch]' lets the kernel report changes"
"""The end of the message that files are watched, without the library for it."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """The files to watch, and the seconds without a further change before a change is reported."""

    ignored: WatchFilter
    delay: float


def watch_settings(
    config: Config, start_dir: str, default: Sequence[str], own: Sequence[str]
) -> WatchSettings | None:
    """Return what to watch by these settings; None: nothing.

    ``default``: the folders of the code, unless the settings name others. ``own``: folders of
    prefork, which are ignored. Raises UsageError.
    """
    if not config.watch:
        return None
    paths = config.watch_path or filter(os.path.exists, default)
    roots = tuple(dict.fromkeys(_absolute(start_dir, path) for path in paths))
    for root in roots:
        if root == "/":
            raise UsageError("watch: all of / is too much; name what to watch with watch-path")
        if not os.path.exists(root):
            raise UsageError(f"watch: there is no {root}")
    files = [config.log_file, config.access_log, config.pid_file]
    files += [address.path for address in config.bind if isinstance(address, UnixAddress)]
    known = [_absolute(start_dir, file) for file in files if file not in ("", "-")]
    folders = [*own, *([_absolute(start_dir, config.log_dir)] if config.log_dir else [])]
    ignored = WatchFilter(roots, config.watch_ignore, own_prefixes(roots, known, folders))
    return WatchSettings(ignored, config.watch_delay)


def _absolute(start_dir: str, path: str) -> str:
    """Return the absolute path. Symlinks are kept, so that a changed one is noticed."""
    whole = os.path.join(start_dir, path)
    return os.path.realpath(whole) if ".." in whole.split("/") else os.path.normpath(whole)


class _WatcherPipe(FileIO):
    """One end of the watcher's pipe. Unlike a socket, a pipe can bring no descriptor."""

    def hang_up(self, _poller: Poller) -> None:
        """Close it for good."""
        self.close()


class WatcherProcess:
    """The watcher and its successors.

    ``enter_child``: called first in the new process. ``on_change``: called with each change.
    """

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
        """Return the monotonic time at which the next watcher is due; None: none is."""
        return None if self._wanted is None or self._process else self._process.due_at

    def ensure_running(self, wanted: WatchSettings | None) -> None:
        """Spawn a watcher of ``wanted`` if none runs and one is due; end one of other settings."""
        if wanted != self._wanted:
            self.close()
            self._wanted, self._logged_failure = wanted, ""
            self._process.reset_pause()
        if wanted is not None:
            self._process.ensure_running(partial(self._spawn, wanted))

    def _spawn(self, wanted: WatchSettings) -> None:
        """Spawn a watcher. Raises MachineError."""
        pipe, master = open_ready_pipe(), os.getpid()
        ours, theirs = _WatcherPipe(pipe.reader), _WatcherPipe(pipe.writer, "w")

        def main() -> int:
            self._enter_child()
            send = partial(write_all, theirs.fileno())
            return FileWatcher(wanted.ignored, wanted.delay, send).run(master)

        self._process.spawn(ours, theirs, main)
        self._partial_line = b""

    def _read(self, pipe: _WatcherPipe) -> None:
        """Read messages. Raises EOFError at the end, ValueError for an invalid message."""
        data = read_available(pipe.fileno())
        if data == b"":
            raise EOFError
        *lines, self._partial_line = (self._partial_line + (data or b"")).split(b"\n")
        if len(self._partial_line) > wire.MAX_LINE_SIZE:
            raise ValueError(f"a line of more than {pluralize(wire.MAX_LINE_SIZE, 'byte')}")
        for line in lines:
            match wire.decode_message(line):
                case wire.WatchStarted() as started:
                    self._logged_failure = ""
                    how = "" if importlib.util.find_spec("watchfiles") else POLLING
                    self._logger.info("%s%s", started, how)
                case wire.FilesChanged() as changed:
                    self._on_change(changed)
                case wire.WatchFailed(text):
                    self._log_once(text)

    def _on_failure(self, why: str) -> None:
        self._process.lengthen_pause()
        self._retry_later(why)

    def _retry_later(self, why: str) -> None:
        """Let the pause pass in the master: a reload may bring other settings, which end it."""
        self._process.delay_next()
        if not self._logged_failure:
            self._log_once(why)

    def _log_once(self, why: str) -> None:
        """Log why the files are not watched, once until a watcher works again."""
        if why != self._logged_failure:
            self._logged_failure = why
            self._logger.error("not watching files: %s; trying again", why)

    def records(self) -> list[AuxiliaryRecord]:
        """Return what the master holds of the watcher; empty: none runs."""
        return self._process.records()

    def knows_pid(self, pid: int) -> bool:
        """Return whether ``pid`` is the watcher."""
        return self._process.knows_pid(pid)

    def close_copy(self) -> None:
        """Close the copies of pidfd and pipe, in a child."""
        self._process.close_copy()

    def close(self) -> None:
        """Kill and reap the watcher."""
        if self._process:
            self._process.kill()
            self._process.detach().reap()
