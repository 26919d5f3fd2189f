"""``prefork monit``: the live view of all apps, with keys that act on the selected one.

Design
------
- **One thread draws, one polls the masters once a second, and one carries out a verb,** so neither
  a hung master nor a slow reload stops the picture. The screen is drawn again only when one of
  them, a key or a new size of the terminal wakes the drawing thread.
- **Log lines are shown without their control characters** (``view/monit_screen.py``): these would
  move the cursor.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.layout import Layout
from rich.live import Live

from prefork.cli.output.output_streams import original_stream
from prefork.cli.registry.client import ANSWER_TIMEOUT, Client
from prefork.cli.registry.snapshot import AppSampler
from prefork.cli.view.console import PrintableConsole
from prefork.cli.view.keys import QUIT, cbreak_mode, read_key
from prefork.cli.view.monit_screen import ScreenState, draw
from prefork.errors import PreforkError, UsageError
from prefork.observe.log_records import Record
from prefork.wire.verb import Verb
from prefork.wire.verb_table import RELOAD, SCALE, STOP

POLL_PERIOD = 1.0
"""Seconds from one sample of all apps to the next."""

_MOVES = {b"\x1b[A": -1, b"\x1bOA": -1, b"k": -1, b"\x1b[B": +1, b"\x1bOB": +1, b"j": +1}


def monitor(client: Client) -> int:
    """Show the live view until the q key; return the exit code.

    Raises UsageError without a terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("monit needs a terminal; `prefork list --json` is for programs")
    console = PrintableConsole(file=original_stream(sys.stdout))
    with _WakeupPipe() as wakeup, cbreak_mode():
        monit = Monitor(client, wakeup.wake)
        with (
            monit.poll_in_background(),
            Live(console=console, screen=True, auto_refresh=False) as live,
        ):
            while True:
                live.update(monit.draw(console), refresh=True)
                key = wakeup.wait_for_key()
                if key in QUIT:
                    return 0
                monit.handle_key(key)


class _WakeupPipe:
    """A pipe that wakes the drawing thread: other threads and signals write to it.

    As a context manager it also makes SIGWINCH wake the thread.
    """

    def __enter__(self) -> "_WakeupPipe":
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGWINCH, lambda *_: None)  # with a handler it writes to the wakeup fd
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)  # the pipe stays open: a thread may still write

    def wake(self) -> None:
        """Wake the drawing thread; any thread may call this."""
        with suppress(BlockingIOError):  # a wakeup is pending already
            os.write(self._writer, b"!")

    def wait_for_key(self) -> bytes:
        """Wait for a key or a wakeup; return the key, or nothing after a wakeup."""
        # select(2) rather than a thread that reads keys: such a thread could not be ended.
        ready, _, _ = select.select([0, self._reader], [], [])
        if self._reader in ready:
            os.read(self._reader, 4096)
        return read_key(0) if 0 in ready else b""


class Monitor:
    """The state of the live view, and what its keys do.

    ``wake`` is called when the screen changed.
    """

    def __init__(self, client: Client, wake: Callable[[], None]) -> None:
        self._client = client
        self._wake = wake
        self._apps: list[dict[str, Any]] | None = None
        self._selected = ""
        self._page = 0
        self._message = "loading …"
        """The outcome of the last key."""
        self._stop_candidate = ""
        self._log: tuple[str, Sequence[Record] | None] = "", ()
        self._poll_now, self._is_closing = threading.Event(), False

    def draw(self, console: Console) -> Layout:
        """Return the whole screen for the size of the console."""
        name, log = self._log
        apps, selected = self._apps or [], self._selected
        state = ScreenState(
            apps, selected, log if name == selected else (), self._message, self._page
        )
        return draw(state, console.size.width, console.size.height)

    # Polling.

    @contextmanager
    def poll_in_background(self) -> Iterator[None]:
        """A context manager: within it a thread samples the apps."""
        thread = threading.Thread(target=self._poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_closing = True
            self._poll_now.set()
            thread.join(ANSWER_TIMEOUT + POLL_PERIOD)

    def _poll(self) -> None:
        """Sample the apps once a second, until the view is closed."""
        sampler = AppSampler(self._client)
        while not self._is_closing:
            self._poll_now.clear()
            try:
                apps = sampler.sample_apps()
            except PreforkError as error:
                self._message = str(error)
            else:
                if self._apps is None and self._message == "loading …":
                    self._message = ""
                self._apps = apps
                names = [str(app["name"]) for app in apps]
                if self._selected not in names:
                    self._selected = names[0] if names else ""
                self._log = self._selected, sampler.recent_log(self._selected)
            self._wake()
            self._poll_now.wait(POLL_PERIOD)

    # Keys.

    def handle_key(self, key: bytes) -> None:
        """Carry out a key other than those that quit; an empty key does nothing."""
        if not key or not self._apps:
            return
        candidate, self._stop_candidate = self._stop_candidate, ""
        if candidate:
            self._message = ""
            if key in (b"y", b"Y"):
                self._start_verb(candidate, STOP)
        elif key in _MOVES:
            self._move_selection(_MOVES[key])
        elif key == b" ":
            self._page += 1
        else:
            self._handle_action_key(key)

    def _handle_action_key(self, key: bytes) -> None:
        match key:
            case b"r":
                self._start_verb(self._selected, RELOAD)
            case b"+" | b"=":
                self._start_verb(self._selected, SCALE, workers="+1")
            case b"-":
                self._start_verb(self._selected, SCALE, workers="-1")
            case b"s":
                self._stop_candidate = self._selected
                self._message = f"stop {self._selected}? y: yes, any other key: no"

    def _move_selection(self, step: int) -> None:
        names = [str(app["name"]) for app in self._apps or ()]
        index = names.index(self._selected) + step
        self._selected, self._page, self._message = names[min(max(0, index), len(names) - 1)], 0, ""
        self._poll_now.set()

    def _start_verb(self, name: str, verb: Verb, **arguments: Any) -> None:
        """Send a verb to an app in a thread of its own, and show the outcome."""
        self._message = f"{name}: {verb.name} …"

        def run_verb() -> None:
            try:
                (entry,) = self._client.find(name)
                self._client.ask(entry, verb, **arguments)
                self._message = f"{name}: {verb.name} done"
            except PreforkError as error:
                first, _, _ = str(error).partition("\n")
                self._message = f"{name}: {first}"
            self._poll_now.set()
            self._wake()

        threading.Thread(target=run_verb, daemon=True).start()
