"""``prefork monit``: all apps, live, with keys to act on the one that is chosen.

Three threads, so that neither a master that hangs nor a slow reload stops the picture: one looks
once a second, one carries out a verb, and the first of all draws (cli/view/monit_screen.py)
whenever one of
them, a key or a new size of the terminal rings. Nothing here is remembered by anybody else.
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

PERIOD = 1.0
"""Seconds from one look to the next."""

_MOVES = {b"\x1b[A": -1, b"\x1bOA": -1, b"k": -1, b"\x1b[B": +1, b"\x1bOB": +1, b"j": +1}


def monitor(client: Client) -> int:
    """Until somebody presses q. Raises UsageError where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("monit needs a terminal; `prefork list --json` is for programs")
    console = PrintableConsole(file=original_stream(sys.stdout))
    with _WakeupPipe() as bell, cbreak_mode():
        monit = Monitor(client, bell.ring)
        with monit.looking(), Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(monit.draw(console), refresh=True)
                key = bell.key_or_ring()
                if key in QUIT:
                    return 0
                monit.press(key)


class _WakeupPipe:
    """Whoever has news for the screen rings; who draws waits for that and for keys."""

    def __enter__(self) -> "_WakeupPipe":
        self._heard, self._rope = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._rope, warn_on_full_buffer=False)
        signal.signal(signal.SIGWINCH, lambda *_: None)  # it rings, too
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)  # the pipe stays: a thread may still ring

    def ring(self) -> None:
        """From any thread."""
        with suppress(BlockingIOError):  # it rings already
            os.write(self._rope, b"!")

    def key_or_ring(self) -> bytes:
        """A key, or nothing when somebody rang."""
        ready, _, _ = select.select([0, self._heard], [], [])
        if self._heard in ready:
            os.read(self._heard, 4096)
        return read_key(0) if 0 in ready else b""


class Monitor:
    """What is known, and what was chosen. ``ring``: there is something new to draw."""

    def __init__(self, client: Client, ring: Callable[[], None]) -> None:
        self._client = client
        self._ring = ring
        self._apps: list[dict[str, Any]] | None = None
        self._chosen = ""
        self._page = 0
        self._said = "looking …"
        """How the last key went."""
        self._asked_to_stop = ""
        self._log: tuple[str, Sequence[Record] | None] = "", ()
        self._again, self._over = threading.Event(), False

    def draw(self, console: Console) -> Layout:
        """All of it."""
        name, log = self._log
        apps, chosen = self._apps or [], self._chosen
        view = ScreenState(apps, chosen, log if name == chosen else (), self._said, self._page)
        return draw(view, console.size.width, console.size.height)

    # Looking.

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Meanwhile a thread does."""
        thread = threading.Thread(target=self._look_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over = True
            self._again.set()
            thread.join(ANSWER_TIMEOUT + PERIOD)

    def _look_on(self) -> None:
        look = AppSampler(self._client)
        while not self._over:
            self._again.clear()
            try:
                apps = look.sample_apps()
            except PreforkError as error:
                self._said = str(error)
            else:
                if self._apps is None and self._said == "looking …":
                    self._said = ""
                self._apps = apps
                names = [str(app["name"]) for app in apps]
                if self._chosen not in names:
                    self._chosen = names[0] if names else ""
                self._log = self._chosen, look.recent_log(self._chosen)
            self._ring()
            self._again.wait(PERIOD)

    # Acting.

    def press(self, key: bytes) -> None:
        """A key that is not for leaving; nothing, when there was none."""
        if not key or not self._apps:
            return
        asked, self._asked_to_stop = self._asked_to_stop, ""
        if asked:
            self._said = ""
            if key in (b"y", b"Y"):
                self._act(asked, "stop")
        elif key in _MOVES:
            self._choose(_MOVES[key])
        elif key == b" ":
            self._page += 1
        else:
            self._change(key)

    def _change(self, key: bytes) -> None:
        match key:
            case b"r":
                self._act(self._chosen, "reload")
            case b"+" | b"=":
                self._act(self._chosen, "scale", workers="+1")
            case b"-":
                self._act(self._chosen, "scale", workers="-1")
            case b"s":
                self._asked_to_stop = self._chosen
                self._said = f"stop {self._chosen}? y: yes, any other key: no"

    def _choose(self, by: int) -> None:
        names = [str(app["name"]) for app in self._apps or ()]
        at = names.index(self._chosen) + by
        self._chosen, self._page, self._said = names[min(max(0, at), len(names) - 1)], 0, ""
        self._again.set()

    def _act(self, name: str, verb: str, **arguments: Any) -> None:
        self._said = f"{name}: {verb} …"

        def act() -> None:
            try:
                (entry,) = self._client.find(name)
                self._client.ask(entry, verb, **arguments)
                self._said = f"{name}: {verb} done"
            except PreforkError as error:
                first, _, _ = str(error).partition("\n")
                self._said = f"{name}: {first}"
            self._again.set()
            self._ring()

        threading.Thread(target=act, daemon=True).start()
