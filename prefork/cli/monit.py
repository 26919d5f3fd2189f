"""``prefork monit``: all apps, live, with keys to act on the one that is chosen.

The screen is drawn by rich from what the masters say once a second; a verb runs in a thread of its
own, so that a slow reload does not stop the picture. Nothing here is remembered by anybody else.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from prefork.cli.client import Client
from prefork.cli.gauges import Gauges
from prefork.cli.keys import QUIT, key_within, keys_at_once
from prefork.cli.tables import STYLES, since, size
from prefork.errors import PreforkError, UsageError

PERIOD = 1.0
LOG_LINES = 200
COLUMNS = (
    "app", "state", "workers", "CPU %", "memory", "req/s", "in flight", "gen", "restarts", "uptime",
)  # fmt: skip
"""The most wanted first: a narrow terminal shows fewer."""

KEYS = "↑ ↓ choose   r reload   + - scale   s stop   q quit"
_ARROWS = {b"\x1b[A": "up", b"\x1b[B": "down", b"k": "up", b"j": "down"}


def monitor(client: Client) -> int:
    """Until somebody presses q. Raises UsageError where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("monit needs a terminal; `prefork list --json` is for programs")
    view = Monitor(client)
    with keys_at_once(), Live(console=view.console, screen=True, auto_refresh=False) as live:
        view.look()
        due = time.monotonic() + PERIOD
        while True:
            live.update(view.draw(), refresh=True)
            key = key_within(max(0.0, due - time.monotonic()))
            if key in QUIT:
                return 0
            if key:
                view.press(key)
            if time.monotonic() >= due:
                due = time.monotonic() + PERIOD
                view.look()


class Monitor:
    """What is on the screen."""

    def __init__(self, client: Client, console: Console | None = None) -> None:
        self.console = console or Console()
        self._client = client
        self._gauges = Gauges()
        self._apps: list[dict[str, Any]] = []
        self._chosen = ""
        self._said = ""
        """How the last verb went."""

    # Looking.

    def look(self) -> None:
        """Ask all masters anew."""
        self._apps = self._client.apps()
        names = [str(app["name"]) for app in self._apps]
        if self._chosen not in names:
            self._chosen = names[0] if names else ""

    def draw(self) -> Layout:
        """The whole screen; a narrow or low one leaves out what does not fit."""
        height = self.console.size.height
        screen = Layout()
        app = self._app()
        rows = min(len(self._apps) + 4, max(5, height // 3))
        parts = [Layout(Panel(self._list(), title="prefork", border_style="cyan"), size=rows)]
        if app is not None and app.get("workers") and height >= 16:
            count = min(len(app["workers"]) + 4, max(5, height // 3))
            parts.append(Layout(Panel(self._workers(app), title=f"{app['name']}"), size=count))
        if app is not None and height >= 12:
            parts.append(Layout(Panel(self._log(app), title="log")))
        parts.append(Layout(Group(Text(self._said, "yellow"), Text(KEYS, "dim")), size=2))
        screen.split_column(*parts)
        return screen

    def _app(self) -> dict[str, Any] | None:
        return next((app for app in self._apps if app["name"] == self._chosen), None)

    def _list(self) -> Table:
        width = self.console.size.width
        columns = COLUMNS[: 3 if width < 60 else 7 if width < 100 else len(COLUMNS)]
        table = Table(box=None, expand=True, pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number > 1 else "left", no_wrap=True)
        for app in self._apps:
            row = self._row(app)[: len(columns)]
            table.add_row(*row, style="reverse" if app is self._app() else "")
        return table

    def _row(self, app: Mapping[str, Any]) -> list[Text | str]:
        state = str(app.get("state", "?"))
        first: list[Text | str] = [str(app["name"]), Text(state, STYLES.get(state, ""))]
        if not app.get("answers"):
            return first
        read = self._gauges.read(app)
        return [
            *first,
            f"{app['ready']}/{app['target']}",
            f"{read.cpu:.0f}",
            size(read.memory),
            f"{read.rate:.0f}",
            str(read.in_flight),
            str(app["generation"]),
            str(app["restarts"]),
            since(app.get("started")),
        ]

    def _workers(self, app: Mapping[str, Any]) -> Table:
        table = Table(box=None, expand=True, pad_edge=False)
        for column in ("slot", "pid", "gen", "state", "CPU %", "memory", "req/s", "open", "uptime"):
            table.add_column(column, justify="left" if column == "state" else "right")
        for worker in app["workers"]:
            read = self._gauges.worker(worker)
            table.add_row(
                str(worker["slot"]),
                str(worker["pid"]),
                str(worker["generation"]),
                Text(worker["state"], STYLES.get(worker["state"], "")),
                f"{read.cpu:.0f}",
                size(read.memory),
                f"{read.rate:.0f}",
                str(worker["connections"]),
                since(worker["since"]),
            )
        return table

    def _log(self, app: Mapping[str, Any]) -> Text:
        path = Path(app.get("log") or self._client.home / str(app["name"]) / "log")
        try:
            with open(path, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
                lines = deque(file.read().decode("utf-8", "replace").splitlines(), LOG_LINES)
        except OSError:
            return Text("its log goes to its own terminal", "dim")
        room = max(1, self.console.size.height - 2)
        return Text("\n".join(list(lines)[-room:]), no_wrap=True, overflow="ellipsis", end="")

    # Acting.

    def press(self, key: bytes) -> None:
        """A key that is not for leaving."""
        names = [str(app["name"]) for app in self._apps]
        if not names:
            return
        at = names.index(self._chosen)
        match _ARROWS.get(key, key):
            case "up":
                self._chosen = names[max(0, at - 1)]
            case "down":
                self._chosen = names[min(len(names) - 1, at + 1)]
            case b"r":
                self._act("reload")
            case b"+" | b"=":
                self._act("scale", workers="+1")
            case b"-":
                self._act("scale", workers="-1")
            case b"s":
                self._act("stop")

    def _act(self, verb: str, **arguments: Any) -> None:
        name = self._chosen
        self._said = f"{name}: {verb} …"

        def act() -> None:
            try:
                (entry,) = self._client.find(name)
                self._client.ask(entry, verb, **arguments)
                self._said = f"{name}: {verb} done"
            except PreforkError as error:
                self._said = f"{name}: {str(error).splitlines()[0]}"

        threading.Thread(target=act, daemon=True).start()
